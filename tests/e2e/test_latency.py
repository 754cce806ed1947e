"""A command's way through the bot stays within reach of the floor: an echo with fsync, measured in the same run."""

import json
import random
from pathlib import Path

import pytest

from benchmarks import ground
from benchmarks.asker import Asker
from benchmarks.figures import percentile
from benchmarks.latency import BOT, ECHO, FSYNC, one_round, responders
from tests.conftest import ROOT
from tests.support.mosquitto import Mosquitto

pytestmark = [pytest.mark.e2e, pytest.mark.mosquitto, pytest.mark.timeout(240)]

_ROUNDS = 6
_TRIPS = 40
_GOAL = 1.5
_GENEROUS = 4.0
"""Other tests run beside this one, and the bot has more to be kept from than an echo."""


def test_a_command_takes_no_more_than_some_echoes_with_fsync(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with (
        ground.bot(tmp_path / "bot", mosquitto.port, "5", None),
        Asker(mosquitto.port, "bot", "5") as asker,
        responders(tmp_path, mosquitto.port, "5", with_peers=False) as others,
    ):
        askers = {BOT: asker, FSYNC: others[FSYNC], ECHO: others[ECHO]}
        rng = random.Random(1)  # noqa: S311 - an order, no secret
        one_round(askers, _TRIPS, 1, rng)
        rounds = [one_round(askers, _TRIPS, 1, rng) for _ in range(_ROUNDS)]
    # What else the machine does only makes a trip longer: the quick ones are those that it did not touch.
    quick_ms = {name: percentile([took for each in rounds for took in each[name].took_ms], 0.1) for name in askers}
    assert quick_ms[BOT] < _GENEROUS * max(_GOAL, _stated()) * quick_ms[FSYNC], f"p10, ms: {quick_ms}"


def _stated() -> float:
    """Return what docs/performance.json states of the same ratio; 0 when nothing was published."""
    published = ROOT / "docs" / "performance.json"
    if not published.exists():
        return 0.0
    goals = [goal for section in json.loads(published.read_text())["sections"] for goal in section["goals"]]
    return float(next(goal["measured"]["median"] for goal in goals if goal["what"].startswith("p50 idle")))
