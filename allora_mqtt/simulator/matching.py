"""Executing orders: against the synthetic book, and when their trigger fires."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from allora_mqtt.simulator import rules
from allora_mqtt.simulator.account import ZERO, Account, Grouping, Order, OrderRequest
from allora_mqtt.simulator.exchange_state import Counters
from allora_mqtt.simulator.grouping import cancel_order, follow_fill, is_reducing, settle_children
from allora_mqtt.simulator.ledger import Fill, book_fill
from allora_mqtt.simulator.margin import held_usd, leverage_of, summarize
from allora_mqtt.simulator.market import Level, Market
from allora_mqtt.simulator.rules import Rejection
from allora_mqtt.simulator.ticks import floor_size
from allora_mqtt.simulator.universe import Asset

_MARKET_TRIGGER_SLIPPAGE = Decimal("0.1")
WHOLE = Decimal(1)


@dataclass
class Moment:
    """The market at one wall time, as the functions of this module need it."""

    market: Market
    now_s: float

    @property
    def now_ms(self) -> int:
        """Wall time in unix ms."""
        return int(self.now_s * 1000)

    def mark(self, asset: Asset) -> Decimal:
        """The mark price of an asset."""
        return self.market.mark(asset, self.now_s)

    def asset(self, request: OrderRequest) -> Asset:
        """The asset of an order."""
        return self.market.universe.assets[request.asset]


def walk(levels: Iterable[Level], size: Decimal, limit_px: Decimal, *, is_buy: bool) -> list[Fill]:
    """The fills an order gets from the other side of the book, up to its limit price; possibly fewer than `size`."""
    fills: list[Fill] = []
    for level in levels:
        if size <= 0 or (level.px > limit_px if is_buy else level.px < limit_px):
            break
        taken = min(size, level.size)
        fills.append(Fill(level.px, taken, is_taker=True))
        size -= taken
    return fills


@dataclass
class Matcher:
    """Turns requests into orders and orders into fills.

    Attributes:
        counters: Source of order and trade numbers, part of the saved state.
    """

    counters: Counters = field(default_factory=Counters)

    def new_order(self, request: OrderRequest, grouping: Grouping, now_ms: int) -> Order:
        """Give a request its number."""
        oid = self.counters.next_oid
        self.counters.next_oid += 1
        return Order(oid, request, request.size, grouping, placed_ms=now_ms, status_ms=now_ms)

    def enter(self, account: Account, order: Order, moment: Moment, fill_share: Decimal = WHOLE) -> Rejection | None:
        """Match a new limit order and let the rest of it rest or lapse, as its time in force says.

        Args:
            account: Whose order it is.
            order: The order; not yet among the account's open orders.
            moment: The market now.
            fill_share: The share of the order the book has room for.

        Returns:
            Why it was refused, or None. A refused order goes to the history.
        """
        rejection, fills = self._examine(account, order, moment, fill_share)
        if rejection is not None:
            account.close_order(order, rejection.status, moment.now_ms)
            return rejection
        account.orders[order.oid] = order
        self.fill(account, order, fills, moment)
        if order.oid in account.orders and order.request.tif == "Ioc":
            cancel_order(account, order, "canceled", moment.now_ms)
        return None

    def _examine(
        self, account: Account, order: Order, moment: Moment, fill_share: Decimal
    ) -> tuple[Rejection | None, list[Fill]]:
        request, asset = order.request, moment.asset(order.request)
        mark = moment.mark(asset)
        rejection = rules.price_rejection(request, mark) or rules.size_rejection(request, mark)
        if rejection is None and request.reduce_only and not shrink_to_position(account, order):
            rejection = rules.NOT_REDUCING
        if rejection is not None:
            return rejection, []
        fillable = floor_size(order.size * fill_share, asset.sz_decimals)
        levels = moment.market.levels(asset, moment.now_s, asks=request.is_buy)
        fills = walk(levels, fillable, request.px, is_buy=request.is_buy)
        if request.tif == "Alo" and fills:
            return rules.would_match(*moment.market.bbo(asset, moment.now_s)), []
        if request.tif == "Ioc" and not fills:
            return rules.NO_MATCH, []
        rests = request.tif != "Ioc"
        return (None if has_margin(account, order, fills, moment, rests=rests) else rules.NO_MARGIN), fills

    def enter_trigger(self, account: Account, order: Order, moment: Moment) -> Rejection | None:
        """Let a stop or take-profit wait for its trigger. Returns why it was refused, or None."""
        request = order.request
        mark = moment.mark(moment.asset(request))
        rejection = rules.price_rejection(request, mark)
        if rejection is None and request.reduce_only and not is_reducing(account, request):
            rejection = rules.NOT_REDUCING
        if rejection is None and rules.has_triggered(request, mark):
            rejection = rules.BAD_TRIGGER
        if rejection is not None:
            account.close_order(order, rejection.status, moment.now_ms)
            return rejection
        account.orders[order.oid] = order
        return None

    def enter_children(self, account: Account, parent: Order, requests: list[OrderRequest], moment: Moment) -> None:
        """Attach stops and take-profits to an entry; they sleep until it has filled."""
        for request in requests:
            child = self.new_order(request, "normalTpsl", moment.now_ms)
            child.parent_oid = parent.oid
            child.is_waiting = True
            parent.children.append(child.oid)
            account.orders[child.oid] = child
        settle_children(account, parent, moment.now_ms)

    def fire(self, account: Account, order: Order, moment: Moment) -> None:
        """Execute a stop or take-profit whose trigger price has been reached."""
        request, asset = order.request, moment.asset(order.request)
        trigger = request.trigger
        order.is_triggered = True
        order.status, order.status_ms = "triggered", moment.now_ms
        if order.grouping == "positionTpsl":
            order.size = abs(account.szi(asset.index))
        if request.reduce_only and not shrink_to_position(account, order):
            account.close_order(order, "reduceOnlyCanceled", moment.now_ms)
            return
        is_market = trigger is not None and trigger.is_market
        limit_px = request.px
        if is_market:
            slip = _MARKET_TRIGGER_SLIPPAGE if request.is_buy else -_MARKET_TRIGGER_SLIPPAGE
            limit_px = moment.mark(asset) * (1 + slip)
        levels = moment.market.levels(asset, moment.now_s, asks=request.is_buy)
        fills = walk(levels, order.size, limit_px, is_buy=request.is_buy)
        if not has_margin(account, order, fills, moment, rests=not is_market):
            account.close_order(order, rules.NO_MARGIN.status, moment.now_ms)
            return
        self.fill(account, order, fills, moment)
        if is_market and order.oid in account.orders:
            status = "canceled" if order.filled else rules.NO_LIQUIDITY.status
            account.close_order(order, status, moment.now_ms)

    def fill_resting(self, account: Account, order: Order, moment: Moment) -> None:
        """Fill a resting order, as the maker at its own price, once the market has reached it."""
        asset = moment.asset(order.request)
        bid, ask = moment.market.bbo(asset, moment.now_s)
        if ask > order.request.px if order.request.is_buy else bid < order.request.px:
            return
        if order.request.reduce_only and not shrink_to_position(account, order):
            account.close_order(order, "reduceOnlyCanceled", moment.now_ms)
            return
        fills = [Fill(order.request.px, order.size, is_taker=False)]
        if not has_margin(account, order, fills, moment, rests=False):
            cancel_order(account, order, "marginCanceled", moment.now_ms)
            return
        self.fill(account, order, fills, moment)

    def fill(self, account: Account, order: Order, fills: list[Fill], moment: Moment) -> None:
        """Book fills of an open order and do what follows: close it, wake its children, cancel its siblings."""
        asset = moment.asset(order.request)
        for fill in fills:
            book_fill(account, asset, order, fill, self.next_tid(), moment.now_ms)
        if not fills:
            return
        follow_fill(account, order, moment.now_ms)

    def next_tid(self) -> int:
        """A new trade number."""
        tid = self.counters.next_tid
        self.counters.next_tid += 1
        return tid


def shrink_to_position(account: Account, order: Order) -> bool:
    """Cut a reduce-only order to the position's size; False when there is nothing to reduce."""
    if not is_reducing(account, order.request):
        return False
    order.size = min(order.size, abs(account.szi(order.request.asset)))
    return True


def has_margin(account: Account, order: Order, fills: list[Fill], moment: Moment, *, rests: bool) -> bool:
    """Whether the account can carry the position after these fills (and after the rest has filled, if it `rests`)."""
    request, asset = order.request, moment.asset(order.request)
    filled = sum((fill.size for fill in fills), ZERO)
    size = order.size if rests else filled
    szi = account.szi(asset.index)
    after = szi + (size if request.is_buy else -size)
    if abs(after) <= abs(szi) and after * szi >= 0:
        return True
    mark, leverage = moment.mark(asset), leverage_of(account, asset)
    summary = summarize(account, moment.market.universe, moment.mark)
    others = summary.cross_margin_used_usd - (abs(szi) * mark / leverage.value if leverage.is_cross else ZERO)
    side = 1 if request.is_buy else -1
    cost = sum((fill.fee_usd + side * fill.size * (fill.px - mark) for fill in fills), ZERO)
    px = max([mark, *(fill.px for fill in fills), *([request.px] if rests and size > filled else [])])
    required = abs(after) * px / leverage.value + max(ZERO, cost)
    position = account.positions.get(asset.index)
    if position is not None and not leverage.is_cross:
        required -= position.isolated_usd
    held = held_usd(account, moment.market.universe, except_oid=order.oid)
    return required <= summary.cross_equity_usd - others - held
