"""A plain MQTT client for 3.1.1 and 5 that does nothing by itself which a test wants to see done or left undone."""

import asyncio
import struct
from dataclasses import dataclass, field
from itertools import count
from typing import Self

WAIT_S = 10
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)
SESSION_EXPIRY, MESSAGE_EXPIRY, RESPONSE_TOPIC, CORRELATION, USER_PROPERTY = 0x11, 0x02, 0x08, 0x09, 0x26

_numbers = count(1)


def unique(word: str) -> str:
    """Return a name that no other test has; brokers may be shared."""
    return f"{word}{next(_numbers)}"


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


def length(number: int) -> bytes:
    digits = bytearray()
    while True:
        number, digit = divmod(number, 128)
        digits.append(digit | (128 if number else 0))
        if not number:
            return bytes(digits)


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return bytes([kind << 4 | flags]) + length(len(body)) + body


@dataclass(frozen=True)
class Will:
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


def connect_packet(
    client_id: str,
    *,
    level: int = 4,
    clean: bool = True,
    keepalive_s: int = 60,
    will: Will | None = None,
    username: str | None = None,
    password: str | None = None,
) -> bytes:
    flags = 2 * clean
    properties = b"" if clean else bytes([SESSION_EXPIRY]) + struct.pack("!I", 3600)
    fields = text(client_id)
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        fields += (b"\0" if level == 5 else b"") + text(will.topic) + text(will.payload)
    if username is not None:
        flags |= 0x80
        fields += text(username)
    if password is not None:
        flags |= 0x40
        fields += text(password)
    head = text("MQTT") + bytes([level, flags]) + struct.pack("!H", keepalive_s)
    if level == 5:
        head += length(len(properties)) + properties
    return packet(CONNECT, head + fields)


@dataclass(frozen=True)
class Delivery:
    """A PUBLISH from the broker."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    again: bool
    packet_id: int | None
    properties: bytes = b""


class Gone(Exception):  # noqa: N818 - it names what happened
    """The broker closed the connection."""


@dataclass
class Wire:
    """A connection, and packets on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, raw: bytes) -> None:
        self.writer.write(raw)

    async def receive(self) -> tuple[int, int, bytes]:
        try:
            first = (await self.reader.readexactly(1))[0]
            size = shift = 0
            while True:
                digit = (await self.reader.readexactly(1))[0]
                size |= (digit & 127) << shift
                shift += 7
                if not digit & 128:
                    break
            return first >> 4, first & 15, await self.reader.readexactly(size)
        except (EOFError, ConnectionError) as error:
            raise Gone from error

    async def wait_closed(self) -> None:
        """Wait for the broker to close, whatever it still sends."""
        async with asyncio.timeout(WAIT_S):
            try:
                while await self.reader.read(65_536):
                    pass
            except ConnectionError:
                pass
        self.writer.close()


@dataclass
class Client:
    """A client that has connected. Its deliveries wait in `inbox`; `acknowledges` says whether it answers them."""

    wire: Wire
    client_id: str
    level: int
    acknowledges: bool
    return_code: int = -1
    session_present: bool = False
    inbox: asyncio.Queue[Delivery] = field(default_factory=asyncio.Queue)
    is_gone: asyncio.Event = field(default_factory=asyncio.Event)
    _ids: "count[int]" = field(default_factory=lambda: count(1))
    _answers: dict[tuple[int, int], asyncio.Future[bytes]] = field(default_factory=dict)
    _reading: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls,
        port: int,
        level: int,
        client_id: str,
        *,
        clean: bool = True,
        keepalive_s: int = 60,
        will: Will | None = None,
        acknowledges: bool = True,
    ) -> Self:
        wire = await Wire.open(port)
        # The standard will tells others, in `crash`, that the broker has noticed.
        will = will or Will(f"gone/{client_id}", b"", 0)
        wire.send(connect_packet(client_id, level=level, clean=clean, keepalive_s=keepalive_s, will=will))
        client = cls(wire, client_id, level, acknowledges)
        async with asyncio.timeout(WAIT_S):
            kind, _, body = await wire.receive()
        assert kind == CONNACK
        client.session_present, client.return_code = bool(body[0]), body[1]
        client._reading = asyncio.create_task(client._read())
        return client

    async def publish(
        self, topic: str, payload: bytes = b"", qos: int = 1, *, retain: bool = False, properties: bytes = b""
    ) -> None:
        """Publish, and wait until the broker has taken it."""
        answer = self.publish_soon(topic, payload, qos, retain=retain, properties=properties)
        async with asyncio.timeout(WAIT_S):
            await self.wire.writer.drain()
            if qos:
                await answer

    def publish_soon(
        self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False, properties: bytes = b""
    ) -> asyncio.Future[bytes]:
        packet_id = (next(self._ids) - 1) % 65_535 + 1
        answer = self._expect(PUBACK if qos == 1 else PUBCOMP, packet_id)
        body = text(topic) + (struct.pack("!H", packet_id) if qos else b"")
        if self.level == 5:
            body += length(len(properties)) + properties
        self.wire.send(packet(PUBLISH, body + payload, qos << 1 | retain))
        return answer

    async def subscribe(self, topic_filter: str, qos: int = 1, options: int = 0) -> int:
        """Subscribe and return the code; on 5 `options` are the bits beside the QoS."""
        properties = b"\0" if self.level == 5 else b""
        answer = await self._ask(
            SUBSCRIBE, SUBACK, properties + text(topic_filter) + bytes([qos | (options if self.level == 5 else 0)])
        )
        return answer[-1]

    async def unsubscribe(self, topic_filter: str) -> None:
        await self._ask(UNSUBSCRIBE, UNSUBACK, (b"\0" if self.level == 5 else b"") + text(topic_filter))

    def acknowledge(self, delivery: Delivery) -> None:
        if delivery.packet_id is not None:
            kind = PUBACK if delivery.qos == 1 else PUBREC
            self.wire.send(packet(kind, struct.pack("!H", delivery.packet_id)))

    async def next(self) -> Delivery:
        async with asyncio.timeout(WAIT_S):
            return await self.inbox.get()

    async def take(self, number: int) -> list[Delivery]:
        return [await self.next() for _ in range(number)]

    async def settled(self) -> list[Delivery]:
        """Return what has come when everything that the broker had for this client is here.

        A message to oneself goes behind all that waits already.
        """
        fence = unique("fence")
        await self.subscribe(fence)
        await self.publish(fence)
        found = []
        while (delivery := await self.next()).topic != fence:
            found.append(delivery)
        await self.unsubscribe(fence)
        return found

    async def ping(self) -> None:
        answer = self._expect(PINGRESP, 0)
        self.wire.send(packet(PINGREQ))
        async with asyncio.timeout(WAIT_S):
            await answer

    async def disconnect(self) -> None:
        """Go in good order, and wait until the broker knows."""
        self.wire.send(packet(DISCONNECT))
        await self.wait_gone()

    def abort(self) -> None:
        """Go as a killed process does."""
        self.wire.writer.transport.abort()

    async def crash(self, witness: "Client") -> None:
        """Go as a killed process does, and wait until the broker has noticed."""
        topic = f"gone/{self.client_id}"
        await witness.subscribe(topic, 0)
        self.abort()
        assert (await witness.next()).topic == topic
        await witness.unsubscribe(topic)

    async def wait_gone(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.is_gone.wait()

    async def close(self) -> None:
        self.abort()
        if self._reading is not None:
            await self._reading

    async def _ask(self, kind: int, answer_kind: int, body: bytes) -> bytes:
        packet_id = (next(self._ids) - 1) % 65_535 + 1
        answer = self._expect(answer_kind, packet_id)
        self.wire.send(packet(kind, struct.pack("!H", packet_id) + body, 2))
        async with asyncio.timeout(WAIT_S):
            return await answer

    def _expect(self, kind: int, packet_id: int) -> asyncio.Future[bytes]:
        answer = self._answers[kind, packet_id] = asyncio.get_running_loop().create_future()
        return answer

    async def _read(self) -> None:
        try:
            while True:
                self._take(*await self.wire.receive())
        except Gone:
            self.is_gone.set()
            self.wire.writer.close()
            for answer in self._answers.values():
                answer.cancel()

    def _take(self, kind: int, flags: int, body: bytes) -> None:
        if kind == PUBLISH:
            delivery = self._delivery(flags, body)
            self.inbox.put_nowait(delivery)
            if self.acknowledges:
                self.acknowledge(delivery)
        elif kind == PUBREL:
            self.wire.send(packet(PUBCOMP, body[:2]))
        elif kind == PUBREC:
            self.wire.send(packet(PUBREL, body[:2], 2))
        elif kind != DISCONNECT:
            packet_id = struct.unpack("!H", body[:2])[0] if body else 0
            answer = self._answers.pop((kind, packet_id), None)
            if answer is not None and not answer.done():
                answer.set_result(body)

    def _delivery(self, flags: int, body: bytes) -> Delivery:
        qos = flags >> 1 & 3
        end = 2 + struct.unpack("!H", body[:2])[0]
        topic, packet_id, properties = body[2:end].decode(), None, b""
        if qos:
            packet_id = struct.unpack("!H", body[end : end + 2])[0]
            end += 2
        if self.level == 5:
            # No broker under test sends properties of 128 bytes or more here.
            properties = body[end + 1 : end + 1 + body[end]]
            end += 1 + body[end]
        return Delivery(topic, body[end:], qos, bool(flags & 1), bool(flags & 8), packet_id, properties)
