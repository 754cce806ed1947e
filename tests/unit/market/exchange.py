"""A small HTTP server on loopback that plays the exchange: it answers as it is told to and records what it got."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.support.web import served

META = {
    "universe": [
        {"name": "BTC", "szDecimals": 5, "maxLeverage": 40},
        {"broken": True},
        {"name": "ETH", "szDecimals": 4, "maxLeverage": 25},
    ]
}


@dataclass(frozen=True)
class Raw:
    """An answer that is not plain JSON with status 200."""

    status: int = 200
    body: bytes = b"null"
    delay_s: float = 0
    drop: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeExchange:
    """Answers by the request's type; a list is used up one by one, its last entry stays."""

    answers: dict[str, Any] = field(default_factory=lambda: {"meta": META, "userAbstraction": "default"})
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    on_exchange: Callable[[], None] | None = None
    url: str = ""

    def asked(self, kind: str) -> int:
        return sum(1 for found, _ in self.requests if found == kind)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Self]:
        async with served(web.post("/info", self._info), web.post("/exchange", self._exchange)) as self.url:
            yield self

    async def _info(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return await self._answer(request, body["type"], body)

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.bodies.append(raw)
        body = json.loads(raw)
        if self.on_exchange is not None:
            self.on_exchange()
        return await self._answer(request, body["action"]["type"], body)

    async def _answer(self, request: web.Request, kind: str, body: dict[str, Any]) -> web.StreamResponse:
        self.requests.append((kind, body))
        answer = self.answers[kind]
        if isinstance(answer, list) and answer and isinstance(answer[0], Raw):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if not isinstance(answer, Raw):
            return web.json_response(answer)
        await asyncio.sleep(answer.delay_s)
        if answer.drop:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(
            status=answer.status, body=answer.body, headers={"Content-Type": "application/json"} | answer.headers
        )
