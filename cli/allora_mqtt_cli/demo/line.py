"""The tour's own MQTT client: sends what is shown, and keeps what comes."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli.connection import Connection
from allora_mqtt_cli.errors import CliError, ExitCode

_PATIENCE_S: Final = 60
_NOBODY_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, as it came.

    Attributes:
        took_ms: from sending the command, seen from here.
    """

    topic: str
    content: dict[str, Any]
    took_ms: float


class Line:
    """A connection that hears everything the bot says.

    Args:
        connection: an open one.
        topics: the bot's.
    """

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self._connection = connection
        self.topics = topics
        self.latest: dict[str, bytes] = {}
        """The newest message of each topic."""
        self.heard: list[tuple[str, bytes]] = []
        """Every message that came live, in order."""
        connection.subscribe(f"{topics.base}/#")

    def publish(self, topic: str, payload: str, *, retain: bool) -> None:
        """Publish with QoS 1 and wait for the broker's acknowledgement."""
        self._connection.publish(topic, payload.encode(), retain=retain)

    def send(self, topic: str, payload: str, answered_at: str, *, retain: bool) -> Answer:
        """Publish a command and wait for the answer to it.

        Raises:
            CliError: none came.
        """
        self._drain()
        place, started = len(self.heard), time.monotonic()
        self.publish(topic, payload, retain=retain)
        return self.answer_since(place, answered_at, started)

    def answer_since(self, place: int, answered_at: str, started: float) -> Answer:
        """Return the first answer on a topic among what was heard from a place on."""
        found: list[bytes] = []

        def answered() -> bool:
            found[:] = [payload for topic, payload in self.heard[place:] if topic == answered_at]
            return bool(found)

        self.until(answered, f"an answer on {answered_at}")
        return Answer(answered_at, json.loads(found[0]), (time.monotonic() - started) * 1000)

    def until(self, seen: Callable[[], object], what: str, patience_s: float = _PATIENCE_S) -> None:
        """Listen until something has been seen.

        Raises:
            CliError: it has not.
        """

        def look() -> bool:
            self._drain()
            return bool(seen())

        if not self._connection.pump(look, time.monotonic() + patience_s):
            message = f"The tour cannot go on: {what} did not come within {patience_s:g} s. Is the machine very busy?"
            raise CliError(ExitCode.FAILED, "DEMO_FAILED", message)

    def listen(self, seconds: float) -> None:
        """Listen for a time."""
        deadline = time.monotonic() + seconds
        self._connection.pump(self._drain, deadline)

    def idle(self, is_over: Callable[[], bool]) -> None:
        """Listen until something happens elsewhere."""
        while not is_over():
            self.listen(_NOBODY_S)

    def json(self, topic: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the newest message of a topic; None where there is none."""
        self._drain()
        payload = self.latest.get(topic)
        return json.loads(payload) if payload else None

    def events(self, topic: str, place: int = 0) -> list[Any]:
        """Return what was heard on a topic from a place on."""
        self._drain()
        return [json.loads(payload) for at, payload in self.heard[place:] if at == topic]

    def _drain(self) -> bool:
        while self._connection.inbox:
            message = self._connection.inbox.popleft()
            self.latest[message.topic] = message.payload
            if not message.retained:
                self.heard.append((message.topic, message.payload))
        return False
