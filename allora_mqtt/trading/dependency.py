"""How well something the bot depends on is doing: breaker, latency, last error. No clock of its own."""

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal

from allora_mqtt.protocol.messages import DependencyHealth, HealthState

_FAILURES_TO_OPEN: Final = 5
_OPEN_S: Final = 15.0
_SAMPLES: Final = 200


class Dependency:
    """A circuit breaker with a memory: closed → open after five failures in a row → a probe after 15 s.

    Args:
        name: how it is called in `health` and in events.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._failures = 0
        self._opened_at: float | None = None
        self._last_success: float | None = None
        self._last_error: str | None = None
        self._latencies_ms: deque[float] = deque(maxlen=_SAMPLES)

    def allows(self, now: float) -> bool:
        """Whether it may be asked now: always while closed, once in a while when open."""
        # A clock that was set back meanwhile is no reason to wait for it.
        return self._opened_at is None or not 0 <= now - self._opened_at < _OPEN_S

    def succeeded(self, now: float, latency_ms: float) -> bool:
        """Note an answer; tell whether that closed the breaker."""
        was_open = self._opened_at is not None
        self._failures = 0
        self._opened_at = None
        self._last_success = now
        self._last_error = None
        self._latencies_ms.append(latency_ms)
        return was_open

    def failed(self, now: float, reason: str) -> bool:
        """Note a failure; tell whether that opened the breaker."""
        self._failures += 1
        self._last_error = reason
        was_open = self._opened_at is not None
        if was_open or self._failures >= _FAILURES_TO_OPEN:
            self._opened_at = now
        return self._opened_at is not None and not was_open

    def reset(self) -> bool:
        """Close the breaker by hand; tell whether it was open."""
        was_open = self._opened_at is not None
        self._opened_at = None
        self._failures = 0
        return was_open

    @property
    def last_error(self) -> str | None:
        """The newest failure since the newest success."""
        return self._last_error

    @property
    def opened_at(self) -> float | None:
        """Since when the breaker is open, unix seconds."""
        return self._opened_at

    def health(self, now: float) -> DependencyHealth:
        """Return how it is doing."""
        breaker: Literal["closed", "open", "half_open"] = "closed"
        if self._opened_at is not None:
            breaker = "half_open" if self.allows(now) else "open"
        return DependencyHealth(
            state=HealthState.OK if self._last_error is None and breaker == "closed" else HealthState.DEGRADED,
            breaker=breaker,
            last_success_at=None if self._last_success is None else datetime.fromtimestamp(self._last_success, UTC),
            latency_p50_ms=quantile(self._latencies_ms, 0.5),
            latency_p99_ms=quantile(self._latencies_ms, 0.99),
            last_error=self._last_error,
        )


def quantile(samples: Iterable[float], fraction: float) -> float | None:
    """Return the sample that so large a part of the samples does not exceed, or None when there are none."""
    ordered = sorted(samples)
    return round(ordered[min(int(len(ordered) * fraction), len(ordered) - 1)], 2) if ordered else None
