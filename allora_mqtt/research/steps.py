"""Past prices as a sequence in time: each step holds what became known then, and nothing of what came later."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from allora_mqtt.research.prices import Series


class Kind(IntEnum):
    """What a step tells; at the same time the lower one comes first."""

    CLOSE = 0
    """The last price before a gap or the end of the data."""
    OPEN = 1
    """A price at which the bot looks and decides: the open of a bar, or a recorded price."""
    RANGE = 2
    """How low and how high a bar went, in an order that nobody knows; stops and targets are held against it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        at: unix seconds; a range is placed in the middle of its bar.
        prices: one price, or low and high of a range.
        funding_rate: what the data says of it; with an open only.
    """

    at: float
    kind: Kind
    symbol: str
    prices: tuple[Decimal, ...]
    funding_rate: Decimal | None = None


def steps(series: Sequence[Series]) -> Iterator[Step]:
    """Merge the prices of several coins into one sequence."""
    return heapq.merge(*map(_steps_of, series), key=lambda step: (step.at, step.kind, step.symbol))


def count(series: Sequence[Series]) -> int:
    """Return how many bars there are: what progress is measured by."""
    return sum(len(each.bars) for each in series)


def _steps_of(series: Series) -> Iterator[Step]:
    bars = series.bars
    for index, bar in enumerate(bars):
        yield Step(bar.at, Kind.OPEN, series.symbol, (bar.open,), bar.funding_rate)
        if bar.span_s == 0:
            continue
        yield Step(bar.at + bar.span_s / 2, Kind.RANGE, series.symbol, (bar.low, bar.high))
        is_last = index + 1 == len(bars)
        if is_last or bars[index + 1].at > bar.end:
            yield Step(bar.end, Kind.CLOSE, series.symbol, (bar.close,))
