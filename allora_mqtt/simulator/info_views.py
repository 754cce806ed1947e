"""Accounts, orders and the market in the shapes of `POST /info`."""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from allora_mqtt.simulator.account import ZERO, Account, Order, Position
from allora_mqtt.simulator.margin import (
    TRANSFER_SHARE,
    MarginSummary,
    leverage_of,
    liquidation_px,
    maintenance_usd,
    summarize,
)
from allora_mqtt.simulator.market import HOUR_S, Level, Market
from allora_mqtt.simulator.ticks import floor_size, to_wire
from allora_mqtt.simulator.universe import Asset

INTERVALS_S = {
    "1m": 60,
    "3m": 180,
    "5m": 300,
    "15m": 900,
    "30m": 1_800,
    "1h": 3_600,
    "2h": 7_200,
    "4h": 14_400,
    "8h": 28_800,
    "12h": 43_200,
    "1d": 86_400,
    "3d": 259_200,
    "1w": 604_800,
}
_MAX_CANDLES = 5_000
_SAMPLES_PER_CANDLE = 4
_MAX_FUNDING_ROWS = 500
_DAY_S = 86_400


def _usd(value: Decimal) -> str:
    return to_wire(value, 6)


def spot_state(account: Account, market: Market, now_s: float) -> dict[str, Any]:
    """The answer to `spotClearinghouseState`: a unified account's USDC, marked to market; any other has none there."""
    if account.mode == "disabled":
        return {"balances": []}
    summary = summarize(account, market.universe, lambda asset: market.mark(asset, now_s))
    usdc = {
        "coin": "USDC",
        "token": 0,
        "total": _usd(summary.equity_usd),
        "hold": _usd(summary.margin_used_usd),
        "entryNtl": "0.0",
    }
    return {"balances": [usdc]}


def clearinghouse_state(account: Account, market: Market, now_s: float) -> dict[str, Any]:
    """The answer to `clearinghouseState`; the money of a unified account does not show in it."""
    shown = _clearinghouse_state(account, market, now_s)
    if account.mode != "disabled":
        for summary in ("marginSummary", "crossMarginSummary"):
            shown[summary].update(accountValue="0.0", totalRawUsd="0.0")
        shown["withdrawable"] = "0.0"
    return shown


def _clearinghouse_state(account: Account, market: Market, now_s: float) -> dict[str, Any]:
    summary = summarize(account, market.universe, lambda asset: market.mark(asset, now_s))
    # Money may leave while the initial margin, and a tenth of the notional at least, stay behind.
    bound = max(summary.cross_margin_used_usd, summary.cross_notional_usd * TRANSFER_SHARE)
    free = max(ZERO, summary.cross_equity_usd - bound)
    return {
        "marginSummary": {
            "accountValue": _usd(summary.equity_usd),
            "totalNtlPos": _usd(summary.notional_usd),
            "totalRawUsd": _usd(summary.equity_usd - summary.signed_notional_usd),
            "totalMarginUsed": _usd(summary.margin_used_usd),
        },
        "crossMarginSummary": {
            "accountValue": _usd(summary.cross_equity_usd),
            "totalNtlPos": _usd(summary.cross_notional_usd),
            "totalRawUsd": _usd(summary.cross_equity_usd - summary.cross_signed_notional_usd),
            "totalMarginUsed": _usd(summary.cross_margin_used_usd),
        },
        "crossMaintenanceMarginUsed": _usd(summary.cross_maintenance_usd),
        "withdrawable": _usd(free),
        "assetPositions": [
            {"type": "oneWay", "position": _position(account, market.universe.assets[index], position, market, now_s)}
            for index, position in account.positions.items()
        ],
        "time": int(now_s * 1000),
    }


def _position(account: Account, asset: Asset, position: Position, market: Market, now_s: float) -> dict[str, Any]:
    mark = market.mark(asset, now_s)
    leverage = leverage_of(account, asset)
    value = abs(position.szi) * mark
    pnl = position.pnl(mark)
    entry_margin = abs(position.szi) * position.entry_px / leverage.value
    isolated_equity = position.isolated_usd + pnl
    shown: dict[str, Any] = {"type": "cross" if leverage.is_cross else "isolated", "value": leverage.value}
    if leverage.is_cross:
        summary: MarginSummary = summarize(account, market.universe, lambda each: market.mark(each, now_s))
        available = summary.cross_equity_usd - summary.cross_maintenance_usd
    else:
        shown["rawUsd"] = _usd(isolated_equity - position.szi * mark)
        available = isolated_equity - maintenance_usd(asset, value)
    liquidation = liquidation_px(asset, position, mark, available_usd=available)
    return {
        "coin": asset.name,
        "szi": to_wire(position.szi),
        "leverage": shown,
        "entryPx": to_wire(Decimal(f"{position.entry_px:.6g}")),
        "positionValue": _usd(value),
        "unrealizedPnl": _usd(pnl),
        "returnOnEquity": to_wire(pnl / entry_margin, 10),
        "liquidationPx": None if liquidation is None else to_wire(Decimal(f"{liquidation:.10g}")),
        "marginUsed": _usd(value / leverage.value if leverage.is_cross else isolated_equity),
        "maxLeverage": asset.max_leverage,
        "cumFunding": {
            "allTime": _usd(account.funding_usd.get(asset.index, ZERO)),
            "sinceOpen": _usd(position.funding_open_usd),
            "sinceChange": _usd(position.funding_change_usd),
        },
    }


def open_order(order: Order, market: Market) -> dict[str, Any]:
    """One line of `openOrders`."""
    request = order.request
    line: dict[str, Any] = {
        "coin": market.universe.assets[request.asset].name,
        "side": "B" if request.is_buy else "A",
        "limitPx": to_wire(request.px),
        "sz": to_wire(order.size),
        "oid": order.oid,
        "timestamp": order.placed_ms,
        "origSz": to_wire(request.size),
    }
    if request.reduce_only:
        line["reduceOnly"] = True
    if request.cloid is not None:
        line["cloid"] = request.cloid
    return line


def frontend_order(order: Order, account: Account, market: Market) -> dict[str, Any]:
    """One line of `frontendOpenOrders`; also the order inside `orderStatus` and `historicalOrders`."""
    trigger = order.request.trigger
    order_type, condition = "Limit", "N/A"
    if trigger is not None:
        name = "Stop" if trigger.kind == "sl" else "Take Profit"
        order_type = f"{name} {'Market' if trigger.is_market else 'Limit'}"
        waits_for_lower = (trigger.kind == "sl") != order.request.is_buy
        condition = f"Price {'below' if waits_for_lower else 'above'} {trigger.px:f}"
    children = [account.orders[oid] for oid in order.children if oid in account.orders]
    return {
        **open_order(order, market),
        "triggerCondition": condition,
        "isTrigger": order.awaits_trigger,
        "triggerPx": "0.0" if trigger is None else to_wire(trigger.px),
        "children": [frontend_order(child, account, market) for child in children if child.is_waiting],
        "isPositionTpsl": order.grouping == "positionTpsl",
        "reduceOnly": order.request.reduce_only,
        "orderType": order_type,
        "tif": None if trigger is not None else order.request.tif,
        "cloid": order.request.cloid,
    }


def order_with_status(order: Order, account: Account, market: Market) -> dict[str, Any]:
    """An order with its status and the time of its last change."""
    return {
        "order": frontend_order(order, account, market),
        "status": order.status,
        "statusTimestamp": order.status_ms,
    }


def all_mids(market: Market, now_s: float) -> dict[str, str]:
    """The answer to `allMids`; delisted assets are absent."""
    mids = ((asset.name, market.mid(asset, now_s)) for asset in market.universe.live)
    return {name: to_wire(mid) for name, mid in mids if mid is not None}


def asset_context(asset: Asset, market: Market, now_s: float) -> dict[str, Any]:
    """One asset's entry in `metaAndAssetCtxs`."""
    mark = market.mark(asset, now_s)
    mid = market.mid(asset, now_s)
    previous = Decimal(market.day_before(asset, now_s))
    bid, ask = market.bbo(asset, now_s)
    base_volume = floor_size(asset.day_volume_usd / mark, asset.sz_decimals)
    return {
        "funding": to_wire(market.funding_rate(asset, market.funding_hour(now_s) + 1)),
        "openInterest": to_wire(asset.open_interest),
        "prevDayPx": to_wire(Decimal(f"{previous:.5g}")),
        "dayNtlVlm": to_wire(asset.day_volume_usd),
        "premium": None if mid is None else "0.0",
        "oraclePx": to_wire(mark),
        "markPx": to_wire(mark),
        "midPx": None if mid is None else to_wire(mid),
        "impactPxs": None if mid is None else [to_wire(bid), to_wire(ask)],
        "dayBaseVlm": to_wire(base_volume),
    }


def l2_book(asset: Asset, market: Market, now_s: float) -> dict[str, Any]:
    """The answer to `l2Book`."""
    sides = [market.levels(asset, now_s, asks=asks) for asks in (False, True)]
    return {"coin": asset.name, "time": int(now_s * 1000), "levels": [[_level(one) for one in side] for side in sides]}


def _level(level: Level) -> dict[str, Any]:
    return {"px": to_wire(level.px), "sz": to_wire(level.size), "n": 1}


def candles(asset: Asset, market: Market, interval: str, start_ms: int, end_ms: int) -> Iterator[dict[str, Any]]:
    """The lines of `candleSnapshot`: the latest 5000 candles that touch [start, end], in wall time."""
    width_s = INTERVALS_S[interval]
    first = start_ms // (width_s * 1000)
    last = end_ms // (width_s * 1000)
    first = max(first, last - _MAX_CANDLES + 1)
    edge = _sample(asset, market, first * width_s)
    for number in range(first, last + 1):
        begin_s = number * width_s
        length_s = min(float(width_s), max(end_ms / 1000 - begin_s, 0.0))
        times = (begin_s + length_s * step / _SAMPLES_PER_CANDLE for step in range(1, _SAMPLES_PER_CANDLE + 1))
        prices = [edge, *(_sample(asset, market, time_s) for time_s in times)]
        yield _candle(asset, interval, begin_s, prices)
        edge = prices[-1]


def _sample(asset: Asset, market: Market, at_s: float) -> Decimal:
    return Decimal(f"{market.price_at(asset, at_s, at_s):.5g}")


def _candle(asset: Asset, interval: str, begin_s: int, prices: list[Decimal]) -> dict[str, Any]:
    width_s = INTERVALS_S[interval]
    volume = asset.day_volume_usd * width_s / _DAY_S / prices[0]
    return {
        "t": begin_s * 1000,
        "T": (begin_s + width_s) * 1000 - 1,
        "s": asset.name,
        "i": interval,
        "o": to_wire(prices[0]),
        "c": to_wire(prices[-1]),
        "h": to_wire(max(prices)),
        "l": to_wire(min(prices)),
        "v": to_wire(floor_size(volume, asset.sz_decimals)),
        "n": 100,
    }


def funding_history(asset: Asset, market: Market, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """The answer to `fundingHistory`: one line a market hour, at most 500."""
    first = math.ceil(market.clock.market_s(start_ms / 1000) / HOUR_S)
    last = min(market.funding_hour(end_ms / 1000), first + _MAX_FUNDING_ROWS - 1)
    return [
        {
            "coin": asset.name,
            "fundingRate": to_wire(market.funding_rate(asset, hour)),
            "premium": "0.0",
            "time": int(market.clock.wall_s(hour * HOUR_S) * 1000),
        }
        for hour in range(first, last + 1)
    ]
