"""What HTTP's outcomes mean: which are worth another try, and after which a write may have run."""

import json
from collections.abc import Callable
from http import HTTPStatus

import requests
from tenacity import RetryCallState
from tenacity.wait import wait_exponential, wait_random

from allora_mqtt.market.orders import OutcomeUnknown
from allora_mqtt.market.wire import quoted
from allora_mqtt.protocol.errors import BotError, ErrorCode

_BACKOFF = wait_exponential(multiplier=0.1, max=2) + wait_random(0, 0.1)


class HttpRefusal(Exception):  # noqa: N818 - it names what the server did
    """An answer of 400 or above, caught before the SDK's own handling, which fails on bodies it does not expect."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class TransientFailure(BotError):  # noqa: N818 - a kind of BotError that is worth another try
    """A read that may succeed when tried again."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.EXCHANGE_UNREACHABLE, message)


class RateLimited(BotError):  # noqa: N818 - it names what the server did
    """The exchange has answered that it was asked too often; asking again at once would make it worse."""

    def __init__(self, what_not: str) -> None:
        super().__init__(
            ErrorCode.EXCHANGE_UNREACHABLE, f"HyperLiquid is rate limiting and did not {what_not}; reading pauses."
        )


class Throttled(BotError):  # noqa: N818 - it names what the bot did
    """The bot did not ask, so that the exchange need not refuse; nothing is wrong with the exchange."""

    def __init__(self, what: str, wait_s: float) -> None:
        super().__init__(
            ErrorCode.EXCHANGE_UNREACHABLE,
            f"HyperLiquid was not asked for {what}, to stay within its request limit; try again in {wait_s:.0f} s.",
        )


def refuse_http_errors(response: requests.Response, *_args: object, **_kwargs: object) -> None:
    """Raise for an answer of 400 or above; a response hook of a `requests` session.

    Raises:
        HttpRefusal: with the status.
    """
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        # Read to the end, so that the connection can be used again.
        _ = response.content
        raise HttpRefusal(response.status_code)


def decoded_write(response: requests.Response, hide: Callable[[str], str]) -> object:
    """The JSON of an answer to a write.

    Args:
        response: what came.
        hide: takes out of a text what must not be shown; answers are quoted in messages.

    Raises:
        BotError: the exchange refused the request without running it.
        OutcomeUnknown: it may have run it.
    """
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited("run the action")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.REQUEST_TIMEOUT:
        raise BotError(
            ErrorCode.EXCHANGE_REJECTED,
            f"HyperLiquid refused the request (HTTP {status}: {quoted(hide(response.text))}); check HL_BASE_URL.",
        )
    if status != HTTPStatus.OK:
        raise OutcomeUnknown(f"it answered with HTTP {status}")
    try:
        return json.loads(hide(response.text))
    except (ValueError, RecursionError) as error:
        raise OutcomeUnknown("its answer is not JSON") from error


def retry_pause_s(state: RetryCallState) -> float:
    """How long to wait before the next try, in seconds: longer each time, with jitter."""
    return _BACKOFF(state)


def read_refused(what: str, status: int) -> BotError:
    """The error for a read that was answered with an HTTP status of 400 or above."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(f"give {what}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientFailure(f"HyperLiquid failed to give {what} (HTTP {status}); it is asked again later.")
    return BotError(
        ErrorCode.EXCHANGE_UNREACHABLE,
        f"HyperLiquid refused to give {what} (HTTP {status}); check HL_BASE_URL and HL_ACCOUNT_ADDRESS.",
    )


def unreadable(what: str) -> TransientFailure:
    """The error for an answer that has another shape than it should."""
    return TransientFailure(
        f"HyperLiquid's answer about {what} cannot be read; check HL_BASE_URL, it is asked again later."
    )


def not_sent(reason: str) -> BotError:
    """The error for a request of which nothing that matters reached the exchange."""
    return BotError(
        ErrorCode.EXCHANGE_UNREACHABLE,
        f"HyperLiquid could not be reached ({reason}) and the action was not sent; check the network and HL_BASE_URL.",
    )


def kind_of(error: BaseException) -> str:
    """Name a failure without its text, which may hold addresses and more."""
    return type(error).__name__
