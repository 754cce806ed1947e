"""Asks a real exchange for its prices again and again. It reads `/info` and knows of no other door."""

import asyncio
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp

from allora_mqtt.simulator.followed_market import FollowedMarket, UnusableAnswer, read_state

_QUERY = {"type": "metaAndAssetCtxs"}
_TIMEOUT_S = 5.0
_MAX_BYTES = 8 * 1024 * 1024
_LONGEST_PAUSE_S = 60.0

_logger = logging.getLogger(__name__)


class _TooOften(Exception):  # noqa: N818 - it names what happened
    """The exchange wants to be asked less often."""


class Follower:
    """Keeps a market at the prices of a real exchange.

    One request costs 20 of the 1200 that the exchange allows an IP address a minute. When it says that this is too
    often, the pause doubles until it answers again.

    Args:
        url: The exchange without a path.
        interval_s: Pause between two requests.
        market: What follows.
        clock: Returns unix seconds.
        on_prices: Called with each new answer.
    """

    def __init__(
        self,
        url: str,
        interval_s: float,
        market: FollowedMarket,
        clock: Callable[[], float],
        on_prices: Callable[[], None],
    ) -> None:
        self._url = url.rstrip("/")
        self._interval_s = interval_s
        self._market = market
        self._clock = clock
        self._on_prices = on_prices
        self._said = ""

    async def run(self) -> None:
        """Follow until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        pause_s = self._interval_s
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    await self._ask(session)
                except _TooOften:
                    pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                    self._failed("it is rate limiting")
                except (UnusableAnswer, aiohttp.ClientError, OSError) as error:
                    self._failed(_in_words(error))
                else:
                    pause_s = self._interval_s
                    self._on_prices()
                await asyncio.sleep(pause_s)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        asked_at_s = self._clock()
        async with session.post(f"{self._url}/info", json=_QUERY, allow_redirects=False) as response:
            if response.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise _TooOften
            if response.status != HTTPStatus.OK:
                raise UnusableAnswer(f"it answered with HTTP {response.status}")
            answer = _decoded(await _body(response))
        self._market.take(read_state(answer), asked_at_s)
        if self._said:
            _logger.info("%s gives prices again", self._url)
            self._said = ""

    def _failed(self, why: str) -> None:
        self._market.failed(why)
        if why != self._said:
            self._said = why
            _logger.warning("No prices from %s: %s; nothing is traded on old ones", self._url, why)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise UnusableAnswer("its answer has no end")
    return bytes(body)


def _decoded(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnusableAnswer("its answer is not JSON") from error


def _in_words(error: Exception) -> str:
    if isinstance(error, UnusableAnswer):
        return str(error)
    return (
        "it does not answer in time" if isinstance(error, TimeoutError) else f"no connection ({type(error).__name__})"
    )
