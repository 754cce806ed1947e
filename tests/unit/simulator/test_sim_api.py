from decimal import Decimal

import pytest

from tests.unit.simulator.bench import BTC, market_order
from tests.unit.simulator.served import Served

USER = "0x" + "ab" * 20


async def test_money_is_what_it_is_set_to(sim: Served) -> None:
    assert (await sim.call("POST", "/sim/accounts", {"address": USER, "usd": 250}))[0] == 200
    _, state = await sim.call("GET", f"/sim/state?address={USER}")
    assert (state["cash_usd"], state["orders"], state["fills"]) == ("250", [], 0)


async def test_money_comes_and_goes_and_the_ledger_tells_of_it(sim: Served) -> None:
    for usd, way in ((500, "bridge"), (-200, "bridge"), (-50, "spot"), (25, "account")):
        status, line = await sim.call("POST", "/sim/transfers", {"address": USER, "usd": usd, "way": way})
        assert status == 200, line
    _, state = await sim.call("GET", f"/sim/state?address={USER}")
    assert Decimal(state["cash_usd"]) == 10_275
    _, lines = await sim.info("userNonFundingLedgerUpdates", user=USER, startTime=0, endTime=None)
    deltas = [line["delta"] for line in lines]
    assert deltas[0] == {"type": "deposit", "usdc": "500.0"}
    assert (deltas[1]["type"], deltas[1]["usdc"], deltas[1]["fee"]) == ("withdraw", "199.0", "1.0")
    assert deltas[2] == {"type": "accountClassTransfer", "usdc": "50.0", "toPerp": False}
    assert (deltas[3]["type"], deltas[3]["destination"]) == ("internalTransfer", USER)
    assert (await sim.info("userNonFundingLedgerUpdates", user=USER, startTime=lines[0]["time"] + 1))[1] == []
    assert (await sim.call("POST", "/sim/transfers", {"address": USER, "usd": -20_000}))[0] == 422


async def test_an_unknown_account_is_not_made_by_looking(sim: Served) -> None:
    assert (await sim.call("GET", f"/sim/state?address={USER}"))[0] == 404
    assert sim.simulator.world.exchange.state.accounts == {}


async def test_a_price_jumps_and_stays(sim: Served) -> None:
    before = float((await sim.info("allMids"))[1]["ETH"])
    assert (await sim.call("POST", "/sim/price", {"coin": "ETH", "factor": 1.1}))[0] == 200
    assert float((await sim.info("allMids"))[1]["ETH"]) == pytest.approx(before * 1.1, rel=1e-4)


async def test_market_time_leaps_and_wall_time_does_not(sim: Served) -> None:
    _, before = await sim.call("GET", "/sim/time")
    _, after = await sim.call("POST", "/sim/time", {"advance_s": 7_200})
    assert after["market_s"] == pytest.approx(before["market_s"] + 7_200)
    assert after["wall_ms"] == before["wall_ms"]
    sim.clock.now_s += 1
    _, faster = await sim.call("POST", "/sim/time", {"speed": 60})
    assert faster["market_s"] == pytest.approx(after["market_s"] + 1)
    sim.clock.now_s += 1
    assert (await sim.call("GET", "/sim/time"))[1]["market_s"] == pytest.approx(faster["market_s"] + 60)


async def test_funding_of_the_hours_skipped_is_paid(sim: Served) -> None:
    await sim.call("POST", "/sim/accounts", {"address": USER, "usd": 10_000})
    world = sim.simulator.world
    account = world.exchange.state.accounts[USER]
    world.tick()
    world.exchange.place(account, [market_order(BTC, "0.01")], "na", sim.clock.now_s)
    await sim.call("POST", "/sim/time", {"advance_s": 3 * 3_600})
    assert len(account.fundings) == 3


async def test_faults_are_added_to_and_read_back(sim: Served) -> None:
    first: dict[str, object] = {"path": "/info", "kind": "http_500", "probability": 1.0}
    second: dict[str, object] = {"path": "/v2", "kind": "latency", "seconds": 0.1, "probability": 0.5}
    await sim.faults(first)
    assert await sim.call("POST", "/sim/faults", [second]) == (200, [first, second])
    assert await sim.call("GET", "/sim/faults") == (200, [first, second])
    assert await sim.call("DELETE", "/sim/faults") == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/sim/price", {"coin": "NOPE", "factor": 1.1}),
        ("POST", "/sim/price", {"coin": "MATIC", "factor": 1.1}),
        ("POST", "/sim/price", {"coin": "BTC", "factor": 0}),
        ("POST", "/sim/accounts", {"address": "0x1", "usd": 1}),
        ("POST", "/sim/agents", {"agent": USER}),
        ("POST", "/sim/accounts", {"address": USER, "usd": 1, "mode": "other"}),
        ("POST", "/sim/vaults", {"vault": USER}),
        ("POST", "/sim/time", {"advance_s": -1}),
        ("POST", "/sim/time", {"speed": 0}),
        ("POST", "/sim/faults", {"path": "/info", "kind": "reset"}),
        ("GET", "/sim/state", None),
        ("GET", "/sim/log?since=x", None),
    ],
)
async def test_nonsense_is_422(sim: Served, method: str, path: str, body: object) -> None:
    assert (await sim.call(method, path, body))[0] == 422


async def test_an_agent_has_a_role(sim: Served) -> None:
    agent = "0x" + "cd" * 20
    await sim.call("POST", "/sim/agents", {"agent": agent, "master": USER})
    assert (await sim.info("userRole", user=agent))[1] == {"role": "agent", "data": {"user": USER}}
    assert (await sim.info("extraAgents", user=USER))[1][0]["address"] == agent
