"""The first packet of a connection: a CONNECT, in time, in MQTT 3.1.1, and nothing else."""

import asyncio
from typing import Any, Final

from amqtt.adapters import StreamWriterAdapter
from amqtt.mqtt.connack import UNACCEPTABLE_PROTOCOL_VERSION, ConnackPacket
from amqtt.mqtt.packet import CONNECT
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from allora_mqtt.transport.embedded_broker.frames import PARSE_ERRORS, Frame, Malformed, read_frame
from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.messages import is_topic

_NAME: Final = b"\x00\x04MQTT"
_FIXED_BYTES: Final = len(_NAME) + 4
"""Name, level, flags and keepalive; the client id follows."""
_LEVEL_311: Final = 4
_LEVEL_5: Final = 5
_UNSUPPORTED_IN_5: Final = b"\x20\x03\x00\x84\x00"
"""CONNACK of MQTT 5: unsupported protocol version, no properties."""
_HIGHEST_QOS: Final = 2


async def read_connect(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    plugins: Any,  # noqa: ANN401 - amqtt's plugin manager carries no types
    limits: Limits,
) -> Session:
    """Return who wants in, as amqtt's session, not yet logged in and with no effect on anybody.

    Raises:
        Malformed: it is no CONNECT, or one that MQTT 3.1.1 forbids; where the standard has an answer, it was sent.
        TimeoutError: nothing came.
        EOFError: the connection ended.
    """
    async with asyncio.timeout(limits.connect_timeout_s):
        frame = await read_frame(reader, limits.connect_bytes, only=CONNECT)
    if frame.flags:
        raise Malformed(f"CONNECT with flags {frame.flags}")
    _check_version(frame, writer)
    _check_client_id(frame.body[_FIXED_BYTES:])
    buffer = frame.reader()
    try:
        _, session = await BrokerProtocolHandler.init_from_connect(buffer, StreamWriterAdapter(writer), plugins)
        rest = await buffer.read()
    except PARSE_ERRORS as error:
        raise Malformed(f"CONNECT: {error}") from error
    if rest:
        raise Malformed("CONNECT: longer than its fields")
    _check_will(session)
    return session


def _check_version(frame: Frame, writer: asyncio.StreamWriter) -> None:
    """Answer other versions at once: a client that tries 5 first must not have to wait before it tries 3.1.1."""
    level = frame.body[len(_NAME)] if len(frame.body) > len(_NAME) else 0
    if frame.body.startswith(_NAME) and level == _LEVEL_311:
        return
    if frame.body.startswith(_NAME) and level == _LEVEL_5:
        writer.write(_UNSUPPORTED_IN_5)
    else:
        writer.write(ConnackPacket.build(0, UNACCEPTABLE_PROTOCOL_VERSION).to_bytes())
    raise Malformed("CONNECT: not MQTT 3.1.1")


def _check_client_id(fields: bytes) -> None:
    """Refuse an id that is cut off: amqtt would make one up."""
    end = 2 + int.from_bytes(fields[:2], "big")
    try:
        fields[2:end].decode()
    except UnicodeDecodeError as error:
        raise Malformed("CONNECT: a client id that is not UTF-8") from error
    if len(fields) < max(2, end):
        raise Malformed("CONNECT: shorter than its fields")


def _check_will(session: Session) -> None:
    if session.will_qos > _HIGHEST_QOS or (not session.will_flag and (session.will_qos or session.will_retain)):
        raise Malformed("CONNECT: will flags that exclude each other")
    if session.will_flag and not is_topic(session.will_topic):
        raise Malformed("CONNECT: a will for something that is no topic")
