"""What a run has measured, in a form that is kept as JSON and shown as tables, charts and goals met or missed."""

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

Unit = Literal["ms", "s", "x", "/s", "MB", "%", "weight", "bars/s", ""]


class Model(BaseModel):
    """Written and read without surprises."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(Model):
    """The median of several rounds, the lowest and the highest of them."""

    median: float
    low: float
    high: float

    def words(self) -> str:
        """Return it for people, the spread only where there were several rounds."""
        middle = short(self.median)
        return middle if self.low == self.high else f"{middle} ({short(self.low)} to {short(self.high)})"


class Table(Model):
    """Rows under a head; a cell is words or a measured value."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | Spread, ...], ...]


class Bar(Model):
    """One bar of a chart."""

    label: str
    value: Spread
    is_ours: bool = False


class Chart(Model):
    """Bars of one unit, on a logarithmic scale where they differ by orders of magnitude."""

    name: str
    title: str
    unit: Unit
    bars: tuple[Bar, ...]
    is_log: bool = False


class Goal(Model):
    """What was wanted, and what came of it.

    Attributes:
        limit: the highest value that is good, or the lowest where `is_least`.
        why: what stands behind a miss, where it is known.
    """

    what: str
    limit: float
    measured: Spread
    unit: Unit
    is_least: bool = False
    why: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the median of the rounds is good."""
        return self.measured.median >= self.limit if self.is_least else self.measured.median <= self.limit

    def verdict(self) -> str:
        """Return whether it was met, or by how much not."""
        if self.is_met:
            return "met"
        missed_by = self.limit / self.measured.median if self.is_least else self.measured.median / self.limit
        return f"missed by a factor of {missed_by:.2f}"


class Section(Model):
    """One section of the suite."""

    key: str
    title: str
    about: str
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()
    took_s: float = 0.0


def spread(rounds: Sequence[float]) -> Spread:
    """Sum the rounds up."""
    return Spread(median=statistics.median(rounds), low=min(rounds), high=max(rounds))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Divide round by round what was measured side by side, then sum up."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the sample that this share of all samples does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def short(value: float) -> str:
    """Return a number with three digits that count, and all of those before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"
