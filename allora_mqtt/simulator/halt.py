"""Closes the exchange's doors while the followed one gives no prices: nothing is said or traded at old ones."""

import json
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from allora_mqtt.simulator.followed_market import FollowedMarket

_UNKNOWN = frozenset({"candleSnapshot", "fundingHistory"})
"""Queries about a past that was not followed."""


def halt_middleware(market: FollowedMarket, clock: Callable[[], float]) -> Middleware:
    """A middleware that answers as an exchange does that is down: `/info` with 503, `/exchange` with a refusal.

    A refused envelope has not run and its nonce is unused, so that it can be sent again.
    """

    @web.middleware
    async def halt(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in {"/sim/price", "/sim/time"}:
            text = "prices and time are those of the followed exchange"
            return web.Response(status=HTTPStatus.UNPROCESSABLE_ENTITY, text=text)
        why = market.halted_because(clock())
        if request.path == "/exchange" and why is not None:
            return web.json_response({"status": "err", "response": f"Trading is halted: {why}."})
        if request.path == "/info":
            if why is not None:
                return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"no prices: {why}")
            if await _type(request) in _UNKNOWN:
                return web.Response(status=HTTPStatus.UNPROCESSABLE_ENTITY, text="the past was not followed")
        return await handler(request)

    return halt


async def _type(request: web.Request) -> object:
    try:
        body = json.loads(await request.read())
    except ValueError:
        return None
    return body.get("type") if isinstance(body, dict) else None
