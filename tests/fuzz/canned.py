"""Servers whose every answer is given beforehand, byte for byte; no socket is opened, all else is the real thing."""

import io
import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import aiohttp
import requests
from eth_account import Account
from requests.adapters import BaseAdapter

from allora_mqtt.market.allora import AlloraClient
from allora_mqtt.market.budget import Use
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.line import Line
from allora_mqtt.market.signing import hide_key
from allora_mqtt.settings import WEIGHT_PER_MINUTE

_T = TypeVar("_T")

ADDRESS = "0x" + "ab" * 20
NOW_S = 1_795_000_000.0


class CannedExchange(BaseAdapter):
    """What `requests` sends to instead of a socket.

    Args:
        answers: bodies by the type of the request or action.
    """

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        super().__init__()
        self.answers = dict(answers)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - the signature of requests
        timeout: Any = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002 - same
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        del stream, timeout, verify, cert, proxies
        body = cast("Any", request.body)
        asked = json.loads(body.read() if hasattr(body, "read") else body)
        response = requests.Response()
        response.status_code = 200
        response.request = request
        response.url = request.url or ""
        response.headers["Content-Type"] = "application/json"
        response.raw = io.BytesIO(self.answers[asked["type"] if "type" in asked else asked["action"]["type"]])
        return response

    def close(self) -> None:
        pass


class OneTry(Line):
    """The real line, on which everything is asked once: the same answer would come each time."""

    async def read(
        self, kind: str, what: str, call: Callable[[], Any], parse: Callable[[Any], _T], use: Use = Use.ACCOUNT
    ) -> _T:
        del use
        return await self._read_counted(kind, what, call, parse, Use.EXIT)


def gateway(canned: CannedExchange) -> Hyperliquid:
    """Return the gateway, with the real SDK inside, on these answers."""
    made = Hyperliquid(
        base_url="http://exchange.invalid",
        timeout_s=30,
        account_address=ADDRESS,
        wallet=Account.from_key("0x" + "17" * 32),
        vault_address=None,
        clock=lambda: NOW_S,
    )
    made.line = OneTry("http://exchange.invalid", 30, lambda: NOW_S, time.monotonic, hide_key(None), WEIGHT_PER_MINUTE)
    for session in (made.line.info.session, made.line._writing.session):
        session.trust_env = False
        session.mount("http://", canned)
    return made


class _Content:
    def __init__(self, body: bytes) -> None:
        self._body = io.BytesIO(body)

    async def read(self, size: int) -> bytes:
        return self._body.read(size)


class _Answer:
    status = 200

    def __init__(self, body: bytes) -> None:
        self.content = _Content(body)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class CannedAllora:
    """Stands in for the `aiohttp` session: whatever is asked for, the answer is `body`."""

    def __init__(self, body: bytes = b"{}") -> None:
        self.body = body

    def get(self, _url: str, **_options: object) -> _Answer:
        return _Answer(self.body)


class OneTryAllora(AlloraClient):
    """The real client, which asks once."""

    async def _get(self, path: str, params: Mapping[str, str], what: str) -> object:
        return await self._get_once(path, params, what)


def allora(canned: CannedAllora) -> AlloraClient:
    """Return the client on these answers."""
    return OneTryAllora("http://allora.invalid/v2", "a-secret-key", "chain", 30, cast("aiohttp.ClientSession", canned))
