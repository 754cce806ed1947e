import pytest

from tests.unit.simulator.served import Served

USER = "0x" + "ab" * 20


async def test_money_is_what_it_is_set_to(sim: Served) -> None:
    assert (await sim.call("POST", "/sim/accounts", {"address": USER, "usd": 250}))[0] == 200
    _, state = await sim.call("GET", f"/sim/state?address={USER}")
    assert (state["cash_usd"], state["orders"], state["fills"]) == ("250", [], 0)


async def test_an_unknown_account_is_not_made_by_looking(sim: Served) -> None:
    assert (await sim.call("GET", f"/sim/state?address={USER}"))[0] == 404
    assert sim.simulator.world.exchange.state.accounts == {}


async def test_a_price_jumps_and_stays(sim: Served) -> None:
    before = float((await sim.info("allMids"))[1]["ETH"])
    assert (await sim.call("POST", "/sim/price", {"coin": "ETH", "factor": 1.1}))[0] == 200
    assert float((await sim.info("allMids"))[1]["ETH"]) == pytest.approx(before * 1.1, rel=1e-4)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/sim/price", {"coin": "NOPE", "factor": 1.1}),
        ("POST", "/sim/price", {"coin": "MATIC", "factor": 1.1}),
        ("POST", "/sim/price", {"coin": "BTC", "factor": 0}),
        ("POST", "/sim/accounts", {"address": "0x1", "usd": 1}),
        ("POST", "/sim/agents", {"agent": USER}),
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
