"""How far a topic can be trusted: how often it foresaw the direction. Values in, values out."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Skill:
    """How often a topic foresaw the direction of its newest resolved predictions."""

    samples: int
    right: int

    @property
    def accuracy_pct(self) -> Decimal | None:
        """The share of those that were right, percent, or None without any."""
        return None if self.samples == 0 else (Decimal(100 * self.right) / self.samples).quantize(Decimal("0.1"))


@dataclass(frozen=True, slots=True)
class Awaited:
    """A prediction that is not due yet.

    Attributes:
        at: when it was made, unix seconds.
        price: what was predicted, USD.
        mark: the mark price when it came, USD.
        due: the moment that it is about, unix seconds.
    """

    topic_id: int
    symbol: str
    at: float
    price: Decimal
    mark: Decimal
    due: float


def is_right(awaited: Awaited, outcome: Decimal) -> bool | None:
    """Tell whether the price went the way that was predicted; None for a prediction that named no direction.

    A price that is where it was is no success: a position would have cost its fees.
    """
    if awaited.price == awaited.mark:
        return None
    return outcome != awaited.mark and (outcome > awaited.mark) is (awaited.price > awaited.mark)
