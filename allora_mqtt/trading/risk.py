"""Whether an entry may be made, how large, and where its stop and target go. Values in, values out."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

from allora_mqtt.market.catalog import Asset
from allora_mqtt.market.precision import round_price, round_size
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.messages import Direction
from allora_mqtt.protocol.runtime import RuntimeSettings

MIN_NOTIONAL_USD: Final = Decimal(10)
"""HyperLiquid's smallest order that opens or adds to a position."""
MIN_STOP_PCT: Final = Decimal("0.15")
"""A stop nearer than this would be hit by the spread alone."""
MIN_TARGET_PCT: Final = Decimal("0.2")
"""A target nearer than this would not pay two taker fees of 0.045 %."""
ORDERS_PER_ENTRY: Final = 3
"""The entry itself, its stop and its target."""
TRADED_ON: Final = "this prediction has been traded on"
IS_IN: Final = "there is a position or an order on its way already"
FOLLOWS_FROM_AN_ENTRY: Final = frozenset({TRADED_ON, IS_IN})
"""Why no second entry is made: what every entry brings about, and surprises nobody."""
_MINUTE_S: Final = 60.0
_MOST_REMEMBERED: Final = 2000
"""More than `max_orders_per_minute` can be."""
_MARGIN_RESERVE: Final = Decimal("0.95")
"""Part of the free margin that may be used: fees and slippage come on top of an entry's margin."""


@dataclass(frozen=True, slots=True)
class Book:
    """Everything the limits are held against, pending and open together.

    Attributes:
        notional_usd: by symbol, of open positions and of entries on their way; foreign positions included.
        free_margin_usd: what the exchange would let us use, less what entries on their way need.
        cooling_until: by symbol, unix seconds until which no entry is made after a stop.
        orders_last_minute: sent within the last minute, those of entries that were only just planned included.
    """

    notional_usd: Mapping[str, Decimal]
    free_margin_usd: Decimal
    cooling_until: Mapping[str, float]
    orders_last_minute: int


class OrderPace:
    """Counts orders over a sliding minute."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, int]] = deque(maxlen=_MOST_REMEMBERED)

    def note(self, orders: int, now: float) -> None:
        """Count orders that are sent now, unix seconds, or were at an earlier moment."""
        self._sent.append((now, orders))

    def last_minute(self, now: float) -> int:
        """Return how many there were in the minute before now; a clock that was set back makes none of them older."""
        recent = [(min(at, now), orders) for at, orders in self._sent if now - at < _MINUTE_S]
        self._sent = deque(recent, maxlen=_MOST_REMEMBERED)
        return sum(orders for _, orders in self._sent)


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """An entry that passes every limit.

    Attributes:
        size: in coins, rounded down to the asset's decimals.
        limit_price: the worst price it may fill at.
        notional_usd: the size at the limit price or the mark, whichever is more: what is held against the limits.
        margin_usd: the notional divided by the leverage.
    """

    symbol: str
    is_buy: bool
    size: Decimal
    limit_price: Decimal
    stop_price: Decimal
    target_price: Decimal
    leverage: int
    notional_usd: Decimal
    margin_usd: Decimal


@dataclass(frozen=True, slots=True)
class Refused:
    """Why no entry is made."""

    reason: str


def plan_entry(
    direction: Direction,
    gap_pct: Decimal,
    quote: Quote,
    asset: Asset,
    settings: RuntimeSettings,
    book: Book,
    now: float,
) -> EntryPlan | Refused:
    """Size an entry and hold it against the limits.

    The size is `amount_usd` times the leverage, in coins; it is never raised to meet the exchange's minimum.
    """
    refused = _not_now(asset.symbol, quote, settings, book, now)
    if refused is not None:
        return refused
    try:
        return _planned(direction, gap_pct, quote, asset, settings, book)
    except ValueError:
        return Refused(f"the price of {asset.symbol} is below the smallest step that an order can have")


def _planned(
    direction: Direction, gap_pct: Decimal, quote: Quote, asset: Asset, settings: RuntimeSettings, book: Book
) -> EntryPlan | Refused:
    leverage = min(settings.max_leverage, asset.max_leverage)
    is_buy = direction is Direction.BUY
    slip = settings.max_slippage_pct / 100
    worst = quote.mark * (1 + slip if is_buy else 1 - slip)
    limit_price = round_price(worst, asset.sz_decimals, ROUND_DOWN if is_buy else ROUND_UP)
    counted_price = max(limit_price, quote.mark)
    size = round_size(settings.amount_usd * leverage / counted_price, asset.sz_decimals)
    notional = size * counted_price
    refused = _too_much(asset.symbol, size * limit_price, notional, leverage, settings, book)
    if refused is not None:
        return refused
    stop_price, target_price = exit_prices(quote.mark, gap_pct, asset, settings, is_buy=is_buy)
    below, above = (stop_price, target_price) if is_buy else (target_price, stop_price)
    if not below < quote.mark < above:
        return Refused(f"the price steps of {asset.symbol} are too coarse for a stop and a target this near")
    return EntryPlan(
        asset.symbol, is_buy, size, limit_price, stop_price, target_price, leverage, notional, notional / leverage
    )


def exit_prices(
    reference: Decimal, gap_pct: Decimal, asset: Asset, settings: RuntimeSettings, *, is_buy: bool
) -> tuple[Decimal, Decimal]:
    """Return stop and target of a position: the gap times `sl_ratio` and `tp_ratio`, with floors."""
    stop_pct = max(abs(gap_pct) * settings.sl_ratio, MIN_STOP_PCT)
    target_pct = max(abs(gap_pct) * settings.tp_ratio, MIN_TARGET_PCT)
    sign = 1 if is_buy else -1
    stop = reference * (1 - sign * min(stop_pct, Decimal(90)) / 100)
    target = reference * (1 + sign * min(target_pct, Decimal(90)) / 100)
    # Rounded towards the entry, so that the loss is not more and the gain is sooner than asked for.
    return (
        round_price(stop, asset.sz_decimals, ROUND_UP if is_buy else ROUND_DOWN),
        round_price(target, asset.sz_decimals, ROUND_DOWN if is_buy else ROUND_UP),
    )


def _not_now(symbol: str, quote: Quote, settings: RuntimeSettings, book: Book, now: float) -> Refused | None:
    if symbol in book.notional_usd:
        return Refused(IS_IN)
    if len(book.notional_usd) >= settings.max_open_positions:
        return Refused(f"{len(book.notional_usd)} positions are open or on their way, the limit is max_open_positions")
    cooling_until = book.cooling_until.get(symbol, 0)
    if now < cooling_until:
        return Refused(f"cooling down for {cooling_until - now:.0f} s more after a stop")
    if quote.spread_pct is None:
        return Refused("the spread is not known")
    if quote.spread_pct > settings.max_spread_pct:
        return Refused(f"the spread of {quote.spread_pct:.3f} % is above max_spread_pct")
    return None


def _too_much(
    symbol: str, smallest_usd: Decimal, notional: Decimal, leverage: int, settings: RuntimeSettings, book: Book
) -> Refused | None:
    if book.orders_last_minute + ORDERS_PER_ENTRY > settings.max_orders_per_minute:
        return Refused(f"{book.orders_last_minute} orders were sent in a minute, the limit is max_orders_per_minute")
    if smallest_usd < MIN_NOTIONAL_USD:
        return Refused(f"{notional:.2f} USD of {symbol} is below the exchange's minimum of 10 USD; raise amount_usd")
    # The coin has nothing else open or on its way, or the entry would have been refused before.
    if notional > settings.max_symbol_exposure_usd:
        return Refused(f"{notional:.2f} USD of {symbol} would exceed max_symbol_exposure_usd")
    exposure = sum(book.notional_usd.values(), Decimal(0))
    if exposure + notional > settings.max_exposure_usd:
        return Refused(f"{exposure:.2f} USD are exposed; {notional:.2f} more would exceed max_exposure_usd")
    if notional / leverage > book.free_margin_usd * _MARGIN_RESERVE:
        return Refused(f"{notional / leverage:.2f} USD of margin are needed and {book.free_margin_usd:.2f} are free")
    return None
