"""Where the faults of the transport strike: before a request is handled, or after it, before its answer leaves."""

import asyncio
import json

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from allora_mqtt.simulator.faults import HTTP_STATUSES, TRANSPORT_KINDS, FaultBook, FaultRule
from allora_mqtt.simulator.request_coins import RequestCoins

_DEFAULT_LATENCY_S = 1.0
_DEFAULT_HANG_S = 3_600.0
_TOO_MANY = 429
_CLIENT_GONE = 499


def fault_middleware(faults: FaultBook, coins: RequestCoins) -> Middleware:
    """A middleware that applies the transport's share of the faults."""

    @web.middleware
    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/sim/") or not faults.rules:
            return await handler(request)
        rules = faults.take(request.path, *await _look(request, coins))
        for rule in rules:
            early = await _before(request, rule)
            if early is not None:
                return early
        response = await handler(request)
        kinds = {rule.kind for rule in rules}
        if "answer_lost" in kinds:
            return _abort(request)
        if "malformed" in kinds and isinstance(response, web.Response):
            return _damaged(response)
        return response

    return strike


async def _before(request: web.Request, rule: FaultRule) -> web.Response | None:
    """Apply what happens before the request is handled; a response means that it never is."""
    if rule.kind == "latency":
        await asyncio.sleep(_DEFAULT_LATENCY_S if rule.seconds is None else rule.seconds)
    elif rule.kind == "hang":
        await asyncio.sleep(_DEFAULT_HANG_S if rule.seconds is None else rule.seconds)
        return _abort(request)
    elif rule.kind == "reset":
        return _abort(request)
    elif rule.kind in HTTP_STATUSES:
        status = HTTP_STATUSES[rule.kind]
        text = "null" if status == _TOO_MANY else f"simulated fault {status}"
        return web.Response(status=status, text=text)
    return None


def _abort(request: web.Request) -> web.Response:
    """Reset the connection; the response returned for form's sake reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=_CLIENT_GONE)


def _damaged(response: web.Response) -> web.Response:
    text = response.text or ""
    return web.Response(status=response.status, text=text[: len(text) // 2], content_type="application/json")


async def _look(request: web.Request, coins: RequestCoins) -> tuple[str | None, frozenset[str], frozenset[str]]:
    """The info or action type of a request, the kinds of faults that may strike it here, the coins it names."""
    if request.method != "POST":
        topic = request.query.get("allora_topic_id")
        return topic, TRANSPORT_KINDS, coins.of_topic(topic)
    try:
        body = json.loads(await request.read())
    except ValueError:
        return None, TRANSPORT_KINDS, frozenset()
    inner = body.get("action") if isinstance(body, dict) else None
    typed = inner if isinstance(inner, dict) else body
    kind = typed.get("type") if isinstance(typed, dict) else None
    return kind if isinstance(kind, str) else None, TRANSPORT_KINDS, coins.of_body(body)
