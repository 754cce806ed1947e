"""Liquidation: closing what an account can no longer carry."""

from allora_mqtt.simulator.account import ZERO, Account, OrderRequest
from allora_mqtt.simulator.ledger import Fill, book_fill
from allora_mqtt.simulator.margin import leverage_of, maintenance_usd, summarize
from allora_mqtt.simulator.matching import Matcher, Moment
from allora_mqtt.simulator.universe import Asset


def liquidate(account: Account, matcher: Matcher, moment: Moment) -> bool:
    """Close positions whose margin has fallen below maintenance, at the mark price.

    All cross positions go together, and with them all open orders; an isolated position goes alone and costs no more
    than the money set aside for it. Returns whether anything was closed.
    """
    universe = moment.market.universe
    doomed: list[Asset] = []
    for index, position in account.positions.items():
        asset = universe.assets[index]
        if not leverage_of(account, asset).is_cross:
            mark = moment.mark(asset)
            equity = position.isolated_usd + position.pnl(mark)
            if equity < maintenance_usd(asset, abs(position.szi) * mark):
                doomed.append(asset)
    for asset in doomed:
        _close_isolated(account, asset, matcher, moment)
    summary = summarize(account, universe, moment.mark)
    if summary.cross_notional_usd == 0 or summary.cross_equity_usd >= summary.cross_maintenance_usd:
        return bool(doomed)
    for order in list(account.orders.values()):
        account.close_order(order, "liquidatedCanceled", moment.now_ms)
    for index in list(account.positions):
        asset = universe.assets[index]
        if leverage_of(account, asset).is_cross:
            _close(account, asset, "Cross", matcher, moment)
    isolated = sum((position.isolated_usd for position in account.positions.values()), ZERO)
    # What is missing beyond the account's own money is the insurance fund's loss, not the account's.
    account.cash_usd = max(account.cash_usd, isolated)
    return True


def _close_isolated(account: Account, asset: Asset, matcher: Matcher, moment: Moment) -> None:
    for order in list(account.orders.values()):
        if order.request.asset == asset.index:
            account.close_order(order, "liquidatedCanceled", moment.now_ms)
    floor_usd = account.cash_usd - account.positions[asset.index].isolated_usd
    _close(account, asset, "Isolated", matcher, moment)
    account.cash_usd = max(account.cash_usd, floor_usd)


def _close(account: Account, asset: Asset, kind: str, matcher: Matcher, moment: Moment) -> None:
    szi = account.szi(asset.index)
    mark = moment.mark(asset)
    request = OrderRequest(asset.index, is_buy=szi < 0, px=mark, size=abs(szi), reduce_only=True, tif="Ioc")
    order = matcher.new_order(request, "na", moment.now_ms)
    line = book_fill(account, asset, order, Fill(mark, abs(szi), is_taker=True), matcher.next_tid(), moment.now_ms)
    line["dir"] = f"Liquidated {kind} {'Long' if szi > 0 else 'Short'}"
    line["liquidation"] = {"liquidatedUser": account.address, "markPx": f"{mark:f}", "method": "market"}
    account.close_order(order, "filled", moment.now_ms)
