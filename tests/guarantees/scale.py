"""How hard the promises are tried: a little with every test run, for as long as it takes with `make torture`."""

import os
import random
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything.

    Attributes:
        commands: sent in one storm, all clients together.
        bot_kills: SIGKILLs of the bot in one storm.
        broker_kills: SIGKILLs of the broker in one storm.
        line_faults: times that the bot's line to the broker is cut, stalled or slowed down in one storm.
        standby_trials: STANDBYs that are sent while orders are on their way.
        quiet_commands: sent one after another when nothing is broken, to see how long an answer takes.
        start_cases: of the ways to start again, how many are tried.
        outage_s: how long the line to the broker is away.
        fault_s: how long a server is away, or talks nonsense.
        soak_s: how long the bot is watched for growth.
        execution_kills: SIGKILLs of the bot at a step of an order's life.
        stops_removed: how often a position's stop is taken away.
    """

    commands: int
    bot_kills: int
    broker_kills: int
    line_faults: int
    standby_trials: int
    quiet_commands: int
    start_cases: int
    outage_s: float
    fault_s: float
    soak_s: float
    execution_kills: int
    stops_removed: int


IS_LONG: Final = os.environ.get("TORTURE") == "long"

SCALE: Final = (
    Scale(
        commands=520,
        bot_kills=42,
        broker_kills=11,
        line_faults=12,
        standby_trials=160,
        quiet_commands=400,
        start_cases=48,
        outage_s=45,
        fault_s=15,
        soak_s=300,
        execution_kills=160,
        stops_removed=30,
    )
    if IS_LONG
    else Scale(
        commands=120,
        bot_kills=4,
        broker_kills=1,
        line_faults=1,
        standby_trials=8,
        quiet_commands=40,
        start_cases=6,
        outage_s=3,
        fault_s=1,
        soak_s=15,
        execution_kills=2,
        stops_removed=2,
    )
)

SEED: Final = int(os.environ.get("TORTURE_SEED", "20261121"))
"""Decides what is sent, killed and cut, and when; printed with every result, and taken from `TORTURE_SEED`."""


def chance(purpose: str) -> random.Random:
    """Return the randomness of one test, which another test's does not disturb."""
    return random.Random(f"{SEED}/{purpose}")  # noqa: S311 - it has to be repeatable
