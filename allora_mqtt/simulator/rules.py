"""What the exchange refuses, why, and in which words."""

from dataclasses import dataclass
from decimal import Decimal

from allora_mqtt.simulator.account import Grouping, OrderRequest
from allora_mqtt.simulator.ticks import is_on_price_grid, is_on_size_grid
from allora_mqtt.simulator.universe import Asset, Universe

MIN_NOTIONAL_USD = Decimal(10)
_MIN_PRICE_RATIO = Decimal("0.2")
_MAX_PRICE_RATIO = Decimal(5)


@dataclass(frozen=True)
class Rejection:
    """Why an order was refused: the text of the answer and the status kept in the history."""

    text: str
    status: str


INVALID_ASSET = Rejection("Order has invalid asset.", "rejected")
DELISTED = Rejection("Trading is halted.", "rejected")
INVALID_SIZE = Rejection("Order has invalid size.", "rejected")
ZERO_SIZE = Rejection("Order has zero size.", "rejected")
INVALID_PRICE = Rejection("Order has invalid price.", "rejected")
OFF_TICK = Rejection("Price must be divisible by tick size.", "tickRejected")
FAR_PRICE = Rejection("Order price cannot be more than 80% away from the reference price.", "oracleRejected")
TOO_SMALL = Rejection("Order must have minimum value of $10.", "minTradeNtlRejected")
NO_MARGIN = Rejection("Insufficient margin to place order.", "perpMarginRejected")
NOT_REDUCING = Rejection("Reduce only order would increase position.", "reduceOnlyRejected")
NO_MATCH = Rejection("Order could not immediately match against any resting orders.", "iocCancelRejected")
NO_LIQUIDITY = Rejection("No liquidity available for market order.", "marketOrderNoLiquidityRejected")
BAD_TRIGGER = Rejection("Invalid TP/SL price.", "badTriggerPxRejected")
BAD_TPSL = Rejection("Invalid TP/SL order.", "rejected")


def would_match(bid: Decimal, ask: Decimal) -> Rejection:
    """The refusal of a post-only order that crosses the book."""
    return Rejection(f"Post only order would have immediately matched, bbo was {bid:f}@{ask:f}.", "badAloPxRejected")


def static_rejection(universe: Universe, request: OrderRequest, grouping: Grouping) -> Rejection | None:
    """What can be refused without looking at the market or the account; it refuses the whole batch."""
    asset = universe.by_index(request.asset)
    if asset is None:
        return INVALID_ASSET
    if asset.is_delisted:
        return DELISTED
    return _size_grid_rejection(asset, request, grouping) or _price_grid_rejection(asset, request)


def _size_grid_rejection(asset: Asset, request: OrderRequest, grouping: Grouping) -> Rejection | None:
    if request.size < 0 or not is_on_size_grid(request.size, asset.sz_decimals):
        return INVALID_SIZE
    follows_position = grouping == "positionTpsl" and request.trigger is not None
    return ZERO_SIZE if request.size == 0 and not follows_position else None


def _price_grid_rejection(asset: Asset, request: OrderRequest) -> Rejection | None:
    prices = [request.px] if request.trigger is None else [request.px, request.trigger.px]
    if any(px <= 0 for px in prices):
        return INVALID_PRICE
    return None if all(is_on_price_grid(px, asset.sz_decimals) for px in prices) else OFF_TICK


def price_rejection(request: OrderRequest, mark: Decimal) -> Rejection | None:
    """An order's price must lie within (0.2, 5] times the reference price."""
    prices = [request.px] if request.trigger is None else [request.px, request.trigger.px]
    if all(_MIN_PRICE_RATIO * mark < px <= _MAX_PRICE_RATIO * mark for px in prices):
        return None
    return FAR_PRICE


def size_rejection(request: OrderRequest, mark: Decimal) -> Rejection | None:
    """An order that may open a position is worth at least 10 USD, at its own price and at the mark price."""
    if request.reduce_only or request.trigger is not None:
        return None
    return TOO_SMALL if request.size * min(request.px, mark) < MIN_NOTIONAL_USD else None


def has_triggered(request: OrderRequest, mark: Decimal) -> bool:
    """Whether the mark price has reached an order's trigger.

    A stop that sells and a take-profit that buys wait for a lower price, the other two for a higher one.
    """
    trigger = request.trigger
    if trigger is None:
        return False
    waits_for_lower = (trigger.kind == "sl") != request.is_buy
    return mark <= trigger.px if waits_for_lower else mark >= trigger.px


def grouping_rejection(requests: list[OrderRequest], grouping: Grouping) -> Rejection | None:
    """`normalTpsl` is an entry followed by its exits; `positionTpsl` is exits only."""
    if grouping == "na":
        return None
    exits = requests[1:] if grouping == "normalTpsl" else requests
    if any(child.trigger is None or not child.reduce_only for child in exits):
        return BAD_TPSL
    if grouping == "normalTpsl":
        parent = requests[0]
        same_way = any(child.is_buy == parent.is_buy or child.asset != parent.asset for child in exits)
        if parent.trigger is not None or parent.reduce_only or same_way:
            return BAD_TPSL
    return None


def child_trigger_rejection(parent: OrderRequest, child: OrderRequest, mark: Decimal) -> Rejection | None:
    """An exit must lie on its side of the price at which the entry will fill."""
    crosses = parent.px >= mark if parent.is_buy else parent.px <= mark
    return BAD_TRIGGER if has_triggered(child, mark if crosses else parent.px) else None


def leverage_error(asset: Asset, leverage: int, *, is_cross: bool) -> str | None:
    """Why a leverage cannot be set, if it cannot."""
    if asset.is_delisted:
        return DELISTED.text
    if not 1 <= leverage <= asset.max_leverage:
        return "Invalid leverage value"
    if is_cross and asset.is_isolated_only:
        return "Cross margin is not allowed for this asset."
    return None
