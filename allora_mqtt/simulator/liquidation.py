"""Liquidation: closing what an account can no longer carry, in the exchange's two ways.

Below maintenance margin, positions are sent to the book like market orders: whole, or a fifth of one worth more than
100,000 USD unless a part was liquidated within the last 30 s; what is left of the margin stays the account's. Below two
thirds of it the liquidator takes position and margin over (a backstop), and nothing is left.
"""

from dataclasses import dataclass
from decimal import Decimal

from allora_mqtt.simulator.account import ZERO, Account, OrderRequest, Position
from allora_mqtt.simulator.ledger import Fill, book_fill
from allora_mqtt.simulator.margin import leverage_of, maintenance_usd, summarize
from allora_mqtt.simulator.matching import Matcher, Moment, walk
from allora_mqtt.simulator.ticks import floor_size, to_wire
from allora_mqtt.simulator.universe import Asset

_BACKSTOP_SHARE = Decimal(2) / 3
_PARTIAL_ABOVE_USD = Decimal(100_000)
_PARTIAL_SHARE = Decimal("0.2")
_COOLDOWN_S = 30.0
_ANY_PX = Decimal("Infinity")


@dataclass(frozen=True)
class _Closing:
    """One position on its way out."""

    asset: Asset
    is_backstop: bool
    is_cross: bool


def liquidate(account: Account, matcher: Matcher, moment: Moment) -> bool:
    """Close positions whose margin has fallen below maintenance; returns whether anything was done.

    All cross positions go together, and with them all open orders; an isolated position goes alone and costs no more
    than the money set aside for it.
    """
    universe = moment.market.universe
    doomed: list[_Closing] = []
    for index, position in account.positions.items():
        asset = universe.assets[index]
        if not leverage_of(account, asset).is_cross:
            mark = moment.mark(asset)
            equity, needed = (
                position.isolated_usd + position.pnl(mark),
                maintenance_usd(asset, abs(position.szi) * mark),
            )
            if equity < needed:
                doomed.append(_Closing(asset, is_backstop=equity < needed * _BACKSTOP_SHARE, is_cross=False))
    for closing in doomed:
        _close_isolated(account, closing, matcher, moment)
    summary = summarize(account, universe, moment.mark)
    if summary.cross_notional_usd == 0 or summary.cross_equity_usd >= summary.cross_maintenance_usd:
        return bool(doomed)
    is_backstop = summary.cross_equity_usd < summary.cross_maintenance_usd * _BACKSTOP_SHARE
    _cancel_orders(account, None, moment)
    for index in list(account.positions):
        asset = universe.assets[index]
        if leverage_of(account, asset).is_cross:
            _close(account, _Closing(asset, is_backstop, is_cross=True), matcher, moment)
    isolated = sum((position.isolated_usd for position in account.positions.values()), ZERO)
    # What is missing beyond the account's own money is the insurance fund's loss, not the account's.
    _settle(account, isolated if is_backstop else max(account.cash_usd, isolated))
    return True


def _close_isolated(account: Account, closing: _Closing, matcher: Matcher, moment: Moment) -> None:
    asset = closing.asset
    _cancel_orders(account, asset, moment)
    position: Position = account.positions[asset.index]
    set_aside_usd = position.isolated_usd
    others_usd = account.cash_usd - set_aside_usd
    _close(account, closing, matcher, moment)
    if asset.index in account.positions:
        return
    # A backstop takes all that was set aside; otherwise it bears the loss, and no more than it can.
    _settle(account, others_usd if closing.is_backstop else max(account.cash_usd, others_usd))


def _settle(account: Account, cash_usd: Decimal) -> None:
    account.forfeited_usd += account.cash_usd - cash_usd
    account.cash_usd = cash_usd


def _cancel_orders(account: Account, asset: Asset | None, moment: Moment) -> None:
    for order in list(account.orders.values()):
        if asset is None or order.request.asset == asset.index:
            account.close_order(order, "liquidatedCanceled", moment.now_ms)


def _close(account: Account, closing: _Closing, matcher: Matcher, moment: Moment) -> None:
    asset = closing.asset
    szi, mark = account.szi(asset.index), moment.mark(asset)
    size = abs(szi)
    is_long = szi > 0
    if closing.is_backstop:
        fills = [Fill(mark, size, is_taker=True)]
    else:
        in_cooldown = moment.now_s - account.partly_liquidated_s < _COOLDOWN_S
        if size * mark > _PARTIAL_ABOVE_USD and not in_cooldown:
            size = floor_size(size * _PARTIAL_SHARE, asset.sz_decimals)
            account.partly_liquidated_s = moment.now_s
        levels = moment.market.levels(asset, moment.now_s, asks=not is_long)
        fills = walk(levels, size, ZERO if is_long else _ANY_PX, is_buy=not is_long)
    request = OrderRequest(asset.index, is_buy=not is_long, px=mark, size=size, reduce_only=True, tif="Ioc")
    order = matcher.new_order(request, "na", moment.now_ms)
    for fill in fills:
        line = book_fill(account, asset, order, fill, matcher.next_tid(), moment.now_ms)
        line["dir"] = f"Liquidated {'Cross' if closing.is_cross else 'Isolated'} {'Long' if is_long else 'Short'}"
        line["liquidation"] = {
            "liquidatedUser": account.address,
            "markPx": to_wire(mark),
            "method": "backstop" if closing.is_backstop else "market",
        }
    account.close_order(order, "filled" if order.size == 0 else "canceled", moment.now_ms)
