"""A client that sends commands and takes the time until each is answered."""

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from allora_mqtt import tcp

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Speech:
    """How a responder is spoken to: what a command with an id looks like, and where the id is in an answer."""

    ask: Callable[[str, str], dict[str, Any]]
    id_of: Callable[[Any], str]


PLAIN = Speech(lambda _base, key: {"id": key}, lambda answer: str(answer["id"]))
COMMLIB = Speech(
    lambda base, key: {"header": {"reply_to": f"{base}/response/ping", "timestamp": 1}, "data": {"id": key}},
    lambda answer: str(answer["data"]["id"]),
)


@dataclass(frozen=True, slots=True)
class Trips:
    """How long each command took, ms, and how many were answered in a second."""

    took_ms: list[float]
    per_s: float


def send_at_once(_client: paho.Client, _data: object, connection: object) -> None:
    """Let a connection send without waiting: what paho's `on_socket_open` is set to."""
    if isinstance(connection, socket.socket):
        tcp.send_at_once(connection)


class Asker:
    """One client on a broker.

    Args:
        port: the broker's.
        base: what topics begin with.
        version: of MQTT, `5` or `3.1.1`.
        speech: how the responder there is spoken to.
    """

    def __init__(self, port: int, base: str, version: str, speech: Speech = PLAIN) -> None:
        self._base = base
        self._speech = speech
        self._sent_at: dict[str, float] = {}
        self._took_ms: list[float] = []
        self._number = 0
        self._answered = threading.Semaphore(0)
        self._subscribed = threading.Event()
        is_v5 = version == "5"
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
        )
        self._client.max_inflight_messages_set(1000)
        self._client.on_socket_open = send_at_once
        self._client.on_connect = lambda client, *_: client.subscribe(f"{base}/response/+", 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> Self:
        """Wait until the responder answers."""
        if not self._subscribed.wait(_PATIENCE_S):
            raise TimeoutError(f"the broker does not answer a subscription to {self._base}/response/+")
        deadline = time.monotonic() + _PATIENCE_S
        while not self._is_answered(0.5):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody answers on {self._base}")
        # Whoever came up late may answer the first questions later.
        time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def trips(self, count: int, in_flight: int, limit_s: float) -> Trips:
        """Send commands, so many at a time, until there were enough of them or the time is over."""
        self._took_ms, self._answered = [], threading.Semaphore(0)
        started, sent = time.perf_counter(), 0
        while sent < count and time.perf_counter() - started < limit_s:
            if sent >= in_flight:
                self._wait()
            self._ask()
            sent += 1
        for _ in range(min(sent, in_flight)):
            self._wait()
        return Trips(self._took_ms, sent / (time.perf_counter() - started))

    def _ask(self) -> None:
        self._number += 1
        key = f"trip-{self._number}"
        payload = json.dumps(self._speech.ask(self._base, key))
        self._sent_at[key] = time.perf_counter()
        self._client.publish(f"{self._base}/request/ping", payload, 1)

    def _is_answered(self, timeout_s: float) -> bool:
        self._ask()
        return self._answered.acquire(timeout=timeout_s)

    def _wait(self) -> None:
        if not self._answered.acquire(timeout=_PATIENCE_S):
            raise TimeoutError(f"a command was not answered on {self._base}")

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        now = time.perf_counter()
        connection = client.socket()
        if isinstance(connection, socket.socket):
            tcp.acknowledge_at_once(connection)
        sent_at = self._sent_at.pop(self._speech.id_of(json.loads(message.payload)), None)
        if sent_at is not None:
            self._took_ms.append((now - sent_at) * 1000)
            self._answered.release()
