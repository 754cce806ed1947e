"""What to do about a coin: AlloraMind's gap rule. Values in, values out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

from allora_mqtt.market.predictions import Prediction
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.messages import Direction
from allora_mqtt.protocol.runtime import RuntimeSettings

_GAP_STEP: Final = Decimal("0.0001")
_WIDE: Final = Context(prec=100)

Strategy = Callable[[Quote, Prediction, RuntimeSettings], Direction]
"""Says which way to go, given the market, the prediction and the settings."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a strategy says of a coin, and why.

    Attributes:
        gap_pct: how far the prediction lies from the mark price, percent of the mark.
    """

    direction: Direction
    gap_pct: Decimal
    reasons: tuple[str, ...]


def gap_pct(prediction: Decimal, mark: Decimal) -> Decimal:
    """Return `(prediction - mark) / mark`, in percent."""
    return (prediction - mark) / mark * 100


def round_gap(gap: Decimal) -> Decimal:
    """Round a gap as it is published; an absurd prediction makes one of more digits than the usual precision."""
    return gap.quantize(_GAP_STEP, context=_WIDE)


def allora_gap(quote: Quote, prediction: Prediction, settings: RuntimeSettings) -> Direction:
    """Buy when the network expects a price at least `price_gap_pct` above the mark, sell when as far below."""
    gap = gap_pct(prediction.price, quote.mark)
    if gap >= settings.price_gap_pct:
        return Direction.BUY
    if gap <= -settings.price_gap_pct:
        return Direction.SELL
    return Direction.HOLD


STRATEGIES: Final[Mapping[str, Strategy]] = {"allora_gap": allora_gap}
"""Every strategy by the name that `strategy` takes."""


def judge(quote: Quote, prediction: Prediction, settings: RuntimeSettings) -> Opinion:
    """Ask the strategy that the settings name.

    Returns:
        Its opinion with the gap; HOLD with a reason when there is no strategy of that name.
    """
    gap = gap_pct(prediction.price, quote.mark)
    strategy = STRATEGIES.get(settings.strategy)
    if strategy is None:
        return Opinion(Direction.HOLD, gap, (f"there is no strategy {settings.strategy!r}",))
    direction = strategy(quote, prediction, settings)
    comparison = f"gap {gap:+.3f} % against a threshold of {settings.price_gap_pct} %"
    return Opinion(direction, gap, (comparison,))
