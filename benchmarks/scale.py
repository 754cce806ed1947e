"""How much is measured: a few minutes for every day, or long enough that the tails mean something."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of everything.

    Attributes:
        rounds: each of them measures everything once, side by side.
        trips: commands sent to each in a round, one at a time.
        is_wide: whether further combinations (MQTT 3.1.1 on mosquitto, 8 in flight) are measured.
        past_commands: in the journal that is not empty.
        standby_trials: for each kind of trouble.
        signal_s: how long signals are waited for.
        fanout_s: how long prices change.
        starts: of each program.
        hour_s: how long the bot runs at speed before its memory is looked at.
        bars: made up, for the backtest.
        fleets: numbers of bots, as processes.
        crowd: clients of the protocol layer alone.
    """

    rounds: int
    trips: int
    is_wide: bool
    past_commands: int
    standby_trials: int
    signal_s: float
    cycles: tuple[int, ...]
    earlier: tuple[int, ...]
    fanout_s: float
    starts: int
    hour_s: float
    bars: int
    fleets: tuple[int, ...]
    crowd: int


COINS: Final = 200
"""As many coins as are ever traded at once here."""

TINY: Final = Scale(
    rounds=2,
    trips=40,
    is_wide=False,
    past_commands=20_000,
    standby_trials=2,
    signal_s=8,
    cycles=(1, 20),
    earlier=(1,),
    fanout_s=4,
    starts=2,
    hour_s=4,
    bars=5_000,
    fleets=(1, 2),
    crowd=10,
)
SHORT: Final = Scale(
    rounds=5,
    trips=300,
    is_wide=False,
    past_commands=1_000_000,
    standby_trials=6,
    signal_s=20,
    cycles=(1, 20, 200),
    earlier=(1, 20),
    fanout_s=15,
    starts=5,
    hour_s=20,
    bars=40_000,
    fleets=(1, 4),
    crowd=100,
)
FULL: Final = Scale(
    rounds=9,
    trips=2_000,
    is_wide=True,
    past_commands=1_000_000,
    standby_trials=40,
    signal_s=120,
    cycles=(1, 20, 200),
    earlier=(1, 20, 200),
    fanout_s=60,
    starts=15,
    hour_s=600,
    bars=1_000_000,
    fleets=(1, 10),
    crowd=100,
)
