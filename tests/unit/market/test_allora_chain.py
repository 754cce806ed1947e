import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from allora_mqtt.market.allora import AlloraClient
from allora_mqtt.market.allora_chain import AlloraChain, AlloraWithChain, parse_block_time, parse_chain_value
from allora_mqtt.market.predictions import Inference, Origin, is_same_value
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.simulator.server import SimulatorOptions, serve
from tests.support.web import served

CHAIN = "allora-mainnet-1"
NOW_S = 1_800_000_060.0
EPOCH_S = 600.0


def latest(**changes: Any) -> dict[str, Any]:
    bundle = {"topic_id": "9", "combined_value": "2605.53"} | changes.pop("bundle", {})
    answer = {
        "network_inferences": bundle,
        "inference_block_height": "360000000",
        "confidence_interval_raw_percentiles": ["2.28", "15.87", "50", "84.13", "97.72"],
        "confidence_interval_values": ["2500", "2550", "2605", "2650", "2700"],
    }
    return answer | changes


def block(**changes: Any) -> dict[str, Any]:
    header = {"chain_id": CHAIN, "height": "360000000", "time": "2027-01-15T08:00:00.932801787Z"}
    return {"block": {"header": header | changes}}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(BotError) as caught:
        call()
    assert caught.value.code is ErrorCode.PREDICTION_UNAVAILABLE
    return caught.value.message


@pytest.mark.parametrize("value", ["2605.53", [{"label_id": 1, "label_name": "y", "value": "2605.53"}]])
def test_a_value_of_either_version_is_read(value: object) -> None:
    found = parse_chain_value(latest(bundle={"combined_value": value}), 9)
    assert (found.value, found.height) == (Decimal("2605.53"), 360_000_000)
    assert found.interval_68 == (Decimal(2550), Decimal(2650))
    assert found.interval_95 == (Decimal(2500), Decimal(2700))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (latest(bundle={"topic_id": "14"}), "topic 14"),
        (latest(bundle={"combined_value": "NaN"}), "cannot be read"),
        (latest(bundle={"combined_value": None}), "cannot be read"),
        (latest(bundle={"combined_value": []}), "0 labelled values"),
        (latest(bundle={"combined_value": [{"value": "1"}, {"value": "2"}]}), "2 labelled values"),
        (latest(bundle={"combined_value": ["1"]}), "labelled values"),
        (latest(inference_block_height=None), "cannot be read"),
        (latest(inference_block_height="0"), "does not say of which block"),
        (latest(network_inferences=None), "no inference"),
        ([], "no inference"),
    ],
)
def test_a_value_that_is_not_certain_is_refused(answer: object, why: str) -> None:
    assert why in refusal(lambda: parse_chain_value(answer, 9))


def test_intervals_of_another_shape_are_left_out() -> None:
    found = parse_chain_value(latest(confidence_interval_values=[[{"value": "1"}]] * 5), 9)
    assert (found.interval_68, found.interval_95) == (None, None)


def test_the_time_of_a_block_is_whole_seconds() -> None:
    assert parse_block_time(block(), 360_000_000, CHAIN) == 1_800_000_000.0


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "age of its value is not known"),
        ({"block": None}, "age of its value is not known"),
        (block(chain_id="allora-testnet-1"), "leads to the chain 'allora-testnet-1' and not to allora-mainnet-1"),
        (block(height="359999999"), "another block"),
        (block(time="2027-01-15T08:00:00"), "without a time"),
        (block(time=None), "cannot be read"),
        (block(time="soon"), "cannot be read"),
        (block(time="0027-01-15T08:00:00Z"), "cannot be read"),
    ],
)
def test_without_the_time_of_its_block_a_value_is_not_used(answer: object, why: str) -> None:
    assert why in refusal(lambda: parse_block_time(answer, 360_000_000, CHAIN))


@dataclass
class FakeChain:
    """Answers each path with what is set for its beginning; 404 for others."""

    answers: dict[str, Any] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.path)
        answer = next((found for start, found in self.answers.items() if request.path.startswith(start)), 404)
        if isinstance(answer, int):
            return web.json_response({"code": 5, "message": "no"}, status=answer)
        return web.Response(body=answer) if isinstance(answer, bytes) else web.json_response(answer)


@pytest.fixture
async def fake() -> AsyncIterator[FakeChain]:
    fake = FakeChain()
    async with served(web.get("/{path:.*}", fake.handle)) as fake.url:
        yield fake


async def failure(source: AlloraChain | AlloraWithChain, topic_id: int = 9) -> str:
    with pytest.raises(BotError) as caught:
        await source.inference(topic_id)
    assert caught.value.code is ErrorCode.PREDICTION_UNAVAILABLE
    return caught.value.message


async def test_an_older_chain_is_asked_in_its_version_and_remembered(
    fake: FakeChain, session: aiohttp.ClientSession
) -> None:
    fake.answers = {"/emissions/v10": 501, "/emissions/v9": latest(), "/cosmos": block()}
    chain = AlloraChain(fake.url, CHAIN, 2, session)
    for _ in range(2):
        found = await chain.inference(9)
        assert (found.value, found.timestamp, found.origin) == (Decimal("2605.53"), 1_800_000_000.0, Origin.CHAIN)
    assert [path.split("/")[2] for path in fake.seen if "emissions" in path] == ["v10", "v9", "v9"]
    assert len([path for path in fake.seen if "blocks" in path]) == 1


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({}, "no inference for topic 9"),
        ({"/emissions": 500}, "HTTP 500"),
        ({"/emissions": 302}, "HTTP 302"),
        ({"/emissions": b"<html>"}, "not JSON"),
        ({"/emissions": b"[" * 100_000}, "not JSON"),
        ({"/emissions": b" " * (1024 * 1024 + 1)}, "larger than 1 MiB"),
        ({"/emissions": latest(), "/cosmos": 404}, "age of its value is not known"),
        ({"/emissions": latest(), "/cosmos": 500}, "HTTP 500"),
        ({"/emissions": latest(), "/cosmos": block(chain_id="allora-testnet-1")}, "not to allora-mainnet-1"),
    ],
)
async def test_a_chain_that_fails_gives_no_value(
    fake: FakeChain, session: aiohttp.ClientSession, answers: dict[str, Any], why: str
) -> None:
    fake.answers = answers
    assert why in await failure(AlloraChain(fake.url, CHAIN, 2, session))


async def test_a_chain_that_is_not_there_gives_no_value(session: aiohttp.ClientSession) -> None:
    assert "could not be asked" in await failure(AlloraChain("http://127.0.0.1:1", CHAIN, 2, session))


async def test_the_simulated_chain_says_what_the_simulated_api_says(session: aiohttp.ClientSession) -> None:
    simulator = await serve(SimulatorOptions(epoch_s=EPOCH_S), lambda: NOW_S)
    try:
        api = AlloraClient(f"{simulator.url}/v2", "sim", CHAIN, 5, session)
        chain = AlloraChain(simulator.url, CHAIN, 5, session)
        for topic_id in (9, 1):
            one, other = await api.inference(topic_id), await chain.inference(topic_id)
            assert is_same_value(one, other)
            assert 0 <= one.timestamp - other.timestamp < 5
            assert one.interval_68 is not None
            assert other.interval_68 is not None
            assert float(one.interval_68[0]) == pytest.approx(float(other.interval_68[0]))
        assert "no inference for topic 21" in await failure(chain, 21)
        elsewhere = AlloraChain(simulator.url, "allora-testnet-1", 5, session)
        assert "leads to the chain" in await failure(elsewhere)
    finally:
        await simulator.close()


@dataclass
class FakeApi:
    """Gives an inference or fails, and counts how often it was asked."""

    fails: bool = False
    asked: int = 0

    async def inference(self, topic_id: int) -> Inference:
        self.asked += 1
        if self.fails:
            raise BotError(ErrorCode.PREDICTION_UNAVAILABLE, "The API is down.")
        return Inference(topic_id, Decimal("2605.53"), None, None, time.time())


async def test_the_chain_is_asked_where_the_api_fails_and_the_api_again_after_a_minute(
    fake: FakeChain, session: aiohttp.ClientSession
) -> None:
    fake.answers = {"/emissions": latest(), "/cosmos": block()}
    api, now = FakeApi(), [0.0]
    source = AlloraWithChain(api, AlloraChain(fake.url, CHAIN, 2, session), lambda: now[0])  # type: ignore[arg-type] # plays the API

    async def origin() -> Origin:
        return (await source.inference(9)).origin

    assert (await origin(), fake.seen) == (Origin.API, [])
    api.fails = True
    assert [await origin() for _ in range(3)] == [Origin.CHAIN] * 3
    assert api.asked == 2
    api.fails, now[0] = False, 59.9
    assert await origin() is Origin.CHAIN
    now[0] = 60.0
    assert await origin() is Origin.API
    api.fails, fake.answers = True, {}
    assert await failure(source) == ("The API is down. The chain has no inference for topic 9; check ALLORA_CHAIN_URL.")


async def test_without_a_key_there_is_the_chain_alone(fake: FakeChain, session: aiohttp.ClientSession) -> None:
    fake.answers = {"/emissions": latest(), "/cosmos": block()}
    source = AlloraWithChain(None, AlloraChain(fake.url, CHAIN, 2, session), time.monotonic)
    assert await source.topics() == []
    assert (await source.inference(9)).origin is Origin.CHAIN


def test_only_values_from_two_places_can_be_one() -> None:
    one = Inference(9, Decimal("2605.533879185080648"), None, None, 1000.0)
    other = Inference(9, Decimal("2605.533879185080648394998043723508"), None, None, 990.0, Origin.CHAIN)
    assert is_same_value(one, other)
    assert not is_same_value(one, one)
    assert not is_same_value(one, Inference(9, Decimal("2605.54"), None, None, 990.0, Origin.CHAIN))
    assert not is_same_value(one, Inference(8, one.value, None, None, 990.0, Origin.CHAIN))
