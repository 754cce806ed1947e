"""The way to the exchange: questions, tried again and paced by the request budget, and actions, sent once.

The SDK is synchronous; each kind of request has threads of its own, so that reading never holds up an order.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeVar

from hyperliquid.api import API
from hyperliquid.info import Info
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from urllib3.exceptions import HTTPError

from allora_mqtt.market.answers import (
    HttpRefusal,
    RateLimited,
    Throttled,
    TransientFailure,
    decoded_write,
    kind_of,
    not_sent,
    read_refused,
    refuse_http_errors,
    retry_pause_s,
    unreadable,
)
from allora_mqtt.market.budget import LISTED, RequestBudget, Use, action_weight, info_weight, rows_weight
from allora_mqtt.market.dependency import Dependency
from allora_mqtt.market.gate import GateClosed, GatedBody, SendGate
from allora_mqtt.market.orders import ActionsExhausted, OrderResult, OutcomeUnknown, parse_results
from allora_mqtt.market.signing import Envelope
from allora_mqtt.protocol.errors import BotError, ErrorCode

_THREADS: Final = 4
"""Of each kind; more requests at once than this would only meet the exchange's rate limit."""
_READ_TRIES: Final = 3
_WRITE_TIMEOUTS: Final = 2.5
"""One for connecting, one for the answer, and half of one for waiting for a thread."""
_LONGEST_WAIT_S: Final = 1.0
"""Room may be made sooner than it seemed, by an answer that came."""
_MALFORMED: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a parser raises when an answer has another shape."""

_T = TypeVar("_T")

_IS_EXIT: ContextVar[bool] = ContextVar("is_exit", default=False)


@contextmanager
def for_exit() -> Iterator[None]:
    """Within this, what is asked for serves the closing of positions and is never held up by the request budget."""
    token = _IS_EXIT.set(True)
    try:
        yield
    finally:
        _IS_EXIT.reset(token)


class Line:
    """Asks the exchange, and sends it actions.

    Args:
        url: the API without a path.
        timeout_s: for connecting and for each wait for an answer.
        clock: unix seconds.
        steady: seconds of a clock that is never set back, for the request budget.
        hide: takes the key out of what the exchange says.
        weight_per_minute: what the bot may use of the exchange's limit on its IP address.
        is_in_charge: whether this bot may send anything; None where there can be no other.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        clock: Callable[[], float],
        steady: Callable[[], float],
        hide: Callable[[str], str],
        weight_per_minute: int,
        is_in_charge: Callable[[], bool] | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self.steady = steady
        self._hide = hide
        self._is_in_charge = is_in_charge
        self.info_health = Dependency("hyperliquid")
        self.exchange_health = Dependency("hyperliquid_exchange")
        self.budget = RequestBudget(weight_per_minute)
        # Asset numbers are kept elsewhere and not in the SDK, whose own tables break on one bad entry; given empty
        # ones, its constructor asks nothing of the network.
        empty: dict[str, list[Any]] = {"universe": [], "tokens": []}
        self.info = Info(url, skip_ws=True, meta=empty, spot_meta=empty, timeout=timeout_s)
        """The SDK's questions, as calls for `read`."""
        self.info.session.hooks["response"].append(refuse_http_errors)
        self._writing = API(url, timeout_s)
        self._readers = ThreadPoolExecutor(_THREADS, thread_name_prefix="hyperliquid-read")
        self._writers = ThreadPoolExecutor(_THREADS, thread_name_prefix="hyperliquid-write")

    def close(self) -> None:
        """Close the connections; what still runs in a thread ends by its own timeout."""
        for pool in (self._readers, self._writers):
            pool.shutdown(wait=False, cancel_futures=True)
        self.info.session.close()
        self._writing.session.close()

    async def room(self, use: Use, weight: int) -> None:
        """Wait until the request budget has room for so much."""
        while (wait_s := self.budget.wait_s(use, weight, self.steady())) > 0:  # noqa: ASYNC110 - time makes room
            await asyncio.sleep(min(wait_s, _LONGEST_WAIT_S))

    async def send(self, envelope: Envelope, gate: SendGate | None) -> list[OrderResult]:
        """Post an envelope, once; see `Hyperliquid.send`."""
        if gate is not None and not gate.is_open:
            raise GateClosed
        spent = self.budget.spend(Use.EXIT, action_weight(envelope.action_count))
        started = time.perf_counter()
        try:
            results = parse_results(await self._deliver(envelope, gate), envelope.action_count)
        except GateClosed:
            raise
        except BotError as error:
            self._note_refusal(error, started)
            raise
        else:
            self._answered(self.exchange_health, started)
            return results
        finally:
            self.budget.done(spent, self.steady())

    async def read(
        self, kind: str, what: str, call: Callable[[], Any], parse: Callable[[Any], _T], use: Use = Use.ACCOUNT
    ) -> _T:
        """Ask something, again where that may help.

        Args:
            kind: the request's type, which decides its weight.
            what: what is asked for, for people.
            call: one of `info`'s methods with its arguments.
            parse: reads the answer; raises what parsing raises when it cannot.
            use: what it is for; within `for_exit` that is always an exit.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        retrying = AsyncRetrying(
            # The probe of a breaker that is open is a single request.
            stop=stop_after_attempt(1 if self.info_health.is_open else _READ_TRIES),
            wait=retry_pause_s,
            retry=retry_if_exception_type(TransientFailure),
            reraise=True,
        )
        started = time.perf_counter()
        try:
            result: _T = await retrying(
                self._read_counted, kind, what, call, parse, Use.EXIT if _IS_EXIT.get() else use
            )
        except Throttled:
            self.info_health.give_back()
            raise
        except BotError as error:
            self.info_health.failed(self._clock(), error.message)
            raise
        self._answered(self.info_health, started)
        return result

    async def _read_counted(
        self, kind: str, what: str, call: Callable[[], Any], parse: Callable[[Any], _T], use: Use
    ) -> _T:
        weight = info_weight(kind)
        if use is Use.EXIT:
            await self.room(use, weight)
        wait_s = self.budget.wait_s(use, weight, self.steady())
        if wait_s > 0:
            raise Throttled(what, wait_s)
        spent = self.budget.spend(use, weight)
        rows = 0
        try:
            raw = await self._read_raw(what, call)
            rows = len(raw) if kind in LISTED and isinstance(raw, list) else 0
        except RateLimited:
            self.budget.refused(self.steady())
            raise
        finally:
            self.budget.done(spent, self.steady(), rows_weight(rows))
        try:
            return parse(raw)
        except _MALFORMED as error:
            raise unreadable(what) from error

    async def _read_raw(self, what: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the SDK returns
        running = _in_thread(self._readers, call)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await running
        except HttpRefusal as refusal:
            raise read_refused(what, refusal.status) from refusal
        except (OSError, HTTPError) as error:
            raise TransientFailure(
                f"HyperLiquid could not be asked for {what} ({kind_of(error)}); check the network and HL_BASE_URL."
            ) from error
        except _MALFORMED as error:
            raise unreadable(what) from error

    def _note_refusal(self, error: BotError, started: float) -> None:
        """Tell an exchange that says no from one that does not answer."""
        if isinstance(error, RateLimited):
            self.budget.refused(self.steady())
        elif isinstance(error, OutcomeUnknown) or error.code is ErrorCode.EXCHANGE_UNREACHABLE:
            self.exchange_health.failed(self._clock(), error.message)
        else:
            self._answered(self.exchange_health, started)
        if isinstance(error, ActionsExhausted):
            self.budget.exhausted(self.steady())

    def _answered(self, dependency: Dependency, started: float) -> None:
        self.budget.taken(self.steady())
        dependency.succeeded(self._clock(), (time.perf_counter() - started) * 1000)

    async def _deliver(self, envelope: Envelope, gate: SendGate | None) -> object:
        self.budget.acted(envelope.action_count)
        body = GatedBody(envelope.to_json().encode(), gate, self._is_in_charge)
        running = _in_thread(self._writers, partial(self._post, body))
        try:
            # Connecting and answering have their own timeouts in the thread; this one also covers waiting for a thread.
            async with asyncio.timeout(_WRITE_TIMEOUTS * self._timeout_s):
                return await running
        except TimeoutError as error:
            if body.abandon():
                raise not_sent("it took too long to connect") from error
            raise OutcomeUnknown("no answer came in time") from error
        except asyncio.CancelledError:
            body.abandon()
            raise

    def _post(self, body: GatedBody) -> object:
        """Post a body and decode the answer; runs in a writer thread."""
        try:
            with body:
                # A redirect would carry a signed order to another address.
                response = self._writing.session.post(
                    f"{self._writing.base_url}/exchange",
                    data=body,
                    timeout=self._timeout_s,
                    allow_redirects=False,
                )
        except (OSError, HTTPError) as error:
            if body.left:
                raise OutcomeUnknown(f"the connection failed ({kind_of(error)})") from error
            raise not_sent(kind_of(error)) from error
        return decoded_write(response, self._hide)


def _in_thread(pool: ThreadPoolExecutor, call: Callable[[], _T]) -> asyncio.Future[_T]:
    try:
        return asyncio.get_running_loop().run_in_executor(pool, call)
    except RuntimeError as error:
        raise not_sent("the connection was closed") from error
