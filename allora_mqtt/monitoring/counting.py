"""Counts what happens, for as long as the process lives. What labels say is bounded, whatever others write."""

from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from pydantic import BaseModel

from allora_mqtt.monitoring.families import COUNTED, PREFIX, SECONDS
from allora_mqtt.protocol.commands import ACTIONS
from allora_mqtt.protocol.messages import (
    BreakerChanged,
    Direction,
    FillView,
    OrderView,
    PositionClosed,
    Response,
    SignalView,
    Status,
)
from allora_mqtt.protocol.topics import Event

OTHER: Final = "other"
"""What a label says in place of a word that is not known here."""

_COMMANDS: Final = ("mode", "cryptos", "config", *ACTIONS)
_PURPOSES: Final = ("entry", "exit", "stop", "target")
_SIDES: Final = ("BUY", "SELL")
_ORDER_STATES: Final = (
    *("filled", "resting", "waiting", "error", "refused", "stopped", "unknown", "never_ran", "gone"),
    *("open", "canceled", "rejected", "triggered"),
)
"""Those of the bot and the common ones of the exchange, whose list is longer and grows."""
_REASONS: Final = (
    *("stop", "target", "horizon", "prediction_turned", "command", "flatten", "stopped", "liquidation"),
    *("closed_elsewhere", "unknown"),
)
_BREAKERS: Final = ("mqtt", "hyperliquid", "hyperliquid_exchange", "allora", "daily_loss", "drawdown")
_KNOWN: Final = {
    "commands_total": (_COMMANDS, tuple(Status)),
    "signals_total": (tuple(Direction), ("entered", "refused", "held")),
    "orders_total": (_PURPOSES, _ORDER_STATES),
    "fills_total": (_SIDES,),
    "fill_volume_usd_total": (_SIDES,),
    "positions_closed_total": (_REASONS,),
    "breaker_changes_total": (_BREAKERS, ("open", "closed")),
}
"""What labels can say. Each combination begins at 0: of a counter that appears with its first event, Prometheus would
not see that event as an increase."""


class Tally:
    """The counters and histograms, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library left its annotation out
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for family in COUNTED:
            name = PREFIX + family.name
            if family.kind == "counter":
                counter = Counter(name, family.help, family.labels, registry=self.registry)
                for labels in product(*_KNOWN[family.name]):
                    counter.labels(*labels)
                self._counters[family.name] = counter
            else:
                self._histograms[family.name] = Histogram(
                    name, family.help, family.labels, registry=self.registry, buckets=SECONDS
                )

    def ended(self, response: Response) -> None:
        """A command has ended."""
        name = _one_of(_COMMANDS, response.name)
        self._count("commands_total", name, response.status.value)
        # A clock that was set back meanwhile must not make it negative.
        took_s = max(0.0, (response.executed_at - response.received_at).total_seconds())
        self._histograms["command_duration_seconds"].labels(name).observe(took_s)

    def happened(self, kind: Event, content: BaseModel) -> None:
        """Something was told of trading."""
        match content:
            case SignalView():
                outcome = "entered" if content.acted else "held" if content.direction == "HOLD" else "refused"
                self._count("signals_total", content.direction.value, outcome)
            case OrderView():
                self._count("orders_total", content.purpose, _one_of(_ORDER_STATES, content.status))
            case FillView():
                self._count("fills_total", content.side)
                self._count("fill_volume_usd_total", content.side, by=float(content.size * content.price))
            case PositionClosed():
                self._count("positions_closed_total", _one_of(_REASONS, content.reason))
            case BreakerChanged():
                state = "open" if kind is Event.BREAKER_OPENED else "closed"
                self._count("breaker_changes_total", _one_of(_BREAKERS, content.name), state)

    def committed(self, took_s: float) -> None:
        """The database has committed; called on its thread."""
        self._histograms["store_commit_duration_seconds"].observe(took_s)

    def lagged(self, lag_s: float) -> None:
        """The event loop was so late."""
        self._histograms["event_loop_lag_seconds"].observe(lag_s)

    def _count(self, name: str, *labels: str, by: float = 1) -> None:
        self._counters[name].labels(*labels).inc(by)


def _one_of(known: tuple[str, ...], word: str) -> str:
    return word if word in known else OTHER
