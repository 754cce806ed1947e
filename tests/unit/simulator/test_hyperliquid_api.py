from typing import Any

import pytest

from tests.unit.simulator.served import Served

USER = "0x" + "ab" * 20


async def post_raw(sim: Served, path: str, data: bytes, content_type: str = "application/json") -> tuple[int, str]:
    url = f"{sim.simulator.url}{path}"
    async with sim.session.post(url, data=data, headers={"Content-Type": content_type}) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("path", ["/info", "/exchange"])
async def test_http_errors(sim: Served, path: str) -> None:
    assert (await post_raw(sim, path, b"{"))[0] == 400
    assert (await post_raw(sim, path, b"{}"))[0] == 422
    assert (await post_raw(sim, path, b"[]"))[0] == 422
    assert (await post_raw(sim, path, b'{"type":"meta"}', "text/plain"))[0] == 415


@pytest.mark.parametrize(
    "query",
    [
        {"type": "unheardOf"},
        {"type": ["meta"]},
        {"type": "clearinghouseState"},
        {"type": "openOrders", "user": "0x12"},
        {"type": "userFillsByTime", "user": USER},
        {"type": "orderStatus", "user": USER, "oid": None},
        {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "7m", "startTime": 0}},
        {"type": "fundingHistory", "startTime": 0},
    ],
)
async def test_a_query_of_the_wrong_shape_is_422(sim: Served, query: dict[str, Any]) -> None:
    assert (await sim.call("POST", "/info", query))[0] == 422


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("openOrders", {"user": USER}, []),
        ("frontendOpenOrders", {"user": USER}, []),
        ("userFills", {"user": USER}, []),
        ("userFillsByTime", {"user": USER, "startTime": 0, "endTime": None}, []),
        ("historicalOrders", {"user": USER}, []),
        ("userFunding", {"user": USER, "startTime": 0}, []),
        ("orderStatus", {"user": USER, "oid": 1}, {"status": "unknownOid"}),
        ("orderStatus", {"user": USER, "oid": "0x" + "0" * 32}, {"status": "unknownOid"}),
        ("userRole", {"user": USER}, {"role": "user"}),
        ("extraAgents", {"user": USER}, []),
        ("userAbstraction", {"user": USER}, "disabled"),
        ("spotClearinghouseState", {"user": USER}, {"balances": []}),
        ("perpDexs", {}, [None]),
        ("l2Book", {"coin": "NOPE"}, None),
        ("fundingHistory", {"coin": "NOPE", "startTime": 0}, None),
        ("candleSnapshot", {"req": {"coin": "NOPE", "interval": "1h", "startTime": 0}}, None),
        ("allMids", {"dex": "other"}, {}),
        ("exchangeStatus", {}, {"time": 1_800_000_000_000, "specialStatuses": None}),
    ],
)
async def test_answers_of_an_untouched_exchange(
    sim: Served, kind: str, fields: dict[str, Any], expected: object
) -> None:
    assert await sim.info(kind, **fields) == (200, expected)


async def test_the_universe_and_its_contexts_have_one_entry_an_asset(sim: Served) -> None:
    _, (meta, contexts) = await sim.info("metaAndAssetCtxs")
    assert len(meta["universe"]) == len(contexts) == 229
    assert (await sim.info("meta"))[1] == meta
    _, mids = await sim.info("allMids")
    assert len(mids) == 190
    assert mids["BTC"] == contexts[0]["midPx"]


async def test_a_new_address_is_funded(sim: Served) -> None:
    _, state = await sim.info("clearinghouseState", user=USER.upper().replace("X", "x"))
    assert state["marginSummary"]["accountValue"] == state["withdrawable"] == "10000.0"


async def test_a_minute_of_queries_is_limited_and_its_429_says_null(sim: Served) -> None:
    statuses = [(await sim.info("openOrders", user=USER))[0] for _ in range(61)]
    assert statuses == [200] * 60 + [429]
    assert await sim.info("allMids") == (429, None)
    sim.clock.now_s += 61
    assert (await sim.info("allMids"))[0] == 200


async def test_a_long_answer_costs_more(sim: Served) -> None:
    query = {"coin": "ETH", "interval": "1m", "startTime": 1_800_000_000_000 - 299 * 60_000}
    assert len((await sim.info("candleSnapshot", req=query))[1]) == 300
    # 20 for the query and 5 for its 300 lines leave 1175.
    statuses = [(await sim.info("openOrders", user=USER))[0] for _ in range(59)]
    assert statuses == [200] * 58 + [429]


async def test_whatever_arrives_at_the_exchange_is_logged_also_when_a_fault_strikes(sim: Served) -> None:
    await sim.faults({"path": "/exchange", "type": "noop", "kind": "http_503"})
    await sim.call("POST", "/exchange", {"action": {"type": "noop"}, "nonce": 5})
    await sim.call("POST", "/exchange", {"action": {"type": "other"}})
    _, log = await sim.call("GET", "/sim/log")
    assert [(one["seq"], one["action"]["type"], one["nonce"], one["outcome"]) for one in log] == [
        (1, "noop", 5, {"http_status": 503}),
        (2, "other", None, {"http_status": 422}),
    ]
    assert [one["seq"] for one in (await sim.call("GET", "/sim/log?since=1"))[1]] == [2]


async def test_null_mids(sim: Served) -> None:
    await sim.faults({"path": "/info", "kind": "null_mids"})
    _, mids = await sim.info("allMids")
    assert set(mids.values()) == {None}
    _, (_, contexts) = await sim.info("metaAndAssetCtxs")
    assert {context["midPx"] for context in contexts} == {None}
