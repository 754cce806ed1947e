"""What every section is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale import Scale


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the suite.

    Attributes:
        scale: how much is measured.
        folder: for what the measured programs write.
        say: told what is being done.
        bars: a CSV of real prices for the backtest, hour by hour.
    """

    scale: Scale
    folder: Path
    say: Callable[[str], None]
    bars: Path
