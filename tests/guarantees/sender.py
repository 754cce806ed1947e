"""Clients that send commands through every fault, and know of each what the broker and the bot have said to it."""

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.net import until


@dataclass(frozen=True, slots=True)
class Plan:
    """A command that is to be sent.

    Attributes:
        id: the sender's id of it.
        value: what it sets, where the value tells one command from every other.
    """

    id: str
    topic: str
    payload: str
    retain: bool = False
    value: str | None = None


@dataclass(slots=True)
class Sending:
    """What became of a command, as far as its sender can tell; times are `time.monotonic()`."""

    plan: Plan
    sent_at: float
    acknowledged_at: float | None = None
    responses: list[tuple[float, dict[str, Any]]] = field(default_factory=list)


class Sender:
    """A client with a session that outlives its connection; what it publishes goes out again until it is acknowledged.

    Args:
        port: of the broker.
        name: its client id.
        version: of MQTT.
        base: the base topic.
    """

    def __init__(self, port: int, name: str, version: MQTTProtocolVersion, base: str = "bot") -> None:
        self.sendings: dict[str, Sending] = {}
        self.on_first_response: dict[str, Callable[[], None]] = {}
        self._base = base
        self._ids_by_mid: dict[int, str] = {}
        self._early: dict[int, float] = {}
        self._lock = threading.Lock()
        is_v5 = version is MQTTProtocolVersion.MQTTv5
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, clean_session=None if is_v5 else False, protocol=version
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.max_queued_messages_set(0)
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(f"{base}/response/+", 1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._on_message
        self._client.on_socket_open = _send_at_once
        self._client.on_publish = self._on_publish
        if is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
            properties.SessionExpiryInterval = 3600
            self._client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        else:
            self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, plan: Plan) -> None:
        """Publish with QoS 1, whether or not the broker is there now."""
        with self._lock:
            self.sendings.setdefault(plan.id, Sending(plan, time.monotonic()))
        # Not under the lock: paho holds its own while it calls `_on_publish`.
        mid = self._client.publish(f"{self._base}/{plan.topic}", plan.payload, 1, plan.retain).mid
        with self._lock:
            if (at := self._early.pop(mid, None)) is None:
                self._ids_by_mid[mid] = plan.id
            else:
                self.sendings[plan.id].acknowledged_at = at

    def acknowledged(self) -> set[str]:
        """Return the ids of the commands that the broker has acknowledged."""
        with self._lock:
            return {each for each, sending in self.sendings.items() if sending.acknowledged_at is not None}

    def all_acknowledged(self, timeout_s: float) -> None:
        """Wait until the broker has acknowledged everything."""
        until(lambda: len(self.acknowledged()) == len(self.sendings), "the broker's acknowledgements", timeout_s)

    def answered(self) -> set[str]:
        """Return the ids of the commands that have been answered."""
        with self._lock:
            return {each for each, sending in self.sendings.items() if sending.responses}

    def forget(self) -> None:
        """Forget what was answered: whoever sends thousands must not grow himself."""
        with self._lock:
            for identifier in [each for each, sending in self.sendings.items() if sending.responses]:
                del self.sendings[identifier]

    def ask(self, plan: Plan, timeout_s: float = 20) -> Sending:
        """Send a command and wait for its answer."""
        self.send(plan)
        until(lambda: plan.id in self.answered(), f"an answer to {plan.topic} {plan.payload}", timeout_s)
        return self.sendings[plan.id]

    def _on_publish(self, _client: paho.Client, _data: object, mid: int, _reason: object, _properties: object) -> None:
        now = time.monotonic()
        with self._lock:
            identifier = self._ids_by_mid.pop(mid, None)
            if identifier is None:
                self._early[mid] = now
            elif identifier in self.sendings:
                self.sendings[identifier].acknowledged_at = now

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        now = time.monotonic()
        response = json.loads(message.payload)
        with self._lock:
            sending = self.sendings.get(response["id"])
            if sending is not None:
                sending.responses.append((now, response))
        tell = self.on_first_response.pop(response["id"], None)
        if tell is not None:
            tell()


def _send_at_once(_client: paho.Client, _data: object, connection: object) -> None:
    assert isinstance(connection, socket.socket)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
