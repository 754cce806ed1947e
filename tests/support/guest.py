"""An MQTT client that tries what it may: it tells the broker's answer to everything."""

import ssl
import threading
import uuid
from types import TracebackType
from typing import Any, Literal, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from allora_mqtt import tcp

Version = Literal["5", "3.1.1"]
_VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


class RefusedError(Exception):
    """The broker does not let us in."""


class Guest:
    """Connects as a context manager.

    Args:
        port: of the broker.
        login: name and password.
        version: of MQTT.
        tls: how to speak TLS; None for not at all.
        websockets: instead of plain MQTT.
        client_id: a new one without.
    """

    def __init__(
        self,
        port: int,
        login: tuple[str, str] | None = None,
        version: Version = "5",
        *,
        tls: ssl.SSLContext | None = None,
        websockets: bool = False,
        client_id: str | None = None,
    ) -> None:
        self.seen: list[tuple[str, bytes, bool]] = []
        self._answers: dict[Any, Any] = {}
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._port = port
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"guest-{uuid.uuid4().hex[:12]}",
            protocol=_VERSIONS[version],
            transport="websockets" if websockets else "tcp",
            reconnect_on_failure=False,
        )
        if login is not None:
            self._client.username_pw_set(*login)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_socket_open = _at_once
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda _client, _data, mid, reasons, _properties: self._answer(mid, reasons)
        self._client.on_publish = lambda _client, _data, mid, reason, _properties: self._answer(mid, reason)

    def __enter__(self) -> Self:
        # A broker that refuses in TLS, or by closing a websocket, is noticed here.
        try:
            self._client.connect("127.0.0.1", self._port)
        except (OSError, ValueError) as error:
            raise RefusedError(f"{type(error).__name__}: {error}") from error
        self._client.loop_start()
        reason = self._wait("connect", "an answer to CONNECT")
        if not isinstance(reason, ReasonCode) or reason.is_failure:
            self._client.loop_stop()
            raise RefusedError(str(reason))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """Publish with QoS 1, and return what the broker says to it."""
        return str(self._wait(self._client.publish(topic, payload, 1, retain).mid, f"an answer to PUBLISH {topic}"))

    def send(self, topic: str, payload: str) -> None:
        """Publish with QoS 1, and wait for nothing."""
        self._client.publish(topic, payload, 1)

    def subscribe(self, *filters: str) -> list[str]:
        """Subscribe, and return what the broker says to each; what comes by it until then has come."""
        _, mid = self._client.subscribe([(each, 1) for each in filters])
        return [str(reason) for reason in self._wait(mid, f"an answer to SUBSCRIBE {filters}")]

    def topics_of(self, payload: bytes) -> set[str]:
        """Return where a payload was seen."""
        with self._lock:
            return {topic for topic, seen, _ in self.seen if seen == payload}

    def is_connected(self) -> bool:
        return "disconnect" not in self._answers

    def _wait(self, key: Any, what: str) -> Any:
        with self._lock:
            came = self._news.wait_for(lambda: key in self._answers or "disconnect" in self._answers, 20)
            assert came, f"not seen in 20 s: {what}"
            return self._answers.get(key, self._answers.get("disconnect"))

    def _answer(self, key: Any, value: Any) -> None:
        with self._lock:
            self._answers[key] = value
            self._news.notify_all()

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        self._answer("connect", reason)

    def _on_disconnect(self, _client: object, _data: object, _flags: object, reason: object, _more: object) -> None:
        self._answer("disconnect", f"disconnected: {reason}")

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        with self._lock:
            self.seen.append((message.topic, bytes(message.payload), message.retain))


def _at_once(_client: object, _data: object, connection: Any) -> None:
    tcp.send_at_once(connection)
