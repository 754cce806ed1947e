import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from allora_mqtt.market.allora import AlloraClient
from allora_mqtt.protocol.errors import BotError, ErrorCode
from tests.support.web import served

KEY = "UP-canary-0123456789"


@dataclass(frozen=True)
class Raw:
    """An answer that is not plain JSON with status 200."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0


@dataclass
class FakeAllora:
    """Answers each request with the next of `answers`; the last one stays."""

    answers: list[Raw | dict[str, Any]] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], str | None]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, dict(request.query), request.headers.get("x-api-key")))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, dict):
            return web.json_response(answer)
        await asyncio.sleep(answer.delay_s)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


@pytest.fixture
async def allora() -> AsyncIterator[FakeAllora]:
    fake = FakeAllora()
    async with served(web.get("/{path:.*}", fake.handle)) as url:
        fake.url = f"{url}/v2/"
        yield fake


@pytest.fixture
def client(allora: FakeAllora, session: aiohttp.ClientSession) -> AlloraClient:
    return AlloraClient(allora.url, KEY, "allora-testnet-1", 1.0, session)


def inference(value: str = "3365.48") -> dict[str, Any]:
    raw = {"network_inference_normalized": value, "topic_id": "9", "timestamp": 1719866777}
    return {"status": True, "data": {"inference_data": raw}}


def page(ids: list[int], token: str | None) -> dict[str, Any]:
    return {
        "status": True,
        "data": {"topics": [{"topic_id": topic_id} for topic_id in ids], "continuation_token": token},
    }


async def refusal(client: AlloraClient) -> str:
    with pytest.raises(BotError) as caught:
        await client.inference(9)
    assert caught.value.code == ErrorCode.PREDICTION_UNAVAILABLE
    assert KEY not in f"{caught.value!r} {caught.value.message} {caught.value.__cause__!r}"
    return caught.value.message


async def test_an_inference_is_asked_for_with_the_key(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [inference()]
    assert str((await client.inference(9)).value) == "3365.48"
    assert allora.seen == [("/v2/allora/consumer/ethereum-11155111", {"allora_topic_id": "9"}, KEY)]


async def test_without_a_key_none_is_sent(allora: FakeAllora, session: aiohttp.ClientSession) -> None:
    allora.answers = [inference()]
    await AlloraClient(allora.url, None, "allora-testnet-1", 1.0, session).inference(9)
    assert allora.seen[0][2] is None


async def test_all_pages_of_topics_are_read(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [page([1, 2], "t1"), page([3], "t2"), page([4], None)]
    assert [topic["topic_id"] for topic in await client.topics()] == [1, 2, 3, 4]
    assert [query for _, query, _ in allora.seen] == [{}, {"continuation_token": "t1"}, {"continuation_token": "t2"}]
    assert allora.seen[0][0] == "/v2/allora/allora-testnet-1/topics"


async def test_pages_that_lead_round_in_circles_end(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [page([1], "again")]
    assert len(await client.topics()) == 2


async def test_a_list_of_topics_of_another_shape_is_refused(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [{"status": True, "data": {"topics": "none"}}]
    with pytest.raises(BotError, match="PREDICTION_UNAVAILABLE"):
        await client.topics()


@pytest.mark.parametrize(("status", "words"), [(401, "ALLORA_API_KEY"), (403, "ALLORA_API_KEY"), (404, "topic 9")])
async def test_what_trying_again_does_not_mend_is_not_tried_again(
    client: AlloraClient, allora: FakeAllora, status: int, words: str
) -> None:
    allora.answers = [Raw(status)]
    assert words in await refusal(client)
    assert len(allora.seen) == 1


async def test_a_redirect_is_not_followed_with_the_key(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [Raw(302, headers={"Location": allora.url + "elsewhere"})]
    assert "302" in await refusal(client)
    assert len(allora.seen) == 1


@pytest.mark.parametrize("first", [Raw(503), Raw(body=b"<html>"), Raw(429)])
async def test_a_passing_failure_is_tried_again(client: AlloraClient, allora: FakeAllora, first: Raw) -> None:
    allora.answers = [first, inference()]
    await client.inference(9)
    assert len(allora.seen) == 2


async def test_retry_after_is_honoured(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [Raw(429, headers={"Retry-After": "1"}), inference()]
    loop = asyncio.get_running_loop()
    start = loop.time()
    await client.inference(9)
    assert loop.time() - start >= 1


async def test_it_gives_up_after_three_tries(allora: FakeAllora, session: aiohttp.ClientSession) -> None:
    allora.answers = [Raw(delay_s=5)]
    message = await refusal(AlloraClient(allora.url, KEY, "allora-testnet-1", 0.1, session))
    assert "in time" in message
    assert len(allora.seen) == 3


async def test_nobody_listening(session: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    client = AlloraClient(f"http://127.0.0.1:{unused_tcp_port}", KEY, "allora-testnet-1", 1.0, session)
    assert "ALLORA_BASE_URL" in await refusal(client)


async def test_a_huge_answer_is_not_read(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [Raw(body=b" " * (1024 * 1024 + 1))]
    assert "1 MiB" in await refusal(client)


async def test_deep_json_is_refused(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [Raw(body=b"[" * 200_000)]
    await refusal(client)


async def test_an_echoed_key_is_masked(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [{"status": False, "apiResponseMessage": f"bad key {KEY}"}]
    assert "bad key ***" in await refusal(client)


async def test_bytes_that_are_no_text_are_refused(client: AlloraClient, allora: FakeAllora) -> None:
    allora.answers = [Raw(body=b"\xff\xfe" + json.dumps(inference()).encode())]
    await refusal(client)


async def test_the_key_is_in_no_repr(client: AlloraClient) -> None:
    assert KEY not in repr(client)


async def test_a_key_with_a_line_break_inside_is_refused(session: aiohttp.ClientSession) -> None:
    with pytest.raises(ValueError, match="ALLORA_API_KEY") as caught:
        AlloraClient("http://127.0.0.1", "UP-canary\nrest", "allora-testnet-1", 1.0, session)
    assert "canary" not in str(caught.value)
