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

TINY: Final = Scale(2, 40, False, 20_000, 2, 8, (1, 20), (1,), 4, 2, 4, 5_000, (1, 2), 10)
SHORT: Final = Scale(5, 400, False, 1_000_000, 8, 25, (1, 20, 200), (1, 20), 15, 5, 20, 100_000, (1, 4), 100)
FULL: Final = Scale(
    9, 2_000, True, 1_000_000, 40, 120, (1, 20, 200), (1, 20, 200), 60, 15, 600, 1_000_000, (1, 10), 100
)
