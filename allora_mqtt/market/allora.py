"""Allora's consumer API over HTTP: the list of topics, and a topic's latest inference."""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential, wait_random

from allora_mqtt.market.predictions import Inference, api_data, parse_inference
from allora_mqtt.protocol.errors import BotError, ErrorCode

_SIGNATURE_CHAIN = "ethereum-11155111"
"""The chain that the answer's signature is meant for, which is not Allora's own network."""

_TRIES = 3
_BACKOFF = wait_exponential(multiplier=0.1, max=2) + wait_random(0, 0.2)
_MAX_RETRY_AFTER_S = 10.0
_MAX_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_MAX_PAGES = 50
_MIN_SECRET_LENGTH = 6
"""A shorter text may well be part of an innocent answer, and is no key."""


class _Transient(BotError):  # noqa: N818 - a kind of BotError that is worth another try
    def __init__(self, message: str, pause_s: float = 0) -> None:
        super().__init__(ErrorCode.PREDICTION_UNAVAILABLE, message)
        self.pause_s = pause_s


class AlloraClient:
    """A client for one network of Allora.

    Args:
        base_url: the API with its version, such as `https://api.allora.network/v2`.
        api_key: the user's own key, or None for a server that wants none; never shown.
        chain: `allora-testnet-1` or `allora-mainnet-1`.
        timeout_s: for one try as a whole.
        session: the caller's session, whose connections are pooled; the caller closes it.
    """

    def __init__(
        self, base_url: str, api_key: str | None, chain: str, timeout_s: float, session: aiohttp.ClientSession
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = (api_key or "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise ValueError("ALLORA_API_KEY holds characters that no key has; copy it again")
        self._chain = chain
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session = session

    async def topics(self) -> list[dict[str, Any]]:
        """Every topic of the network as the API gives it, for `topics_from_api`.

        Raises:
            BotError: PREDICTION_UNAVAILABLE, with what to do.
        """
        topics: list[dict[str, Any]] = []
        tokens: set[str] = set()
        params: dict[str, str] = {}
        for _ in range(_MAX_PAGES):
            data = api_data(await self._get(f"/allora/{self._chain}/topics", params, "the topics"))
            page = data.get("topics")
            if not isinstance(page, list):
                raise _unavailable("Allora's list of topics cannot be read; check ALLORA_BASE_URL and ALLORA_CHAIN.")
            topics += [entry for entry in page if isinstance(entry, dict)]
            token = data.get("continuation_token")
            # A token seen before would lead round in circles.
            if not isinstance(token, str) or not token or token in tokens:
                break
            tokens.add(token)
            params = {"continuation_token": token}
        return topics

    async def inference(self, topic_id: int) -> Inference:
        """The latest inference of a topic.

        Raises:
            BotError: PREDICTION_UNAVAILABLE, with what to do.
        """
        params = {"allora_topic_id": str(topic_id)}
        return parse_inference(
            await self._get(f"/allora/consumer/{_SIGNATURE_CHAIN}", params, f"topic {topic_id}"), topic_id
        )

    async def _get(self, path: str, params: Mapping[str, str], what: str) -> object:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(_TRIES),
            wait=_pause_s,
            retry=retry_if_exception_type(_Transient),
            reraise=True,
        )
        return await retrying(self._get_once, path, params, what)

    async def _get_once(self, path: str, params: Mapping[str, str], what: str) -> object:
        headers = {"Accept": "application/json"} | ({"x-api-key": self._key} if self._key else {})
        try:
            async with self._session.get(
                self._base_url + path,
                params=params,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,  # the key must not travel to another host
            ) as response:
                _check_status(response, what)
                return self._decoded(await read_bounded(response.content), what)
        except TimeoutError:
            raise _Transient(f"Allora did not answer about {what} in time; it is asked again later.") from None
        except (aiohttp.ClientError, OSError) as error:
            kind = type(error).__name__
            raise _Transient(
                f"Allora could not be asked about {what} ({kind}); check the network and ALLORA_BASE_URL."
            ) from None

    def _decoded(self, body: bytes, what: str) -> object:
        text = body.decode("utf-8", errors="replace")
        if len(self._key) >= _MIN_SECRET_LENGTH:
            # A server may echo the key in its explanation, and explanations are shown.
            text = text.replace(self._key, "***")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise _Transient(f"Allora's answer about {what} is not JSON; check ALLORA_BASE_URL.") from None


async def read_bounded(stream: aiohttp.StreamReader) -> bytes:
    """Read an answer of at most 1 MiB.

    Raises:
        BotError: PREDICTION_UNAVAILABLE, for a larger one.
    """
    body = bytearray()
    while chunk := await stream.read(_CHUNK_BYTES):
        body += chunk
        if len(body) > _MAX_BYTES:
            raise _unavailable("Allora's answer is larger than 1 MiB and was not read; check ALLORA_BASE_URL.")
    return bytes(body)


def _check_status(response: aiohttp.ClientResponse, what: str) -> None:
    match response.status:
        case 200:
            return
        case 401 | 403 as status:
            raise _unavailable(f"Allora refused the key (HTTP {status}); check ALLORA_API_KEY.")
        case 404:
            raise _unavailable(f"Allora does not know {what}; choose another topic, or check ALLORA_CHAIN.")
        case 429:
            raise _Transient(
                f"Allora is rate limiting and did not give {what}; it is asked again later.", _retry_after_s(response)
            )
        case status if status >= 500:  # noqa: PLR2004 - HTTP's class of server errors
            raise _Transient(f"Allora failed to give {what} (HTTP {status}); it is asked again later.")
        case status:
            raise _unavailable(f"Allora refused to give {what} (HTTP {status}); check ALLORA_BASE_URL.")


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_RETRY_AFTER_S) if text.isdecimal() and text.isascii() else 0.0


def _pause_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    return max(_BACKOFF(state), error.pause_s if isinstance(error, _Transient) else 0)


def _unavailable(message: str) -> BotError:
    return BotError(ErrorCode.PREDICTION_UNAVAILABLE, message)
