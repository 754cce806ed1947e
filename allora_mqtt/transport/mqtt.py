"""MQTT on the event loop: paho does the protocol, asyncio the waiting.

The connection comes and goes; the session stays. Nothing is acknowledged here: whoever takes a packet does that, once
it is on disk. MQTT 5 is tried first and 3.1.1 where the broker does not speak it.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from allora_mqtt.control.wire import Listener, Packet
from allora_mqtt.settings import MqttSettings
from allora_mqtt.transport.connection import Endpoint, Subscription, Will
from allora_mqtt.transport.sockets import SocketDriver

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S: Final = 5.0
_CONNACK_TIMEOUT_S: Final = 3.0
_KEEPALIVE_S: Final = 20
_RECEIVE_MAXIMUM: Final = 500
"""How many unacknowledged commands the broker may have on the way: bounds memory, and is room for group commit."""
_MAX_IN_FLIGHT_OUT: Final = 200
_MAX_BACKOFF_S: Final = 5.0
_ASK_AGAIN_S: Final = 0.2
_LASTING_S: Final = 10.0
"""A connection that was lost sooner counts as a failed one: two clients with one id would take turns without end."""
_TAKEN_OVER: Final = "Session taken over"
_UNSUPPORTED_VERSION: Final = frozenset({"Unsupported protocol version", "Unspecified error", "Protocol error"})


class ConnectFailed(Exception):  # noqa: N818 - it names what happened
    """The broker could not be reached, or refused us."""


class MqttLink:
    """The bot's connection to its broker; a `Wire`.

    Args:
        settings: login, TLS, protocol, session.
        endpoint: the broker.
        subscriptions: what to subscribe to on each connect.
        will: published by the broker when the bot vanishes.
        listener: told what happens.
        jitter: returns a number from 0 to 1, for the backoff.
        may_connect: whether to take the session now, which is another bot's too; None where it is nobody else's.
    """

    def __init__(
        self,
        settings: MqttSettings,
        endpoint: Endpoint,
        subscriptions: Sequence[Subscription],
        will: Will,
        listener: Listener,
        jitter: Any = random.random,  # noqa: ANN401 - a callable without arguments
        may_connect: Callable[[], bool] | None = None,
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._subscriptions = list(subscriptions)
        self._will = will
        self._listener = listener
        self._may_connect = may_connect
        self._jitter = jitter
        self._version_known = endpoint.embedded or settings.protocol != "auto"
        first = MQTTProtocolVersion.MQTTv5
        if endpoint.embedded or settings.protocol == "3.1.1":
            first = MQTTProtocolVersion.MQTTv311
        self._version = first
        self._loop = asyncio.get_running_loop()
        self._driver = SocketDriver(self._loop)
        self._client = self._make_client()
        self._generation = 0
        self._up = False
        self._connack: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._suback: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._lost = asyncio.Event()
        self._lost_reason = ""
        self._sent: dict[int, asyncio.Future[None]] = {}
        self.connections = 0
        """How often the subscriptions have come to stand."""
        self.last_error: str | None = None
        """Why the connection is down or was last lost; None when it never was."""

    @property
    def is_up(self) -> bool:
        """Whether the subscriptions stand and messages can be sent."""
        return self._up

    @property
    def protocol(self) -> str:
        """The MQTT version in use, `5` or `3.1.1`."""
        return "5" if self._version is MQTTProtocolVersion.MQTTv5 else "3.1.1"

    async def run(self) -> None:
        """Keep the connection up until cancelled; then say goodbye, so that the will stays unsaid."""
        failures = 0
        try:
            while True:
                while self._may_connect is not None and not self._may_connect():  # noqa: ASYNC110 - another process decides
                    await asyncio.sleep(_ASK_AGAIN_S)
                try:
                    await self._connect()
                except ConnectFailed as error:
                    self._report(str(error), failures)
                    failures += 1
                else:
                    since = self._loop.time()
                    await self._stay_connected()
                    failures = failures if self._loop.time() - since < _LASTING_S else 0
                    self._report(self._lost_reason, failures)
                    failures += 1
                pause_s = min(_MAX_BACKOFF_S, 0.1 * 2 ** min(failures, 10))
                await asyncio.sleep(pause_s * (0.5 + self._jitter() / 2))
        finally:
            self._disconnect()

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Subscribe to more, now and on each connect; what is subscribed to already is left out."""
        new = [each for each in subscriptions if each not in self._subscriptions]
        self._subscriptions += new
        if self._up and new:
            self._client.subscribe([(each.topic_filter, self._options(each)) for each in new])

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes | None = None
    ) -> asyncio.Future[None]:
        """Send a message.

        Returns:
            Done when the broker has acknowledged it (QoS 0: when it was handed to the socket); cancelled when the line
            is cut before: the broker may have it or not, and it is not sent again.
        """
        sent: asyncio.Future[None] = self._loop.create_future()
        if not self._up:
            sent.cancel()
            return sent
        properties = None
        if correlation is not None and self._version is MQTTProtocolVersion.MQTTv5:
            properties = _properties(PacketTypes.PUBLISH)
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, qos, retain, properties)
        if qos == 0:
            sent.set_result(None)
        else:
            self._sent[info.mid] = sent
        return sent

    def _report(self, reason: str, failures: int) -> None:
        self.last_error = reason
        level = logging.WARNING if failures == 0 else logging.DEBUG
        log.log(level, "MQTT broker %s: %s; trying again", self._endpoint, reason)

    def _make_client(self) -> paho.Client:
        settings = self._settings
        is_v5 = self._version is MQTTProtocolVersion.MQTTv5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.effective_client_id,
            clean_session=None if is_v5 else False,
            protocol=self._version,
            transport=settings.transport,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(_MAX_IN_FLIGHT_OUT)
        username, password = self._endpoint.login or (settings.username, settings.password)
        if username is not None:
            client.username_pw_set(username, password.get_secret_value() if password else None)
        if settings.tls:
            client.tls_set_context(_tls_context(settings))
        client.will_set(self._will.topic, self._will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        self._driver.drive(client)
        return client

    async def _connect(self) -> None:
        self._generation += 1
        self._lost.clear()
        self._lost_reason = "connection lost"
        self._connack = self._loop.create_future()
        self._suback = self._loop.create_future()
        # A new one each time: paho would send again, before it subscribes, what the old one had not got acknowledged,
        # and an old clear would take a newer command out of the mailbox, unread.
        self._client = self._make_client()
        try:
            await asyncio.to_thread(self._open)
        except OSError as error:
            raise ConnectFailed(f"cannot be reached ({error})") from error
        misc = asyncio.create_task(self._tick())
        try:
            await self._await_connack()
            await self._subscribe()
        except BaseException:
            self._disconnect()
            raise
        finally:
            misc.cancel()
        self._up = True
        self.connections += 1
        self._version_known = True
        self.last_error = None
        log.info("Connected to the MQTT broker %s (MQTT %s)", self._endpoint, self.protocol)
        self._listener.on_subscribed()

    def _open(self) -> None:
        properties = None
        clean_start: Any = paho.MQTT_CLEAN_START_FIRST_ONLY
        if self._version is MQTTProtocolVersion.MQTTv5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self._settings.session_expiry_s
            properties.ReceiveMaximum = _RECEIVE_MAXIMUM
            clean_start = False
        self._client.connect(
            self._endpoint.host,
            self._endpoint.port,
            keepalive=_KEEPALIVE_S,
            clean_start=clean_start,
            properties=properties,
        )

    async def _await_connack(self) -> None:
        await self._answer_or_loss(self._connack, _CONNACK_TIMEOUT_S)
        if not self._connack.done():
            reason = f"closed before CONNACK ({self._lost_reason})" if self._lost.is_set() else "sent no CONNACK"
            self._try_other_version()
            raise ConnectFailed(f"{reason} to MQTT {self.protocol}")
        answer = self._connack.result()
        if answer.is_failure:
            if str(answer) in _UNSUPPORTED_VERSION:
                self._try_other_version()
            raise ConnectFailed(f"refused the connection: {answer}. Check MQTT_USERNAME and MQTT_PASSWORD")

    async def _answer_or_loss(self, answer: asyncio.Future[Any], timeout_s: float) -> None:
        lost = asyncio.create_task(self._lost.wait())
        both: list[asyncio.Future[Any]] = [answer, lost]
        try:
            await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()

    def _try_other_version(self) -> None:
        """Take the other MQTT version next time, unless the version was set or has worked."""
        if self._version_known:
            return
        is_v5 = self._version is MQTTProtocolVersion.MQTTv5
        self._disconnect()
        self._version = MQTTProtocolVersion.MQTTv311 if is_v5 else MQTTProtocolVersion.MQTTv5

    async def _subscribe(self) -> None:
        result, _ = self._client.subscribe(
            [(subscription.topic_filter, self._options(subscription)) for subscription in self._subscriptions]
        )
        if result != paho.MQTT_ERR_SUCCESS:
            raise ConnectFailed(f"went away before SUBSCRIBE ({paho.error_string(result)})")
        await self._answer_or_loss(self._suback, _CONNECT_TIMEOUT_S)
        if not self._suback.done():
            raise ConnectFailed("did not acknowledge SUBSCRIBE")
        refused = [
            subscription
            for subscription, answer in zip(self._subscriptions, self._suback.result(), strict=False)
            if answer.is_failure
        ]
        essential = [each.topic_filter for each in refused if each.is_essential]
        if essential:
            raise ConnectFailed(f"does not let this user read {', '.join(essential)}; see the broker's ACL")
        if refused:
            names = ", ".join(each.topic_filter for each in refused)
            log.warning("The broker does not let this user read %s: whoever publishes there is not noticed", names)

    def _options(self, subscription: Subscription) -> Any:  # noqa: ANN401 - paho takes an int or options
        if self._version is not MQTTProtocolVersion.MQTTv5:
            return subscription.qos
        # Retained messages are asked for on every connect: one published with QoS 0 while the bot was away exists
        # nowhere else, and retainHandling=1 would leave it there (seen on mosquitto 2.0.11).
        return SubscribeOptions(
            qos=subscription.qos,
            retainAsPublished=subscription.keep_retain_flag,
            retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE,
        )

    async def _stay_connected(self) -> None:
        misc = asyncio.create_task(self._tick())
        try:
            await self._lost.wait()
        finally:
            misc.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._client.loop_misc()

    def _disconnect(self) -> None:
        if self._client.socket() is not None:
            self._client.disconnect()
            self._client.loop_write()
        self._set_down("disconnected")

    def _set_down(self, reason: str) -> None:
        was_up, self._up = self._up, False
        self._lost_reason = reason
        self._lost.set()
        waiting, self._sent = self._sent, {}
        for sent in waiting.values():
            sent.cancel()
        if was_up:
            self._listener.on_lost(reason)

    # paho's callbacks

    def _on_connect(
        self, _client: paho.Client, _data: object, flags: paho.ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if not reason.is_failure:
            self._listener.on_session(resumed=flags.session_present)
        if not self._connack.done():
            self._connack.set_result(reason)

    def _on_disconnect(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        if client is not self._client:
            return
        if str(reason) == _TAKEN_OVER:
            self._listener.on_taken_over()
            self._set_down(
                "somebody else with this bot's client id has taken the session; "
                "stop one of the two, or give it another MQTT_CLIENT_ID"
            )
            return
        self._set_down(str(reason))

    def _on_subscribe(
        self, _client: paho.Client, _data: object, _mid: int, answers: list[ReasonCode], _properties: object
    ) -> None:
        if not self._suback.done():
            self._suback.set_result(answers)

    def _on_publish(
        self, _client: paho.Client, _data: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            log.warning("The broker refused a message: %s", reason)
        sent = self._sent.pop(mid, None)
        if sent is not None and not sent.done():
            sent.set_result(None)

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        generation = self._generation
        mid = message.mid

        def acknowledge() -> None:
            # Another connection's packet identifiers mean other messages.
            if message.qos > 0 and generation == self._generation:
                client.ack(mid, 1)

        try:
            topic = message.topic
        except UnicodeDecodeError:
            acknowledge()
            return
        properties = message.properties
        self._listener.on_packet(
            Packet(
                topic=topic,
                payload=bytes(message.payload),
                retained=message.retain,
                packet_id=mid if message.qos > 0 else None,
                acknowledge=acknowledge,
                again=message.dup,
                expires_in_s=getattr(properties, "MessageExpiryInterval", None),
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
                properties=tuple(getattr(properties, "UserProperty", ())),
            )
        )


def _tls_context(settings: MqttSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves it without annotations
