"""Several reviewers asked at the same time, and how many of them must say yes."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp

from allora_mqtt.trading.review.answer import Answer, Thresholds, Unusable, read_answer

_MAX_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 16 * 1024
_CONCURRENT_REQUESTS: Final = 8
_MIN_SECRET_LENGTH: Final = 6
"""A shorter text may well be part of an innocent answer, and is no key."""


@dataclass(frozen=True, slots=True)
class Reviewer:
    """One endpoint and the model behind it.

    Attributes:
        url: up to and without `/chat/completions`.
        model: as the endpoint calls it.
        key: sent as a bearer token; None sends none.
    """

    url: str
    model: str
    key: str | None

    def __repr__(self) -> str:
        return f"Reviewer({self.model})"


@dataclass(frozen=True, slots=True)
class Review:
    """What the reviewers together say.

    Attributes:
        reason: who said what, on one line.
    """

    is_approved: bool
    reason: str


class Panel:
    """Asks every reviewer once; whatever is no clear yes in time counts as a no.

    Args:
        reviewers: at least one.
        quorum: how many must approve, from 1 to their number.
        thresholds: what an approval must have.
        timeout_s: for each answer as a whole.
        session: the caller's, whose connections are pooled.
    """

    def __init__(
        self,
        reviewers: Sequence[Reviewer],
        quorum: int,
        thresholds: Thresholds,
        timeout_s: float,
        session: aiohttp.ClientSession,
    ) -> None:
        if not 1 <= quorum <= len(reviewers):
            raise ValueError(f"REVIEWER_QUORUM is {quorum}, and there are {len(reviewers)} reviewers")
        self._reviewers = tuple(reviewers)
        self._quorum = quorum
        self._thresholds = thresholds
        self._timeout_s = timeout_s
        self._session = session
        self._limit = asyncio.Semaphore(_CONCURRENT_REQUESTS)

    async def ask(self, messages: Sequence[dict[str, str]]) -> Review:
        """Ask them all at the same time and count; raises nothing but cancellation.

        Args:
            messages: the chat.
        """
        said = await asyncio.gather(*(self._opinion(reviewer, messages) for reviewer in self._reviewers))
        approvals = sum(approved for approved, _ in said)
        words = "; ".join(
            f"{reviewer.model}: {what}" for reviewer, (_, what) in zip(self._reviewers, said, strict=True)
        )
        verdict = f"reviewers: {approvals} of {len(said)} approve, {self._quorum} must ({words})"
        return Review(approvals >= self._quorum, verdict)

    async def _opinion(self, reviewer: Reviewer, messages: Sequence[dict[str, str]]) -> tuple[bool, str]:
        try:
            async with self._limit, asyncio.timeout(self._timeout_s):
                answer = read_answer(await self._body(reviewer, messages))
        except TimeoutError:
            return False, f"no answer within {self._timeout_s:g} s"
        except Unusable as error:
            return False, str(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return False, f"could not be asked ({type(error).__name__})"
        return self._judged(answer)

    def _judged(self, answer: Answer) -> tuple[bool, str]:
        objection = self._thresholds.objection(answer)
        numbers = f"confidence {answer.confidence}, risk {answer.risk}"
        return objection is None, f"{objection or 'approves'} ({numbers}): {answer.reasoning}"

    async def _body(self, reviewer: Reviewer, messages: Sequence[dict[str, str]]) -> bytes:
        # Nothing beyond what every such server takes: several refuse a response format or a temperature.
        request = json.dumps({"model": reviewer.model, "messages": list(messages), "stream": False})
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if reviewer.key is not None:
            headers["Authorization"] = f"Bearer {reviewer.key}"
        async with self._session.post(
            f"{reviewer.url.rstrip('/')}/chat/completions",
            data=request,
            headers=headers,
            allow_redirects=False,  # the key must not travel to another host
        ) as response:
            if response.status != HTTPStatus.OK:
                raise Unusable(f"answered HTTP {response.status}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                # A small answer may hide a huge one.
                raise Unusable("sent a compressed answer, which was not asked for")
            body = await _bounded(response.content)
        if reviewer.key is not None and len(reviewer.key) >= _MIN_SECRET_LENGTH:
            # A server may echo the key, and what it says is shown.
            body = body.replace(reviewer.key.encode(), b"***")
        return body


async def _bounded(stream: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while chunk := await stream.read(_CHUNK_BYTES):
        body += chunk
        if len(body) > _MAX_BYTES:
            raise Unusable("answered more than 64 KiB")
    return bytes(body)
