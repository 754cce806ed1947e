import math

import pytest

from tests.unit.simulator.served import KEY, Served

TOPICS = "/v2/allora/allora-mainnet-1/topics"
CONSUMER = "/v2/allora/consumer/ethereum-11155111?allora_topic_id="


async def test_a_key_is_required(sim: Served) -> None:
    for path in (TOPICS, f"{CONSUMER}14"):
        status, answer = await sim.call("GET", path)
        assert (status, answer["status"]) == (401, False)
        assert "x-api-key" in answer["apiResponseMessage"]


async def test_the_pages_of_topics_follow_each_other(sim: Served) -> None:
    numbers: list[int] = []
    token: str | None = ""
    while token is not None:
        query = f"?continuation_token={token}" if token else ""
        _, answer = await sim.call("GET", TOPICS + query, headers=KEY)
        numbers += [topic["topic_id"] for topic in answer["data"]["topics"]]
        token = answer["data"]["continuation_token"]
    assert len(numbers) == len(set(numbers)) > 30


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{CONSUMER}999", 404),
        (f"{CONSUMER}21", 404),
        ("/v2/allora/other/topics", 404),
        (f"{TOPICS}?continuation_token=x", 400),
    ],
)
async def test_what_is_not_there(sim: Served, path: str, status: int) -> None:
    got, answer = await sim.call("GET", path, headers=KEY)
    assert (got, answer["status"]) == (status, False)
    assert answer["apiResponseMessage"]


async def test_the_shape_of_an_inference(sim: Served) -> None:
    _, answer = await sim.call("GET", f"{CONSUMER}14", headers=KEY)
    data = answer["data"]["inference_data"]
    assert data["topic_id"] == "14"
    assert data["timestamp"] == 1_800_000_000
    assert int(data["network_inference"]) == pytest.approx(float(data["network_inference_normalized"]) * 1e18)
    assert data["confidence_interval_percentiles_normalized"] == ["2.28", "15.87", "50", "84.13", "97.72"]
    values = [float(value) for value in data["confidence_interval_values_normalized"]]
    assert values == sorted(values)
    assert answer["data"]["token_decimals"] == 18


async def test_faults_of_predictions(sim: Served) -> None:
    async def value() -> tuple[float, int]:
        _, answer = await sim.call("GET", f"{CONSUMER}14", headers=KEY)
        data = answer["data"]["inference_data"]
        return float(data["network_inference_normalized"]), data["timestamp"]

    true, _ = await value()
    await sim.faults({"path": "/v2", "kind": "absurd_prediction", "type": "14"})
    assert (await value())[0] == pytest.approx(true * 10)
    await sim.faults({"path": "/v2", "kind": "nan_prediction"})
    assert math.isnan((await value())[0])
    await sim.faults({"path": "/v2", "kind": "stale_prediction", "seconds": 600})
    assert (await value())[1] == 1_800_000_000 - 600
    await sim.faults({"path": "/v2", "kind": "absurd_prediction", "type": "9"})
    assert (await value())[0] == true
