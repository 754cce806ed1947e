"""The queries of `POST /info`: one function a type."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

from allora_mqtt.simulator import info_views as views
from allora_mqtt.simulator.account import Account
from allora_mqtt.simulator.limits import rate_limit_view
from allora_mqtt.simulator.universe import Asset
from allora_mqtt.simulator.world import World

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_DEFAULT_LATE_FILLS_S = 2.0
_DEFAULT_LAG_S = 5.0
_MAX_LINES = 2_000
_MAX_FUNDINGS = 500
_CANDLES_AT_A_TIME = 20
_NEVER_MS = 253_402_300_799_000  # the end of the year 9999
_USDC = {
    "name": "USDC",
    "szDecimals": 8,
    "weiDecimals": 8,
    "index": 0,
    "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054",
    "isCanonical": True,
    "evmContract": None,
    "fullName": None,
}

Query = dict[str, Any]
Answer = dict[str, Any] | list[Any] | str | None


class InfoError(Exception):
    """The query lacks a field or has one of the wrong type; the message names it."""


def _account(world: World, query: Query) -> Account:
    return world.account(_address(query))


def _address(query: Query) -> str:
    user = query.get("user")
    if not isinstance(user, str) or not _ADDRESS.fullmatch(user):
        raise InfoError("user")
    return user.lower()


def _time_ms(query: Query, name: str, default: int | None = None) -> int:
    value = query.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or not 0 <= value <= _NEVER_MS:
        raise InfoError(name)
    return value


def _asset(world: World, query: Query) -> Asset | None:
    coin = query.get("coin")
    if not isinstance(coin, str):
        raise InfoError("coin")
    return world.market.universe.by_name(coin)


def _is_main_dex(query: Query) -> bool:
    return query.get("dex") in (None, "")


def _nulled(world: World, query: Query) -> Callable[[str], bool]:
    """Whether a coin's mid is to be null in this answer."""
    coins = {rule.coin for rule in world.faults.take("/info", query["type"], {"null_mids"})}
    return lambda coin: None in coins or coin in coins


def _meta(world: World, _: Query) -> Answer:
    return world.market.universe.meta()


def _meta_and_asset_contexts(world: World, query: Query) -> Answer:
    now_s = world.clock()
    contexts = [views.asset_context(asset, world.market, now_s) for asset in world.market.universe.assets]
    is_null = _nulled(world, query)
    for asset, context in zip(world.market.universe.assets, contexts, strict=True):
        if is_null(asset.name):
            context.update(midPx=None, impactPxs=None)
    return [world.market.universe.meta(), contexts]


def _all_mids(world: World, query: Query) -> Answer:
    mids = views.all_mids(world.market, world.clock()) if _is_main_dex(query) else {}
    is_null = _nulled(world, query)
    return {coin: None if is_null(coin) else mid for coin, mid in mids.items()}


def _seen_account(world: World, query: Query) -> Account:
    """The account as this query is to see it: as it is, or as it was."""
    account = _account(world, query)
    rules = world.faults.take("/info", query["type"], {"lagging_state"})
    if not rules:
        return account
    return world.lagging(account, _DEFAULT_LAG_S if rules[0].seconds is None else rules[0].seconds)


def _clearinghouse_state(world: World, query: Query) -> Answer:
    return views.clearinghouse_state(_seen_account(world, query), world.market, world.clock())


def _open_orders(world: World, query: Query) -> Answer:
    orders = [order for order in _seen_account(world, query).orders.values() if not order.awaits_trigger]
    return [views.open_order(order, world.market) for order in orders]


def _frontend_open_orders(world: World, query: Query) -> Answer:
    account = _seen_account(world, query)
    return [views.frontend_order(order, account, world.market) for order in account.orders.values()]


def _visible(world: World, query: Query) -> Callable[[str, int], bool]:
    """Whether something that happened to a coin at a time (unix ms) is to be seen yet."""
    now_s = world.clock()
    late: dict[str | None, float] = {
        rule.coin: now_s - (_DEFAULT_LATE_FILLS_S if rule.seconds is None else rule.seconds)
        for rule in world.faults.take("/info", query["type"], {"late_fills"})
    }
    return lambda coin, time_ms: all(time_ms <= int(late[key] * 1000) for key in (None, coin) if key in late)


def _user_fills(world: World, query: Query) -> Answer:
    is_visible = _visible(world, query)
    seen = (fill for fill in reversed(_account(world, query).fills) if is_visible(fill["coin"], fill["time"]))
    return list(islice(seen, _MAX_LINES))


def _user_fills_by_time(world: World, query: Query) -> Answer:
    start_ms, end_ms = _time_ms(query, "startTime"), _time_ms(query, "endTime", _NEVER_MS)
    is_visible = _visible(world, query)
    within = (fill for fill in _account(world, query).fills if start_ms <= fill["time"] <= end_ms)
    return list(islice((fill for fill in within if is_visible(fill["coin"], fill["time"])), _MAX_LINES))


def _order_status(world: World, query: Query) -> Answer:
    account = _account(world, query)
    key = query.get("oid")
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise InfoError("oid")
    order = account.find_order(key.lower() if isinstance(key, str) else key)
    if order is None:
        return {"status": "unknownOid"}
    coin = world.market.universe.assets[order.request.asset].name
    if not _visible(world, query)(coin, order.status_ms):
        return {"status": "unknownOid"}
    return {"status": "order", "order": views.order_with_status(order, account, world.market)}


def _historical_orders(world: World, query: Query) -> Answer:
    account = _account(world, query)
    orders = [*reversed(account.orders.values()), *reversed(account.closed_orders)]
    return [views.order_with_status(order, account, world.market) for order in orders[:_MAX_LINES]]


def _l2_book(world: World, query: Query) -> Answer:
    asset = _asset(world, query)
    return None if asset is None else views.l2_book(asset, world.market, world.clock())


async def _candle_snapshot(world: World, query: Query) -> Answer:
    inner = query.get("req")
    if not isinstance(inner, dict) or inner.get("interval") not in views.INTERVALS_S:
        raise InfoError("req")
    asset = _asset(world, inner)
    if asset is None:
        return None
    now_ms = int(world.clock() * 1000)
    start_ms, end_ms = _time_ms(inner, "startTime"), min(_time_ms(inner, "endTime", now_ms), now_ms)
    found: list[dict[str, Any]] = []
    for candle in views.candles(asset, world.market, inner["interval"], start_ms, end_ms):
        found.append(candle)
        if len(found) % _CANDLES_AT_A_TIME == 0:
            # 5000 candles take seconds, and orders must not wait for them.
            await asyncio.sleep(0)
    return found


def _funding_history(world: World, query: Query) -> Answer:
    asset = _asset(world, query)
    if asset is None:
        return None
    now_ms = int(world.clock() * 1000)
    start_ms, end_ms = _time_ms(query, "startTime"), min(_time_ms(query, "endTime", now_ms), now_ms)
    return views.funding_history(asset, world.market, start_ms, end_ms)


def _user_funding(world: World, query: Query) -> Answer:
    start_ms, end_ms = _time_ms(query, "startTime"), _time_ms(query, "endTime", _NEVER_MS)
    within = (line for line in _account(world, query).fundings if start_ms <= line["time"] <= end_ms)
    return list(islice(within, _MAX_FUNDINGS))


def _ledger_updates(world: World, query: Query) -> Answer:
    start_ms, end_ms = _time_ms(query, "startTime"), _time_ms(query, "endTime", _NEVER_MS)
    is_visible = _visible(world, query)
    within = (line for line in _account(world, query).transfers if start_ms <= line["time"] <= end_ms)
    return list(islice((line for line in within if is_visible("USDC", line["time"])), _MAX_FUNDINGS))


def _user_role(world: World, query: Query) -> Answer:
    master = world.exchange.state.agents.get(_address(query))
    if master is not None:
        return {"role": "agent", "data": {"user": master}}
    leader = world.exchange.state.vaults.get(_address(query))
    if leader is not None:
        return {"role": "vault"}
    _account(world, query)
    return {"role": "user"}


def _extra_agents(world: World, query: Query) -> Answer:
    master = _account(world, query).address
    state = world.exchange.state
    own = (agent for agent, owner in state.agents.items() if owner == master)
    return [
        {"name": state.agent_names[agent], "address": agent, "validUntil": _NEVER_MS}
        for agent in own
        if agent in state.agent_names
    ]


def _user_abstraction(world: World, query: Query) -> Answer:
    return _account(world, query).mode


def _spot_clearinghouse_state(world: World, query: Query) -> Answer:
    return views.spot_state(_seen_account(world, query), world.market, world.clock())


INFO_HANDLERS: dict[str, Callable[[World, Query], Answer | Awaitable[Answer]]] = {
    "meta": _meta,
    "metaAndAssetCtxs": _meta_and_asset_contexts,
    "allMids": _all_mids,
    "clearinghouseState": _clearinghouse_state,
    "openOrders": _open_orders,
    "frontendOpenOrders": _frontend_open_orders,
    "userFills": _user_fills,
    "userFillsByTime": _user_fills_by_time,
    "orderStatus": _order_status,
    "historicalOrders": _historical_orders,
    "l2Book": _l2_book,
    "candleSnapshot": _candle_snapshot,
    "fundingHistory": _funding_history,
    "userFunding": _user_funding,
    "userNonFundingLedgerUpdates": _ledger_updates,
    "userRateLimit": lambda world, query: rate_limit_view(_account(world, query)),
    "userRole": _user_role,
    "extraAgents": _extra_agents,
    "userAbstraction": _user_abstraction,
    "spotClearinghouseState": _spot_clearinghouse_state,
    "spotMeta": lambda _world, _query: {"universe": [], "tokens": [_USDC]},
    "perpDexs": lambda _world, _query: [None],
    "exchangeStatus": lambda world, _query: {"time": int(world.clock() * 1000), "specialStatuses": None},
}
