"""The gate that orders pass through on their way to the socket, so that STANDBY can be a promise.

An HTTP client sends the headers first and reads the body afterwards. The body is therefore handed over as a file-like
object whose first `read` asks the gate, under the gate's lock, immediately before the bytes go to the socket. Without
its body a request is nothing: the exchange sees a connection that broke off.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from allora_mqtt.protocol.errors import BotError, ErrorCode

_POLL_S = 0.001


class GateClosed(BotError):  # noqa: N818 - it names a state, as its siblings in the contract do
    """The order did not leave, because the bot is not allowed to send orders now."""

    def __init__(self, why: str = "orders are not allowed in this mode; activate the bot first") -> None:
        super().__init__(ErrorCode.NOT_ALLOWED, f"The order was stopped before it left: {why}.")


class NotInCharge(GateClosed):
    """Nothing at all may leave, because another bot may act in this one's place now."""

    def __init__(self) -> None:
        super().__init__("the lease of the database has run out, and another bot may have taken over")


class SendGate:
    """Decides, at the last possible moment, whether a request's body may leave. Thread-safe; starts closed.

    The promise: once `close` or `aclose` has returned True, no gated body leaves until `open` is called.
    """

    def __init__(self) -> None:
        self._open = False
        self._leaving = 0
        self._changed = threading.Condition()

    @property
    def is_open(self) -> bool:
        """Whether a body may leave now."""
        with self._changed:
            return self._open

    def open(self) -> None:
        """Let bodies through from now on."""
        with self._changed:
            self._open = True

    def close(self, timeout_s: float) -> bool:
        """Let no further body through, and wait for those that are being handed to a socket.

        Args:
            timeout_s: how long to wait; handing over takes microseconds unless a socket's buffer is full.

        Returns:
            Whether all of them were done in time. The gate is closed in either case.
        """
        with self._changed:
            self._open = False
            return self._changed.wait_for(lambda: self._leaving == 0, timeout_s)

    async def aclose(self, timeout_s: float) -> bool:
        """Do as `close` does without holding up the event loop."""
        deadline = time.monotonic() + timeout_s
        while not self.close(0):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def body(self, payload: bytes) -> "GatedBody":
        """Wrap a request's body so that it passes this gate."""
        return GatedBody(payload, self)

    def enter(self) -> None:
        """Count a body as leaving; for `GatedBody`.

        Raises:
            GateClosed: nothing may leave now.
        """
        with self._changed:
            if not self._open:
                raise GateClosed
            self._leaving += 1

    def leave(self) -> None:
        """Count a body as gone or given up; for `GatedBody`, exactly once for each `enter`."""
        with self._changed:
            self._leaving -= 1
            self._changed.notify_all()


class GatedBody:
    """A request's body as a file that is read once, for `requests.Session.post(data=…)`.

    Use it as a context manager around the post: leaving the block gives the gate its place back whatever happened,
    a connection that failed before or during the sending included. Without a gate it only records whether the bytes
    left.

    It has no `__iter__`, `tell` or `seek`, so that the client neither sends it in chunks nor a second time.

    Args:
        payload: the bytes.
        gate: of what raises exposure.
        is_in_charge: whether this bot may send anything; None where there can be no other.
    """

    def __init__(
        self, payload: bytes, gate: SendGate | None = None, is_in_charge: Callable[[], bool] | None = None
    ) -> None:
        self._payload = payload
        self._gate = gate
        self._is_in_charge = is_in_charge
        self._lock = threading.Lock()
        self._left = False
        self._abandoned = False
        self._holds_gate = False

    def __len__(self) -> int:
        return len(self._payload)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()
        self._release()

    @property
    def left(self) -> bool:
        """Whether the bytes were handed to the socket: from then on the other side may have them."""
        with self._lock:
            return self._left

    def read(self, _size: int = -1) -> bytes:
        """Hand over the whole body the first time, and the end of the file after that.

        The size is not obeyed: a body that left in two pieces could be stopped between them.

        Raises:
            GateClosed: the gate is closed or the body was abandoned.
            NotInCharge: another bot may act now.
        """
        with self._lock:
            if not self._left:
                if self._abandoned:
                    raise GateClosed
                if self._gate is not None:
                    self._gate.enter()
                    self._holds_gate = True
                # Last, for it holds for a time only.
                if self._is_in_charge is not None and not self._is_in_charge():
                    raise NotInCharge
                self._left = True
                return self._payload
        self._release()
        return b""

    def abandon(self) -> bool:
        """See to it that the body does not leave any more.

        Returns:
            True when it has not left and never will; False when it was too late.
        """
        with self._lock:
            self._abandoned = True
            return not self._left

    def _release(self) -> None:
        with self._lock:
            holds, self._holds_gate = self._holds_gate, False
        if holds and self._gate is not None:
            self._gate.leave()
