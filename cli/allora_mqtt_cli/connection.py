"""One short-lived MQTT connection, driven by whoever waits for something: no thread, no callback leaves this file."""

import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from paho.mqtt.client import Client as Paho
from paho.mqtt.client import ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from allora_mqtt import tcp
from allora_mqtt_cli.broker import Broker, Tls
from allora_mqtt_cli.errors import CliError, ExitCode

_KEEPALIVE_S: Final = 30
_VERSION_PROBE_S: Final = 2.0
"""How long a broker that may know only 3.1.1 is given to answer in version 5: stock amqtt never does."""
_NOBODY_SUBSCRIBED: Final = 0x10
_WRONG_VERSION: Final = "Unsupported protocol version"
_BAD_LOGINS: Final = {"Bad user name or password", "Not authorized", "Bad authentication method"}


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came in.

    Attributes:
        retained: whether the broker had kept it, rather than just passed it on.
        received_at: on the monotonic clock, in seconds.
    """

    topic: str
    payload: bytes
    retained: bool
    received_at: float


class _TryOlderVersion(Exception):  # noqa: N818 - it is an instruction, caught in this file
    """The broker did not take version 5; it may take 3.1.1."""


class Connection:
    """A connection to a broker, as a context manager.

    Args:
        broker: which one.
        timeout_s: how long connecting, subscribing and publishing may take, each.

    Raises:
        CliError: on entering, when the broker cannot be reached or refuses the login.
    """

    def __init__(self, broker: Broker, timeout_s: float) -> None:
        self.broker = broker
        self.timeout_s = timeout_s
        self.version = broker.versions[-1]
        self.inbox: deque[Message] = deque()
        self._paho = Paho(CallbackAPIVersion.VERSION2)
        self._consent: list[ReasonCode] = []
        """The answer to CONNECT, once it has come."""
        self.consented: dict[str, Any] = {}
        """What the broker said of itself in that answer (MQTT 5), by the properties' names."""
        self._acknowledged: dict[int | None, Sequence[ReasonCode]] = {}

    def __enter__(self) -> Self:
        for version in self.broker.versions:
            self.version = version
            try:
                self._open(is_last=version == self.broker.versions[-1])
            except _TryOlderVersion:
                self._paho.disconnect()
            except BaseException:
                self._paho.disconnect()
                raise
            else:
                return self
        raise self.broker.unreachable("it speaks neither MQTT 5 nor 3.1.1")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._paho.disconnect()

    def subscribe(self, *topics: str) -> None:
        """Subscribe at QoS 1 and wait until the broker has confirmed it.

        Raises:
            CliError: the broker forbids one of the topics, or does not answer.
        """
        _, packet_id = self._paho.subscribe([(topic, 1) for topic in topics])
        for topic, reason in zip(topics, self._acknowledgement(packet_id), strict=False):
            if reason.is_failure:
                raise self.broker.forbidden("read", topic, str(reason))

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> bool | None:
        """Publish at QoS 1 and wait until the broker has taken it.

        Returns:
            Whether anybody is subscribed, by a connection or a session that waits; None where the broker does not say
            (MQTT 3.1.1).

        Raises:
            CliError: the broker forbids the topic, or does not answer.
        """
        packet_id = self._paho.publish(topic, payload, qos=1, retain=retain).mid
        for reason in self._acknowledgement(packet_id):
            if reason.is_failure:
                raise self.broker.forbidden("publish to", topic, str(reason))
            if self.version == MQTTProtocolVersion.MQTTv5:
                return reason.value != _NOBODY_SUBSCRIBED
        return None

    def pump(self, until: Callable[[], bool], deadline: float | None) -> bool:
        """Exchange packets until a condition holds.

        Args:
            until: the condition; asked again after each packet.
            deadline: when to give up, on the monotonic clock; None for never.

        Returns:
            Whether the condition came to hold.

        Raises:
            CliError: the connection broke.
        """
        while not until():
            wait_s = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
            if wait_s <= 0:
                return False
            if self._paho.loop(wait_s) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                if until():
                    return True
                raise self.broker.lost()
            connection = self._paho.socket()
            if connection is not None and connection.fileno() >= 0:
                tcp.acknowledge_at_once(connection)
        return True

    def _acknowledgement(self, packet_id: int | None) -> Sequence[ReasonCode]:
        if not self.pump(lambda: packet_id in self._acknowledged, time.monotonic() + self.timeout_s):
            reason = f"it did not answer within {self.timeout_s:g} s"
            raise self.broker.unreachable(reason)
        return self._acknowledged.pop(packet_id)

    def _open(self, *, is_last: bool) -> None:
        """Connect in the present version and wait for the broker's consent."""
        self._consent.clear()
        self._paho = self._new_paho()
        try:
            self._paho.connect(self.broker.host, self.broker.port, keepalive=_KEEPALIVE_S)
        except OSError as error:
            raise self.broker.unreachable(_explain(error)) from error
        patience_s = self.timeout_s if is_last else min(self.timeout_s, _VERSION_PROBE_S)
        try:
            answered = self.pump(lambda: bool(self._consent), time.monotonic() + patience_s)
        except CliError as error:
            if not is_last:
                raise _TryOlderVersion from error
            reason = "it closed the connection without an answer; it may expect TLS (MQTT_TLS) or another version"
            raise self.broker.unreachable(reason) from error
        if not answered:
            if not is_last:
                raise _TryOlderVersion
            raise self.broker.unreachable(f"it did not answer within {patience_s:g} s")
        self._judge(self._consent[0], is_last=is_last)

    def _judge(self, reason: ReasonCode, *, is_last: bool) -> None:
        if not reason.is_failure:
            return
        name = reason.getName()
        if name == _WRONG_VERSION and not is_last:
            raise _TryOlderVersion
        if name in _BAD_LOGINS:
            raise self.broker.refused(name)
        raise self.broker.unreachable(name)

    def _new_paho(self) -> Paho:
        is_v5 = self.version == MQTTProtocolVersion.MQTTv5
        paho = Paho(
            CallbackAPIVersion.VERSION2,
            client_id=f"allora-mqtt-cli-{uuid.uuid4().hex[:12]}",
            clean_session=None if is_v5 else True,
            protocol=self.version,
            transport=self.broker.transport,
            reconnect_on_failure=False,
        )
        paho.connect_timeout = self.timeout_s
        if self.broker.username is not None:
            paho.username_pw_set(self.broker.username, self.broker.password)
        if self.broker.tls is not None:
            _use_tls(paho, self.broker.tls)
        paho.on_socket_open = _on_socket_open
        paho.on_connect = self._on_connect
        paho.on_message = self._on_message
        paho.on_subscribe = self._on_subscribe
        paho.on_publish = self._on_publish
        return paho

    def _on_connect(
        self, _client: Paho, _data: object, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self.consented = {} if properties is None else dict(vars(properties))
        self._consent.append(reason)

    def _on_message(self, _client: Paho, _data: object, message: MQTTMessage) -> None:
        self.inbox.append(Message(message.topic, bytes(message.payload), message.retain, time.monotonic()))

    def _on_subscribe(
        self, _client: Paho, _data: object, packet_id: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._acknowledged[packet_id] = reasons

    def _on_publish(
        self, _client: Paho, _data: object, packet_id: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._acknowledged[packet_id] = [reason]


def _on_socket_open(_client: Paho, _data: object, connection: Any) -> None:  # noqa: ANN401 - paho's type is private
    tcp.send_at_once(connection)


def _use_tls(paho: Paho, tls: Tls) -> None:
    ca, cert, key = (str(path) if path else None for path in (tls.ca, tls.cert, tls.key))
    try:
        paho.tls_set(ca_certs=ca, certfile=cert, keyfile=key)
    except (OSError, ValueError) as error:
        message = f"The TLS files cannot be used: {_explain(error)}. Check MQTT_TLS_CA, MQTT_TLS_CERT and MQTT_TLS_KEY."
        raise CliError(ExitCode.USAGE, "CONFIGURATION", message) from error


def _explain(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__).rstrip(".")
