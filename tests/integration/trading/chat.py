"""A server that speaks the chat completions API, and does what a test wants of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
from aiohttp import web

from allora_mqtt.trading.review import Panel, Reviewer, Thresholds
from tests.support.web import served

KEY = "sk-canary-0123456789"
YES: dict[str, Any] = {"approval": True, "confidence": 80, "risk": 3, "reasoning": "looks fine"}
NO: dict[str, Any] = YES | {"approval": False, "reasoning": "too late"}

Behaviour = Callable[[web.Request], Any]


@dataclass
class Chat:
    """What was asked, and what each model says, or a function of the request that makes the response."""

    url: str = ""
    says: dict[str, object] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        self.keys.append(request.headers.get("Authorization"))
        answer = self.says.get(body["model"], YES)
        if callable(answer):
            response: web.StreamResponse = await answer(request)
            return response
        await self.may_answer.wait()
        return web.json_response(completion(answer))

    async def stray(self, request: web.Request) -> web.Response:
        self.elsewhere.append(request.path)
        return web.json_response(completion(YES))

    def facts(self, number: int = -1) -> dict[str, Any]:
        """What the model was told about the trade."""
        told: dict[str, Any] = json.loads(self.asked[number]["messages"][1]["content"])
        return told

    def panel(
        self, *models: str, quorum: int | None = None, timeout_s: float = 30
    ) -> Callable[[aiohttp.ClientSession], Panel]:
        reviewers = [Reviewer(f"{self.url}/v1/", model, KEY) for model in models]
        thresholds = Thresholds(Decimal(70), Decimal(4))
        return lambda session: Panel(reviewers, quorum or len(models), thresholds, timeout_s, session)


def completion(answer: object) -> dict[str, Any]:
    content = answer if isinstance(answer, str) else json.dumps(answer)
    return {"id": "x", "choices": [{"index": 0, "message": {"content": content}, "finish_reason": "stop"}]}


@asynccontextmanager
async def serve_chat() -> AsyncIterator[Chat]:
    chat = Chat()
    chat.may_answer.set()
    routes = (web.post("/v1/chat/completions", chat.handle), web.route("*", "/{path:.*}", chat.stray))
    async with served(*routes) as chat.url:
        try:
            yield chat
        finally:
            chat.may_answer.set()
