"""The exchange's nonces: one strictly increasing source per signer."""

import threading
from collections.abc import Callable


class NonceSource:
    """Makes nonces that never repeat, whatever the clock does.

    HyperLiquid refuses a nonce it has seen, and wants nonces near the present time in milliseconds. Two orders in one
    millisecond, several threads, or a clock that was set back would repeat one; this source cannot.

    Args:
        clock_ms: the wall time in milliseconds.
        last: the highest nonce ever handed out for this signer, as the caller stored it.
    """

    def __init__(self, clock_ms: Callable[[], int], last: int = 0) -> None:
        self._clock_ms = clock_ms
        self._last = last
        self._lock = threading.Lock()

    def next(self) -> int:
        """The next nonce: the time in milliseconds, or one more than the last where that is higher."""
        with self._lock:
            self._last = max(self._clock_ms(), self._last + 1)
            return self._last
