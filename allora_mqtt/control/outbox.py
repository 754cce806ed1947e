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
_MAX_COMING_BACK: Final = 8
"""Messages on one topic that the broker may not have delivered back yet; few, for each waits for the one before."""


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
        self._coming_back: dict[str, deque[bytes]] = {}
        self._events: deque[tuple[str, bytes]] = deque(maxlen=_MAX_WAITING_EVENTS)
        self._events_on_the_way: dict[asyncio.Future[None], tuple[str, bytes]] = {}
        self.on_acknowledged: Callable[[float], object] = _ignore
        """Told how many milliseconds the broker took to acknowledge a state message."""

    def attach(self, wire: Wire) -> None:
        """Take the wire to send on."""
        self._wire = wire

    @property
    def waiting_events(self) -> int:
        """How many events the broker does not have yet."""
        return len(self._events) + len(self._events_on_the_way)

    @property
    def waiting_state(self) -> int:
        """How many retained topics have a value that the broker does not have yet."""
        return len(self._on_the_way | self._dirty.keys())

    def state(self, topic: str, content: BaseModel | str, *, even_if_same: bool = False) -> None:
        """Set the value of a retained topic; nothing is sent when it is the same as before."""
        payload = encode(content)
        if self._state.get(topic) != payload or even_if_same:
            self._state[topic] = payload
            self._mark(topic)

    def clear(self, topic: str) -> None:
        """Remove a retained topic, be it ours or what an earlier life has left."""
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

    def send_last(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        """Publish the last value of a retained topic now; whoever restores the topic restores this."""
        self._state[topic] = payload
        self._coming_back.setdefault(topic, deque(maxlen=_MAX_COMING_BACK)).append(payload)
        return self.send(topic, payload, retain=True)

    def restore(self, topic: str) -> None:
        """Publish the value of a retained topic again, or empty it where it has none."""
        self._state.setdefault(topic, b"")
        self._mark(topic)

    def is_echo(self, topic: str, payload: bytes) -> bool:
        """Tell whether a message on a state topic is one of ours that the broker delivers back, each at most once.

        The broker may leave some out, but does not change their order.
        """
        expected = self._coming_back.get(topic)
        if expected is None or payload not in expected:
            return False
        while expected.popleft() != payload:
            pass
        return True

    def publish_everything(self) -> None:
        """Send the whole retained state, and the events that wait."""
        for topic in list(self._state):
            self._mark(topic)
        self._send_events()

    def lost(self) -> None:
        """The connection is gone: of what was on the way nobody knows whether it arrived."""
        self._on_the_way.clear()
        self._coming_back.clear()
        self._events = deque([*self._events_on_the_way.values(), *self._events], maxlen=_MAX_WAITING_EVENTS)
        self._events_on_the_way.clear()

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
        self._coming_back.setdefault(topic, deque(maxlen=_MAX_COMING_BACK)).append(payload)
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
            event = self._events.popleft()
            sent = self._wire.publish(*event)
            self._events_on_the_way[sent] = event
            sent.add_done_callback(lambda done: self._events_on_the_way.pop(done, None))


def _ignore(_latency_ms: float) -> None:
    pass
