"""What goes out: retained state, the newest value of each topic; events and responses, each one.

State is never queued: a topic has at most one message on the way and one value waiting, so a slow broker costs memory
only by the number of topics, and nobody gets to see old values one after another.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from pydantic import BaseModel

from allora_mqtt.control.wire import Wire

_MAX_WAITING_EVENTS: Final = 1000


def encode(content: BaseModel | str) -> bytes:
    """Write a message as it goes over the wire."""
    return content.encode() if isinstance(content, str) else content.model_dump_json().encode()


class Outbox:
    """Everything the bot publishes, while the wire is up and while it is not."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self._state: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}
        self._on_the_way: set[str] = set()
        self._events: deque[tuple[str, bytes]] = deque(maxlen=_MAX_WAITING_EVENTS)
        self.on_acknowledged: Callable[[float], object] = _ignore
        """Told how many milliseconds the broker took to acknowledge a state message."""

    def attach(self, wire: Wire) -> None:
        """Take the wire to send on."""
        self._wire = wire

    def state(self, topic: str, content: BaseModel | str, *, even_if_same: bool = False) -> None:
        """Set the value of a retained topic; nothing is sent when it is the same as before."""
        payload = encode(content)
        if self._state.get(topic) != payload or even_if_same:
            self._state[topic] = payload
            self._mark(topic)

    def clear(self, topic: str) -> None:
        """Remove a retained topic."""
        if self._state.get(topic):
            self._state[topic] = b""
            self._mark(topic)

    def event(self, topic: str, content: BaseModel) -> None:
        """Publish something that happened; while the wire is down the newest thousand wait."""
        self._events.append((topic, encode(content)))
        self._send_events()

    def send(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes | None = None
    ) -> asyncio.Future[None]:
        """Send one message now; the future is cancelled when the wire is down or goes down."""
        if self._wire is None:
            raise RuntimeError("the outbox has no wire yet")
        return self._wire.publish(topic, payload, retain=retain, qos=qos, correlation=correlation)

    def publish_everything(self) -> None:
        """Send the whole retained state, and the events that wait."""
        for topic in self._state:
            self._mark(topic)
        self._send_events()

    def lost(self) -> None:
        """Forget what was on the way: the connection is gone."""
        self._on_the_way.clear()

    def _mark(self, topic: str) -> None:
        self._dirty[topic] = None
        self._send_state(topic)

    def _send_state(self, topic: str) -> None:
        if self._wire is None or not self._wire.is_up or topic in self._on_the_way or topic not in self._dirty:
            return
        del self._dirty[topic]
        self._on_the_way.add(topic)
        payload = self._state[topic]
        if not payload:
            del self._state[topic]
        started = time.perf_counter()
        sent = self._wire.publish(topic, payload, retain=True)
        sent.add_done_callback(lambda done: self._arrived(topic, started, done))

    def _arrived(self, topic: str, started: float, sent: asyncio.Future[None]) -> None:
        if sent.cancelled():
            return
        self.on_acknowledged((time.perf_counter() - started) * 1000)
        self._on_the_way.discard(topic)
        self._send_state(topic)

    def _send_events(self) -> None:
        while self._events and self._wire is not None and self._wire.is_up:
            topic, payload = self._events.popleft()
            self._wire.publish(topic, payload)


def _ignore(_latency_ms: float) -> None:
    pass
