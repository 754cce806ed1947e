"""From bytes to amqtt's packets, and nothing that is not one.

amqtt reads field after field from the stream and trusts the lengths inside: a packet that lies makes it wait, read
into the next one, or take wrong text for a topic. Here a packet is first read whole, in its announced length, and is
believed only when amqtt would write it down as it came.
"""

import asyncio
import struct
from dataclasses import dataclass
from typing import Any, Final

from amqtt.adapters import BufferReader
from amqtt.errors import AMQTTError, CodecError, MQTTError, NoDataError
from amqtt.mqtt import packet as kinds
from amqtt.mqtt import packet_class
from amqtt.mqtt.packet import MQTTFixedHeader

from allora_mqtt.transport.embedded_broker.messages import is_topic

PARSE_ERRORS: Final = (AMQTTError, CodecError, MQTTError, NoDataError, struct.error, ValueError)
_MAX_LENGTH_BYTES: Final = 4
_HIGHEST_QOS: Final = 2
_FLAGS: Final = {
    kinds.PUBACK: 0,
    kinds.PUBREC: 0,
    kinds.PUBREL: 2,
    kinds.PUBCOMP: 0,
    kinds.SUBSCRIBE: 2,
    kinds.UNSUBSCRIBE: 2,
    kinds.PINGREQ: 0,
    kinds.DISCONNECT: 0,
}
"""The flags that each packet a client may send must have; those of PUBLISH mean something."""


class Malformed(Exception):  # noqa: N818 - it names what happened
    """What came is not MQTT, or not what a client may send now; its connection is to be closed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet as it came.

    Attributes:
        kind: the packet type.
        flags: the lower half of the first byte.
        body: what follows the length.
    """

    kind: int
    flags: int
    body: bytes

    def reader(self) -> BufferReader:
        """Return the whole packet for amqtt to read."""
        header = MQTTFixedHeader(self.kind, self.flags, len(self.body)).to_bytes()
        return BufferReader(header + self.body)


async def read_frame(reader: asyncio.StreamReader, max_bytes: int, only: int | None = None) -> Frame:
    """Read one packet.

    Args:
        reader: where from.
        max_bytes: the largest body that is read at all.
        only: the one packet type that is welcome, if there is one.

    Raises:
        Malformed: its length is none or too large, or it is another type.
        EOFError: the connection ended.
    """
    first = (await reader.readexactly(1))[0]
    kind, flags = first >> 4, first & 0x0F
    if only is not None and kind != only:
        raise Malformed(f"packet type {kind} where {only} was due")
    length = 0
    for position in range(_MAX_LENGTH_BYTES):
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << (7 * position)
        if not byte & 0x80:
            break
    else:
        raise Malformed("a length of more than four bytes")
    if length > max_bytes:
        raise Malformed(f"a packet of {length} bytes, more than {max_bytes}")
    return Frame(kind, flags, await reader.readexactly(length))


async def parse(frame: Frame) -> Any:  # noqa: ANN401 - amqtt's packets carry no types
    """Return amqtt's packet for a frame that came after CONNECT.

    Raises:
        Malformed: it is not one that a client may send, or not as the standard has it.
    """
    if frame.kind != kinds.PUBLISH and _FLAGS.get(frame.kind) != frame.flags:
        raise Malformed(f"packet type {frame.kind} with flags {frame.flags}")
    header = MQTTFixedHeader(frame.kind, frame.flags, len(frame.body))
    try:
        packet = await packet_class(header).from_stream(BufferReader(frame.body), fixed_header=header)
        written = _body(packet)
    except PARSE_ERRORS as error:
        raise Malformed(f"packet type {frame.kind}: {error}") from error
    if written != frame.body:
        raise Malformed(f"packet type {frame.kind}: lengths or text that do not add up")
    _check(frame.kind, packet)
    return packet


def _body(packet: Any) -> bytes:  # noqa: ANN401 - amqtt's packets carry no types
    head = packet.variable_header.to_bytes() if packet.variable_header is not None else b""
    tail = packet.payload.to_bytes(packet.fixed_header, packet.variable_header) if packet.payload is not None else b""
    return bytes(head + tail)


def _check(kind: int, packet: Any) -> None:  # noqa: ANN401 - amqtt's packets carry no types
    if packet.variable_header is not None and packet.variable_header.packet_id == 0:
        raise Malformed("packet identifier 0")
    if kind == kinds.PUBLISH:
        if packet.qos > _HIGHEST_QOS or (packet.dup_flag and not packet.qos):
            raise Malformed("a PUBLISH with flags that exclude each other")
        if not is_topic(packet.topic_name):
            raise Malformed("a PUBLISH to something that is no topic")
    elif kind in (kinds.SUBSCRIBE, kinds.UNSUBSCRIBE) and not packet.payload.topics:
        raise Malformed("a SUBSCRIBE or UNSUBSCRIBE without filters")
    elif kind == kinds.SUBSCRIBE and any(qos > _HIGHEST_QOS for _, qos in packet.payload.topics):
        raise Malformed("a SUBSCRIBE with a QoS that does not exist")
