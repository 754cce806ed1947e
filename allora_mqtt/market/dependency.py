"""How well something the bot depends on is doing: breaker, latency, last error. No clock of its own."""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final, Literal

from allora_mqtt.protocol.messages import DependencyHealth, HealthState

_FAILURES_TO_OPEN: Final = 5
_OF_THE_LAST: Final = 10
_WINDOW_S: Final = 60.0
_OPEN_S: Final = 15.0
_PROBE_S: Final = 60.0
"""A probe of which nothing was heard for this long will bring no answer any more."""
_SAMPLES: Final = 200


class Dependency:
    """A circuit breaker with a memory.

    Closed → open after five failures among the last ten calls within a minute → half-open after 15 s, when a single
    call may try → closed by its answer, or open for another 15 s.

    A breaker that is open stops nobody by itself: whoever acts on his own initiative asks `admits` first, and what a
    person has asked for is tried at once.

    Args:
        name: how it is called in `health`, in events and by `reset_breaker`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._calls: deque[tuple[float, bool]] = deque(maxlen=_OF_THE_LAST)
        self._opened_at: float | None = None
        self._barred_since: float | None = None
        self._probing_since: float | None = None
        self._last_success: float | None = None
        self._last_failure: float | None = None
        self._last_error: str | None = None
        self._latencies_ms: deque[float] = deque(maxlen=_SAMPLES)
        self.on_change: Callable[[Dependency, bool], None] = _unheard
        """Told when the breaker opens (True) or closes."""

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open or half-open."""
        return self._opened_at is not None

    @property
    def opened_at(self) -> float | None:
        """Since when it is open, unix seconds."""
        return self._opened_at

    @property
    def last_error(self) -> str | None:
        """The newest failure since the newest success."""
        return self._last_error

    def admits(self, now: float) -> bool:
        """Ask for leave to call it now.

        While the breaker is closed everybody has it. Afterwards one caller at a time, who then is the probe: its
        outcome decides, and nobody else is let through before that is known or `give_back` is called.
        """
        if self._opened_at is None:
            return True
        if not self._is_half_open(now) or _is_within(self._probing_since, now, _PROBE_S):
            return False
        self._probing_since = now
        return True

    def hurry(self) -> None:
        """Let the next caller try without waiting: somebody has asked for it."""
        self._barred_since = None

    def give_back(self) -> None:
        """End a probe that has called nobody, so that the next one need not wait for its outcome."""
        self._probing_since = None

    def succeeded(self, now: float, latency_ms: float) -> None:
        """Note an answer, which closes the breaker."""
        self._calls.append((now, True))
        self._last_success = now
        self._last_error = None
        self._latencies_ms.append(latency_ms)
        self._close()

    def failed(self, now: float, reason: str) -> None:
        """Note a failure, which may open the breaker, or keeps it open for another while."""
        self._calls.append((now, False))
        self._last_failure = now
        self._last_error = reason
        self._probing_since = None
        if self._opened_at is not None:
            self._barred_since = now
            return
        failures = sum(1 for at, answered in self._calls if not answered and _is_within(at, now, _WINDOW_S))
        if failures >= _FAILURES_TO_OPEN:
            self._opened_at = self._barred_since = now
            self.on_change(self, True)

    def reset(self) -> bool:
        """Close the breaker by hand and count from the beginning; tell whether it was open."""
        was_open = self._opened_at is not None
        self._calls.clear()
        self._close()
        return was_open

    def is_troubled(self, now: float) -> bool:
        """Whether it is open, or its newest call has failed not long ago."""
        return self.is_open or (self._last_error is not None and _is_within(self._last_failure, now, _WINDOW_S))

    def health(self, now: float) -> DependencyHealth:
        """Return how it is doing."""
        breaker: Literal["closed", "open", "half_open"] = "closed"
        if self._opened_at is not None:
            breaker = "half_open" if self._is_half_open(now) else "open"
        return DependencyHealth(
            state=HealthState.DEGRADED if self.is_troubled(now) else HealthState.OK,
            breaker=breaker,
            last_success_at=None if self._last_success is None else datetime.fromtimestamp(self._last_success, UTC),
            latency_p50_ms=quantile(self._latencies_ms, 0.5),
            latency_p99_ms=quantile(self._latencies_ms, 0.99),
            last_error=self._last_error,
        )

    def _is_half_open(self, now: float) -> bool:
        return not _is_within(self._barred_since, now, _OPEN_S)

    def _close(self) -> None:
        was_open, self._opened_at = self._opened_at is not None, None
        self._probing_since = None
        if was_open:
            self._calls.clear()
            self.on_change(self, False)


def quantile(samples: Iterable[float], fraction: float) -> float | None:
    """Return the sample that so large a part of the samples does not exceed, or None when there are none."""
    ordered = sorted(samples)
    return round(ordered[min(int(len(ordered) * fraction), len(ordered) - 1)], 2) if ordered else None


def _is_within(since: float | None, now: float, span_s: float) -> bool:
    """Whether less than a span has passed; a clock that was set back meanwhile is no reason to wait for it."""
    return since is not None and 0 <= now - since < span_s


def _unheard(_dependency: Dependency, _is_open: bool) -> None:  # noqa: FBT001 - a callback's arguments
    pass
