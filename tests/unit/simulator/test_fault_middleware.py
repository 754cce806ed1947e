import time

import aiohttp
import pytest

from allora_mqtt.simulator.faults import HTTP_STATUSES
from tests.unit.simulator.served import KEY, Served


@pytest.mark.parametrize(("kind", "status"), sorted(HTTP_STATUSES.items()))
async def test_statuses(sim: Served, kind: str, status: int) -> None:
    await sim.faults({"path": "/info", "kind": kind, "count": 1})
    assert (await sim.info("allMids"))[0] == status
    assert (await sim.info("allMids"))[0] == 200


@pytest.mark.parametrize("kind", ["reset", "answer_lost", "hang"])
async def test_lost_connections(sim: Served, kind: str) -> None:
    await sim.faults({"path": "/info", "kind": kind, "seconds": 0.01})
    with pytest.raises(aiohttp.ClientConnectionError):
        await sim.info("allMids")


async def test_latency_delays_and_then_answers(sim: Served) -> None:
    await sim.faults({"path": "/info", "type": "allMids", "kind": "latency", "seconds": 0.1})
    begin = time.monotonic()
    assert (await sim.info("allMids"))[0] == 200
    assert time.monotonic() - begin > 0.1


async def test_a_malformed_answer_is_half_of_one(sim: Served) -> None:
    await sim.faults({"path": "/info", "kind": "malformed"})
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        await sim.info("allMids")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/info", {"type": "l2Book", "coin": "ETH"}),
        ("/info", {"type": "candleSnapshot", "req": {"coin": "ETH", "interval": "1h", "startTime": 1_799_999_999_999}}),
        ("/exchange", {"action": {"type": "order", "orders": [{"a": 1}]}}),
        ("/exchange", {"action": {"type": "cancel", "cancels": [{"a": 1, "o": 5}]}}),
        ("/exchange", {"action": {"type": "cancelByCloid", "cancels": [{"asset": 1}]}}),
        ("/exchange", {"action": {"type": "batchModify", "modifies": [{"oid": 1, "order": {"a": 1}}]}}),
        ("/exchange", {"action": {"type": "modify", "oid": 1, "order": {"a": 1}}}),
        ("/exchange", {"action": {"type": "updateLeverage", "asset": 1}}),
    ],
)
async def test_a_fault_finds_the_coin_of_a_request(sim: Served, path: str, body: dict[str, object]) -> None:
    await sim.faults({"path": path, "kind": "http_503", "coin": "BTC"})
    assert (await sim.call("POST", path, body))[0] != 503
    await sim.faults({"path": path, "kind": "http_503", "coin": "ETH"})
    assert (await sim.call("POST", path, body))[0] == 503


async def test_a_fault_finds_the_coin_of_a_topic(sim: Served) -> None:
    await sim.faults({"path": "/v2", "kind": "http_503", "coin": "ETH"})
    url = "/v2/allora/consumer/ethereum-11155111?allora_topic_id={}"
    found = {number: (await sim.call("GET", url.format(number), headers=KEY))[0] for number in (9, 14)}
    assert found == {9: 503, 14: 200}


async def test_the_simulator_s_own_door_has_no_faults_and_lifts_them(sim: Served) -> None:
    await sim.faults({"path": "/info", "kind": "reset"})
    assert (await sim.call("GET", "/sim/faults"))[1] == [{"path": "/info", "kind": "reset", "probability": 1.0}]
    assert await sim.call("DELETE", "/sim/faults") == (200, [])
    assert (await sim.info("allMids"))[0] == 200


async def test_a_fault_that_makes_no_sense_is_explained(sim: Served) -> None:
    status, answer = await sim.call("PUT", "/sim/faults", [{"path": "/info", "kind": "explode"}])
    assert status == 422
    assert answer["errors"][0]["where"] == "0.kind"
