"""Every answer of the simulator has the shape of the real one: recorded where the SDK keeps a recording, else noted.

The real one wins: a field it has and ours lacks fails, and so does a type or a form of number it never uses.
"""

import json
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.simulator.account import Leverage
from allora_mqtt.simulator.actions import execute
from allora_mqtt.simulator.transfers import transfer
from allora_mqtt.simulator.wire import Envelope
from tests.unit.simulator.bench import BTC, ETH, SOL, Bench, exit_order, limit, market_order
from tests.unit.simulator.served import Served
from tests.unit.simulator.shapes import RECORDED, Shape, answer_shape, differences, shape_of

USER = "0x" + "ab" * 20
AGENT = "0x" + "cd" * 20
CLOID = "0x" + "0" * 31 + "7"
REAL: dict[str, Shape] = json.loads(RECORDED.read_text(encoding="utf-8"))["answers"]

OLD = "a recording of 2023; today's answer has {} in its place"
EXCEPTIONS = {
    ("clearinghouseState", "assetPositions[].position.maxTradeSzs: missing"): OLD.format("maxLeverage and cumFunding"),
    ("historicalOrders", "[].order.tif: null is never ['text'] there"): "the recorded account has no triggers",
    ("historicalOrders", "[].order.cloid: cloid is never ['null'] there"): "the recorded account sets no cloid",
}

# As the papers and the exchange's documentation have them, where there is no recording.
NOTED: dict[str, Any] = {
    "metaAndAssetCtxs": [
        {
            "universe": [{"szDecimals": 5, "name": "BTC", "maxLeverage": 40, "marginTableId": 56}],
            "marginTables": [[50, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 50}]}]],
            "collateralToken": 0,
        },
        [
            {
                "funding": "0.0000125",
                "openInterest": "30010.1",
                "prevDayPx": "70000.0",
                "dayNtlVlm": "3600000000.1",
                "premium": None,
                "oraclePx": "70012.0",
                "markPx": "70011.0",
                "midPx": None,
                "impactPxs": None,
                "dayBaseVlm": "51000.1",
            },
            {
                "funding": "-0.0000125",
                "openInterest": "30010.1",
                "prevDayPx": "70000.0",
                "dayNtlVlm": "3600000000.1",
                "premium": "0.0004",
                "oraclePx": "70012.0",
                "markPx": "70011.0",
                "midPx": "70011.5",
                "impactPxs": ["70011.0", "70012.0"],
                "dayBaseVlm": "51000.1",
            },
        ],
    ],
    "spotClearinghouseState": {
        "balances": [{"coin": "USDC", "token": 0, "total": "14.6", "hold": "0.0", "entryNtl": "0.0"}]
    },
    "spotMeta": {
        "universe": [],
        "tokens": [
            {
                "name": "USDC",
                "szDecimals": 8,
                "weiDecimals": 8,
                "index": 0,
                "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054",
                "isCanonical": True,
                "evmContract": None,
                "fullName": None,
            }
        ],
    },
    "userAbstraction": "unifiedAccount",
    "userNonFundingLedgerUpdates": [
        {"time": 1, "hash": "0x" + "0" * 64, "delta": delta}
        for delta in (
            {"type": "deposit", "usdc": "10.5"},
            {"type": "withdraw", "usdc": "10.5", "nonce": 1, "fee": "1.0"},
            {"type": "accountClassTransfer", "usdc": "12.0", "toPerp": False},
            {"type": "internalTransfer", "usdc": "1.0", "user": USER, "destination": AGENT, "fee": "0.0"},
        )
    ],
    "perpDexs": [None],
    "exchangeStatus": {"time": 1, "specialStatuses": None},
}
# What today's answers have beyond the recordings.
TODAYS_POSITION = {
    "maxLeverage": 20,
    "cumFunding": {"allTime": "0.1", "sinceOpen": "0.0", "sinceChange": "-0.1"},
}
TODAYS_STATE = {"crossMaintenanceMarginUsed": "0.1", "time": 1}
TODAYS_FILL = {"tid": 1, "feeToken": "USDC"}
LIQUIDATION = {"liquidatedUser": USER, "markPx": "1.0", "method": "market"}

# The answers of `/exchange`, by action.
ORDER = {
    "status": "ok",
    "response": {
        "type": "order",
        "data": {
            "statuses": [
                {"resting": {"oid": 1}},
                {"resting": {"oid": 1, "cloid": CLOID}},
                {"filled": {"totalSz": "0.02", "avgPx": "2900.5", "oid": 2}},
                {"error": "a text"},
                "waitingForFill",
            ]
        },
    },
}
CANCEL = {"status": "ok", "response": {"type": "cancel", "data": {"statuses": ["success", {"error": "a text"}]}}}
DEFAULT = {"status": "ok", "response": {"type": "default"}}


@pytest.fixture
async def busy(sim: Served) -> Served:
    """A simulator whose user has been through everything that shows in an answer."""
    world = sim.simulator.world
    account = world.exchange.open_account(USER)
    account.cash_usd = Decimal(200_000)
    world.tick()

    def price(asset: int, percent: int) -> str:
        mark = world.market.mark(world.market.universe.assets[asset], sim.clock.now_s)
        return str(int(mark * percent / 100))

    def place(*requests: Any, grouping: Any = "na") -> list[Any]:
        return world.exchange.place(account, requests, grouping, sim.clock.now_s)

    world.exchange.set_leverage(account, SOL, Leverage(5, is_cross=False), sim.clock.now_s)
    far_up, far_down = 150, 60
    exits = [exit_order(ETH, "-1", price(ETH, 130), "tp"), exit_order(ETH, "-1", price(ETH, 80), "sl")]
    place(limit(ETH, "1", price(ETH, far_up), tif="Ioc", cloid=CLOID), *exits, grouping="normalTpsl")
    place(limit(BTC, "-0.1", price(BTC, far_down), tif="Ioc"))
    place(limit(SOL, "5", price(SOL, far_up), tif="Ioc"))
    sleeping = [exit_order(BTC, "-0.1", price(BTC, 70), "sl")]
    place(limit(BTC, "0.1", price(BTC, 80), cloid=f"{CLOID[:-1]}8"), *sleeping, grouping="normalTpsl")
    place(limit(BTC, "0.01", price(BTC, 80), tif="Ioc"))
    place(limit(BTC, "0.01", price(BTC, 90), reduce_only=True))
    for usd, way in ((10, "bridge"), (-10, "bridge"), (-5, "spot"), (5, "account")):
        transfer(account, Decimal(usd), way, int(sim.clock.now_s * 1000))  # type: ignore[arg-type] # all ways there are
    world.exchange.state.agents[AGENT] = USER
    world.exchange.state.agent_names[AGENT] = "bot"
    sim.clock.now_s += 3 * 3_600
    world.tick()
    # Last, for it ends the isolated position.
    world.exchange.place(account, [limit(SOL, "5", price(SOL, far_up), tif="Ioc")], "na", sim.clock.now_s)
    return sim


QUERIES: dict[str, dict[str, Any]] = {
    "meta": {},
    "allMids": {},
    "metaAndAssetCtxs": {},
    "spotMeta": {},
    "perpDexs": {},
    "exchangeStatus": {},
    "l2Book": {"coin": "ETH"},
    "candleSnapshot": {"req": {"coin": "ETH", "interval": "1h", "startTime": 1_799_990_000_000}},
    "fundingHistory": {"coin": "ETH", "startTime": 1_799_990_000_000},
    **{
        kind: {"user": USER}
        for kind in (
            "clearinghouseState", "openOrders", "frontendOpenOrders", "userFills", "historicalOrders", "userRateLimit",
            "userRole", "extraAgents", "userAbstraction",
        )
    },
    **{
        kind: {"user": USER, "startTime": 0}
        for kind in ("userFillsByTime", "userFunding", "userNonFundingLedgerUpdates")
    },
}  # fmt: skip


async def test_every_answer_has_the_real_one_s_shape(busy: Served) -> None:
    assert set(REAL) <= set(QUERIES), "every recorded answer is compared"
    found: set[tuple[str, str]] = set()
    for kind, fields in QUERIES.items():
        status, answer = await busy.info(kind, **fields)
        assert (status, bool(answer)) == (200, True), kind
        real = REAL[kind] if kind in REAL else answer_shape(kind, NOTED[kind])
        found |= {(kind, text) for text in differences(real, answer_shape(kind, answer))}
    assert found == set(EXCEPTIONS)


async def test_todays_answers_have_what_the_recordings_are_too_old_for(busy: Served) -> None:
    _, state = await busy.info("clearinghouseState", user=USER)
    assert differences(shape_of(TODAYS_STATE), shape_of(state)) == []
    positions = [line["position"] for line in state["assetPositions"]]
    assert len(positions) == 3
    assert differences(shape_of([TODAYS_POSITION]), shape_of(positions)) == []
    _, fills = await busy.info("userFills", user=USER)
    assert differences(shape_of([TODAYS_FILL]), shape_of(fills)) == []


async def test_an_order_s_status_is_a_line_of_the_history(busy: Served) -> None:
    _, found = await busy.info("orderStatus", user=USER, oid=CLOID)
    assert (found["status"], found["order"]["status"]) == ("order", "filled")
    _, history = await busy.info("historicalOrders", user=USER)
    assert found["order"] in history


async def test_a_unified_account_s_money_is_in_its_spot_state(sim: Served) -> None:
    await sim.call("POST", "/sim/accounts", {"address": USER, "usd": 500, "mode": "unifiedAccount"})
    _, spot = await sim.info("spotClearinghouseState", user=USER)
    assert differences(shape_of(NOTED["spotClearinghouseState"]), shape_of(spot)) == []
    assert spot["balances"][0]["total"] == "500.0"
    _, state = await sim.info("clearinghouseState", user=USER)
    assert (state["marginSummary"]["accountValue"], state["withdrawable"]) == ("0.0", "0.0")
    assert await sim.info("userAbstraction", user=USER) == (200, "unifiedAccount")


def test_the_answers_to_actions_have_the_noted_shapes(bench: Bench) -> None:
    def run(action: dict[str, Any]) -> dict[str, Any]:
        body = {"action": action, "nonce": 1, "signature": {"r": "0x1", "s": "0x1", "v": 27}}
        return execute(bench.exchange, bench.account, Envelope.model_validate(body), bench.now_s)

    def order(px: str, cloid: str | None = None, **more: Any) -> dict[str, Any]:
        named = {} if cloid is None else {"c": cloid}
        return {"a": ETH, "b": True, "p": px, "s": "1", "r": False, "t": {"limit": {"tif": "Gtc"}}, **more, **named}

    stop = order("1900", b=False, r=True, t={"trigger": {"isMarket": True, "triggerPx": "1900", "tpsl": "sl"}})
    orders = [order("1950", CLOID), order("2010"), order("5")]
    batch = run({"type": "order", "orders": orders, "grouping": "na"})
    grouped = run({"type": "order", "orders": [order("1950"), stop], "grouping": "normalTpsl"})
    assert [list(one) for one in batch["response"]["data"]["statuses"]] == [["resting"], ["filled"], ["error"]]
    real, ours = shape_of([ORDER]), shape_of([batch, grouped])
    assert differences(real, ours) == []
    cancelled = run({"type": "cancel", "cancels": [{"a": ETH, "o": 1}, {"a": ETH, "o": 1}]})
    assert shape_of(cancelled) == shape_of(CANCEL)
    for action in (
        {"type": "updateLeverage", "asset": ETH, "isCross": True, "leverage": 3},
        {"type": "modify", "oid": 4, "order": order("1940")},
        {"type": "noop"},
    ):
        assert run(action) == DEFAULT


def test_a_liquidation_shows_in_its_fill(bench: Bench) -> None:
    bench.account.cash_usd = Decimal(5_000)
    bench.place(market_order(ETH, "45"))
    bench.go(ETH=1_800.0)
    line = bench.account.fills[-1]
    assert differences(shape_of({**TODAYS_FILL, "liquidation": LIQUIDATION}), shape_of(line)) == []


@pytest.mark.parametrize(
    ("ours", "found"),
    [
        ([{"a": "1.5", "b": {"c": 1}}], []),
        ([{"a": "1.5", "b": {"c": 1}, "more": 1}], []),
        ([{"a": "1.5", "b": {}}], ["[].b.c: missing"]),
        ([{"a": "1.5", "b": {"c": 1}}, {"b": {"c": 1}}], ["[].a: not always there"]),
        ([{"a": 1.5, "b": {"c": 1}}], ["[].a: float is never ['decimal', 'null'] there"]),
        ([{"a": "2", "b": {"c": "1.0"}}], ["[].a: text is never ['decimal', 'null'] there"]),
        ([{"a": None, "b": {"c": None}}], ["[].b.c: null is never ['int'] there"]),
    ],
)
def test_differences_are_seen(ours: object, found: list[str]) -> None:
    real = shape_of([{"a": "1.5", "b": {"c": 1}}, {"a": None, "b": {"c": 2}, "seldom": 1}])
    assert differences(real, shape_of(ours))[: len(found) or None] == found
