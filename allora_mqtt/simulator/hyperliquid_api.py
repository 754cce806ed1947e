"""HyperLiquid's two doors: `POST /info` and `POST /exchange`."""

import json
from collections.abc import Awaitable
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from allora_mqtt.simulator.actions import admit, execute, signer_of
from allora_mqtt.simulator.errors import ActionError
from allora_mqtt.simulator.info import INFO_HANDLERS, InfoError
from allora_mqtt.simulator.limits import answer_weight, exchange_weight, info_weight
from allora_mqtt.simulator.matching import WHOLE
from allora_mqtt.simulator.request_coins import RequestCoins
from allora_mqtt.simulator.signatures import SignatureError
from allora_mqtt.simulator.wire import Envelope, action_weight
from allora_mqtt.simulator.world import Arrival, World

# The request under way; set by the middleware, read by the handler in the same task.
_ARRIVAL: ContextVar[Arrival] = ContextVar("arrival")

_HALF = Decimal("0.5")
_BAD_SCHEMA = "Failed to deserialize the JSON body into the target type"
_BAD_JSON = "Failed to parse the request body as JSON"
_BAD_CONTENT_TYPE = "Expected request with `Content-Type: application/json`"


def arrival_middleware(world: World) -> Middleware:
    """A middleware that logs what arrives at `/exchange`, before any fault can strike."""

    @web.middleware
    async def log(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/exchange":
            return await handler(request)
        try:
            body = json.loads(await request.read())
        except ValueError:
            body = None
        arrival = world.arrive(body)
        _ARRIVAL.set(arrival)
        response = await handler(request)
        if arrival.outcome is None:
            arrival.outcome = {"http_status": response.status}
        return response

    return log


@dataclass
class HyperliquidApi:
    """The handlers of both doors."""

    world: World
    coins: RequestCoins

    def routes(self) -> list[web.RouteDef]:
        """What to add to the web application."""
        return [web.post("/info", self.info), web.post("/exchange", self.exchange)]

    async def info(self, request: web.Request) -> web.Response:
        """Answer a query."""
        body = await _read_json(request)
        kind = body.get("type") if isinstance(body, dict) else None
        handler = INFO_HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            return web.Response(status=HTTPStatus.UNPROCESSABLE_ENTITY, text=_BAD_SCHEMA)
        if not self._has_weight(request, info_weight(body["type"])):
            return _too_many()
        try:
            answer = handler(self.world, body)
            if isinstance(answer, Awaitable):
                answer = await answer
        except InfoError as error:
            return web.Response(status=HTTPStatus.UNPROCESSABLE_ENTITY, text=f"{_BAD_SCHEMA}: {error}")
        if self.world.limiter is not None:
            self.world.limiter.charge(request.remote or "", answer_weight(body["type"], answer), self.world.clock())
        return web.json_response(answer)

    async def exchange(self, request: web.Request) -> web.Response:
        """Execute a signed action; the answer leaves once the change is on disk."""
        body = await _read_json(request)
        try:
            envelope = Envelope.model_validate(body)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            text = f"{_BAD_SCHEMA}: {where}: {error.errors()[0]['msg']}"
            return web.Response(status=HTTPStatus.UNPROCESSABLE_ENTITY, text=text)
        if not self._has_weight(request, exchange_weight(action_weight(envelope.action))):
            return _too_many()
        now_s = self.world.clock()
        arrival = _ARRIVAL.get()
        arrival.outcome = self._act(envelope, arrival, now_s, self._fill_share(envelope, body))
        self.world.save()
        return web.json_response(arrival.outcome)

    def _act(self, envelope: Envelope, arrival: Arrival, now_s: float, fill_share: Decimal) -> dict[str, Any]:
        exchange = self.world.exchange
        try:
            arrival.signer = signer_of(envelope)
            enforces = self.world.limiter is not None
            account = admit(exchange, envelope, arrival.signer, now_s, enforces_budget=enforces)
            self.world.remember(account, now_s)
            answer = execute(exchange, account, envelope, now_s, fill_share)
            self.world.remember(account, now_s)
        except (SignatureError, ActionError) as error:
            return {"status": "err", "response": str(error)}
        return answer

    def _fill_share(self, envelope: Envelope, body: object) -> Decimal:
        """The share of its orders that a fault lets through."""
        rules = self.world.faults.take("/exchange", envelope.action.type, {"partial_fill"}, self.coins.of_body(body))
        if not rules:
            return WHOLE
        return _HALF if rules[0].share is None else Decimal(repr(rules[0].share))

    def _has_weight(self, request: web.Request, weight: int) -> bool:
        limiter = self.world.limiter
        return limiter is None or limiter.allows(request.remote or "", weight, self.world.clock())


async def _read_json(request: web.Request) -> Any:  # noqa: ANN401 -- any JSON value
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text=_BAD_CONTENT_TYPE)
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise web.HTTPBadRequest(text=_BAD_JSON) from error


def _too_many() -> web.Response:
    return web.json_response(None, status=HTTPStatus.TOO_MANY_REQUESTS)
