"""An MQTT client that keeps everything it sees."""

import json
import threading
import uuid
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.protocol.signed import Keys
from tests.support.net import until


class Watcher:
    """Subscribes to everything under a base topic and remembers it."""

    def __init__(
        self,
        port: int,
        base: str = "bot",
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.seen: list[tuple[str, bytes, bool]] = []
        self.keys: Keys | None = None
        """What commands are signed with, where they are."""
        self._base = base
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"watcher-{uuid.uuid4().hex[:8]}", protocol=protocol
        )
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{base}/#", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: str | bytes | dict[str, Any], *, retain: bool = False, qos: int = 1) -> None:
        content = json.dumps(payload) if isinstance(payload, dict) else payload
        self._client.publish(f"{self._base}/{topic}", content, qos, retain).wait_for_publish(10)

    def publish_all(self, topic: str, payloads: list[dict[str, Any]]) -> None:
        """Publish many messages, many of them on the way at once, and wait until the broker has them all."""
        sent = [self._client.publish(f"{self._base}/{topic}", json.dumps(payload), 1) for payload in payloads]
        for each in sent:
            each.wait_for_publish(60)

    def all(self, topic: str) -> list[bytes]:
        with self._lock:
            return [payload for seen, payload, _ in self.seen if seen == f"{self._base}/{topic}"]

    def last(self, topic: str) -> bytes | None:
        found = self.all(topic)
        return found[-1] if found else None

    def json(self, topic: str) -> Any:
        payload = self.last(topic)
        return json.loads(payload) if payload else None

    def wait(self, topic: str, expected: str, timeout_s: float = 20) -> None:
        until(lambda: self.last(topic) == expected.encode(), f"{topic} = {expected}", timeout_s)

    def ask(self, action: str, timeout_s: float = 20, **arguments: Any) -> dict[str, Any]:
        """Send an action and return its response."""
        return self.command(f"request/{action}", f"response/{action}", {**arguments}, timeout_s)

    def command(
        self, topic: str, response_topic: str, payload: dict[str, Any], timeout_s: float = 20, *, retain: bool = False
    ) -> dict[str, Any]:
        identifier = uuid.uuid4().hex
        content: dict[str, Any] | bytes = {**payload, "id": identifier}
        if self.keys is not None:
            issued = {**payload, "id": identifier, "issued_at": rfc3339(datetime.now(UTC))}
            content = self.keys.sign(f"{self._base}/{topic}", json.dumps(issued).encode())
        self.publish(topic, content, retain=retain)

        def answer() -> dict[str, Any] | None:
            responses = [json.loads(payload) for payload in self.all(response_topic)]
            return next((response for response in responses if response["id"] == identifier), None)

        return until(answer, f"an answer to {topic} on {response_topic}", timeout_s)

    def forget(self) -> None:
        with self._lock:
            self.seen.clear()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self._lock:
            self.seen.append((message.topic, bytes(message.payload), message.retain))


def connected(port: int) -> Watcher | None:
    """Return a client of a broker, if it is there."""
    try:
        return Watcher(port)
    except OSError:
        return None
