"""The exchange's nonces: one strictly increasing source per signer."""

import threading
from collections.abc import Callable
from typing import Final

_REFUSED_AHEAD_MS: Final = 86_400_000
"""The exchange refuses a nonce that lies further ahead of its clock than this."""


class NonceSource:
    """Makes nonces that never repeat, whatever the clock does.

    HyperLiquid refuses a nonce it has seen, and wants nonces near the present time in milliseconds. Two orders in one
    millisecond, several threads, or a clock that was set back would repeat one; this source cannot. It goes back only
    from where the exchange takes none: from more than a day ahead, where a clock that was wrong had led it.

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
            now_ms = self._clock_ms()
            self._last = now_ms if self._last > now_ms + _REFUSED_AHEAD_MS else max(now_ms, self._last + 1)
            return self._last
