"""One client's connection: what it sends is taken in order, what it is owed is sent as fast as it takes it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from amqtt.mqtt import packet as kinds
from amqtt.mqtt.connack import CONNECTION_ACCEPTED, ConnackPacket
from amqtt.mqtt.pingresp import PingRespPacket
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.pubcomp import PubcompPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.pubrec import PubrecPacket
from amqtt.mqtt.pubrel import PubrelPacket
from amqtt.mqtt.suback import SubackPacket
from amqtt.mqtt.unsuback import UnsubackPacket
from amqtt.session import Session

from allora_mqtt.transport.embedded_broker.frames import Malformed, parse, read_frame
from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.mailbox import Publish, Release
from allora_mqtt.transport.embedded_broker.router import REFUSED, Client, Router

log = logging.getLogger(__name__)

_KEEPALIVE_FACTOR: Final = 1.5
"""The standard's: a client is given up when it has been silent for one and a half times what it announced."""
_DOUBT_S: Final = 0.2
_WRITE_BYTES: Final = 64 * 1024
_PACKETS_A_TURN: Final = 64
"""After so many the rest of the process has a turn, the bot above all."""


class Connection:
    """A client that has logged in, from CONNACK to the end.

    Args:
        reader: what it sends.
        writer: what it gets.
        session: its CONNECT.
        router: the broker's memory.
        limits: how large its packets may be.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        session: Session,
        router: Router,
        limits: Limits,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._session = session
        self._router = router
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.Event()
        self._heard_at = self._loop.time()
        self._watchdog: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._said_goodbye = False

    def wake(self) -> None:
        """Look into the mailbox."""
        self._work.set()

    def close(self) -> None:
        """Cut the connection, whatever the client still had to read."""
        self._is_closed = True
        self._writer.transport.abort()

    async def run(self) -> None:
        """Serve the client until it goes, fails or is replaced."""
        client, resumed = self._router.admit(self._session, self)
        self._writer.write(ConnackPacket.build(int(resumed), CONNECTION_ACCEPTED).to_bytes())
        self._work.set()
        sending = asyncio.create_task(self._send(client))
        sending.add_done_callback(lambda _: self.close())
        self._watch(client)
        try:
            await self._receive(client)
        except Malformed as error:
            log.warning("The embedded broker closed the connection of %r: %s", client.name, error)
        except (EOFError, ConnectionError):
            log.debug("Client %r is gone", client.name)
        finally:
            if self._watchdog is not None:
                self._watchdog.cancel()
            self.close()
            sending.cancel()
            self._router.leave(client, self, said_goodbye=self._said_goodbye)
            await asyncio.wait([sending])
            if not sending.cancelled():
                sending.result()

    def _watch(self, client: Client, doubted: float | None = None) -> None:
        allowed_s = self._session.keep_alive * _KEEPALIVE_FACTOR
        if not allowed_s:
            return
        left_s = self._heard_at + allowed_s - self._loop.time()
        if left_s > 0:
            self._watchdog = self._loop.call_later(left_s, self._watch, client)
        elif doubted != self._heard_at:
            # It may be this process that stood still, with the client's packet waiting in the socket.
            self._watchdog = self._loop.call_later(_DOUBT_S, self._watch, client, self._heard_at)
        else:
            log.warning("Client %r has been silent for %g s; its connection is closed", client.name, allowed_s)
            self.close()

    async def _receive(self, client: Client) -> None:
        takers: dict[int, Callable[[Client, Any], None]] = {
            kinds.PUBLISH: self._take_publish,
            kinds.PUBACK: self._take_puback,
            kinds.PUBREC: self._take_pubrec,
            kinds.PUBREL: self._take_pubrel,
            kinds.PUBCOMP: self._take_pubcomp,
            kinds.SUBSCRIBE: self._take_subscribe,
            kinds.UNSUBSCRIBE: self._take_unsubscribe,
            kinds.PINGREQ: self._take_pingreq,
            kinds.DISCONNECT: self._take_disconnect,
        }
        taken = 0
        while True:
            frame = await read_frame(self._reader, self._limits.packet_bytes)
            self._heard_at = self._loop.time()
            packet = await parse(frame)
            takers[frame.kind](client, packet)
            if self._said_goodbye:
                return
            # Waits for a client that does not read, and raises when the connection has been cut.
            await self._writer.drain()
            taken += 1
            if taken % _PACKETS_A_TURN == 0:
                await asyncio.sleep(0)

    def _take_publish(self, client: Client, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        qos, packet_id = packet.qos, packet.packet_id
        if qos <= 1 or packet_id not in client.half_received:
            self._router.publish(packet.topic_name, packet.data, qos, retain=packet.retain_flag)
        if qos == 1:
            self._answer(PubackPacket.build(packet_id))
        elif qos:
            client.half_received.add(packet_id)
            self._answer(PubrecPacket.build(packet_id))

    def _take_puback(self, client: Client, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        client.mailbox.acknowledged(packet.packet_id)
        self._work.set()

    def _take_pubrec(self, client: Client, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        client.mailbox.received(packet.packet_id)
        self._answer(PubrelPacket.build(packet.packet_id))

    def _take_pubrel(self, client: Client, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        client.half_received.discard(packet.packet_id)
        self._answer(PubcompPacket.build(packet.packet_id))

    def _take_pubcomp(self, client: Client, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        client.mailbox.completed(packet.packet_id)
        self._work.set()

    def _take_subscribe(self, client: Client, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        wanted = packet.payload.topics
        granted = [self._router.subscribe(client, topic_filter, qos) for topic_filter, qos in wanted]
        self._answer(SubackPacket.build(packet.variable_header.packet_id, granted))
        for (topic_filter, _), qos in zip(wanted, granted, strict=True):
            if qos != REFUSED:
                self._router.deliver_retained(client, topic_filter, qos)

    def _take_unsubscribe(self, client: Client, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        for topic_filter in packet.payload.topics:
            client.subscriptions.pop(topic_filter, None)
        self._answer(UnsubackPacket.build(packet.variable_header.packet_id))

    def _take_pingreq(self, _client: Client, _packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        self._answer(PingRespPacket.build())

    def _take_disconnect(self, _client: Client, _packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        self._said_goodbye = True

    def _answer(self, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
        self._writer.write(packet.to_bytes())

    async def _send(self, client: Client) -> None:
        """Send what the mailbox gives, in pieces that the socket has taken before the next one."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                # A connection that was replaced must not take what its successor is to send.
                while not self._is_closed and (piece := self._next_piece(client)):
                    self._writer.write(piece)
                    await self._writer.drain()
                    await asyncio.sleep(0)
        except ConnectionError:
            log.debug("Client %r is gone", client.name)

    def _next_piece(self, client: Client) -> bytes:
        piece = bytearray()
        while len(piece) < _WRITE_BYTES and (what := client.mailbox.next()) is not None:
            piece += _packet(what)
        return bytes(piece)


def _packet(what: Publish | Release) -> bytes:
    if isinstance(what, Release):
        packet = PubrelPacket.build(what.packet_id)
    else:
        message = what.message
        packet = PublishPacket.build(
            message.topic, message.payload, what.packet_id, what.again, message.qos, message.retain
        )
    written: bytes = packet.to_bytes()
    return written
