"""What follows from a fill or a cancel for the orders that belong together: an entry, its stop, its take-profit."""

from allora_mqtt.simulator.account import Account, Order, OrderRequest


def is_reducing(account: Account, request: OrderRequest) -> bool:
    """Whether the order is against the present position."""
    szi = account.szi(request.asset)
    return szi != 0 and (szi < 0) == request.is_buy


def follow_fill(account: Account, order: Order, now_ms: int) -> None:
    """After a fill: close an order that is done, wake its exits, cancel its siblings and what has become idle."""
    if order.size == 0:
        account.close_order(order, "filled", now_ms)
        _wake_children(account, order)
        if order.parent_oid is not None:
            _cancel_siblings(account, order, now_ms)
    _cancel_idle_exits(account, order.request.asset, now_ms)


def settle_children(account: Account, parent: Order, now_ms: int) -> None:
    """Let the exits of an entry live, sleep or end, as the entry's own end says.

    The exchange places exits once their entry has filled whole, or has filled in part and then could not be carried
    any further (`marginCanceled`). Those of an entry that was cancelled otherwise, or lapsed (IOC), are cancelled with
    it, even when part of it has filled: that part then stands without a stop.
    """
    if parent.oid in account.orders:
        return
    if parent.size == 0 or (parent.status == "marginCanceled" and parent.filled):
        _wake_children(account, parent)
        _cancel_idle_exits(account, parent.request.asset, now_ms)
        return
    for oid in parent.children:
        child = account.orders.get(oid)
        if child is not None and child.is_waiting:
            account.close_order(child, "canceled", now_ms)


def cancel_order(account: Account, order: Order, status: str, now_ms: int) -> None:
    """Close an open order with this status, and settle what hangs on it."""
    account.close_order(order, status, now_ms)
    settle_children(account, order, now_ms)


def _wake_children(account: Account, parent: Order) -> None:
    """Exits become live, none larger than what has filled."""
    for oid in parent.children:
        child = account.orders.get(oid)
        if child is not None and child.is_waiting:
            child.is_waiting = False
            child.size = min(child.request.size, parent.filled)


def _cancel_siblings(account: Account, filled: Order, now_ms: int) -> None:
    for order in list(account.orders.values()):
        if order.parent_oid == filled.parent_oid:
            account.close_order(order, "siblingFilledCanceled", now_ms)


def _cancel_idle_exits(account: Account, asset: int, now_ms: int) -> None:
    """Cancel reduce-only orders that no longer have a position to reduce."""
    for order in list(account.orders.values()):
        request = order.request
        if (
            request.asset == asset
            and request.reduce_only
            and not order.is_waiting
            and not is_reducing(account, request)
        ):
            account.close_order(order, "reduceOnlyCanceled", now_ms)
