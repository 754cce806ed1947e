"""What a strategy sees and what it says. Values only."""

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final, Protocol

from allora_mqtt.market.predictions import Prediction
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.messages import Direction
from allora_mqtt.protocol.runtime import RuntimeSettings

_GAP_STEP: Final = Decimal("0.0001")
_WIDE: Final = Context(prec=100)


@dataclass(frozen=True, slots=True)
class Sample:
    """A mark price of the past.

    Attributes:
        at: unix seconds.
        mark: USD.
    """

    at: float
    mark: Decimal


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a strategy may judge by, at one moment.

    Attributes:
        quote: the exchange's newest word on the coin.
        prediction: the topic's newest usable prediction.
        history: mark prices of the coin, oldest first, one every five minutes; empty at first.
        settings: the runtime settings in force.
        now: unix seconds.
    """

    quote: Quote
    prediction: Prediction
    history: tuple[Sample, ...]
    settings: RuntimeSettings
    now: float

    @property
    def gap_pct(self) -> Decimal:
        """How far the prediction lies from the mark price, percent of the mark."""
        return gap_pct(self.prediction.price, self.quote.mark)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a strategy answers.

    Attributes:
        direction: which way to go.
        reasons: why, in words for people, the most important first; kept with the signal.
    """

    direction: Direction
    reasons: tuple[str, ...]


class Strategy(Protocol):
    """Says which way to go. It must be pure: no I/O, no waiting, no memory; the bot stands still while it thinks."""

    def __call__(self, situation: Situation, /) -> Verdict:
        """Judge a situation."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the chosen strategy says of a coin, and why.

    Attributes:
        gap_pct: how far the prediction lies from the mark price, percent of the mark.
        fault: what a strategy raised instead of answering; the direction is HOLD then.
    """

    direction: Direction
    gap_pct: Decimal
    reasons: tuple[str, ...]
    fault: BaseException | None = None


def gap_pct(prediction: Decimal, mark: Decimal) -> Decimal:
    """Return `(prediction - mark) / mark`, in percent."""
    return (prediction - mark) / mark * 100


def round_gap(gap: Decimal) -> Decimal:
    """Round a gap as it is published; an absurd prediction makes one of more digits than the usual precision."""
    return gap.quantize(_GAP_STEP, context=_WIDE)


def direction_of(gap: Decimal, threshold_pct: Decimal) -> Direction:
    """Return BUY for a gap of at least the threshold, SELL for one as far below zero, else HOLD."""
    if gap >= threshold_pct:
        return Direction.BUY
    return Direction.SELL if gap <= -threshold_pct else Direction.HOLD
