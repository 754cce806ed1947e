"""What is not MQTT, or not what the standard allows: the connection ends, and nobody else notices."""

import asyncio
import logging
import random
from collections.abc import Iterator

import pytest

from tests.integration.brokers.client import (
    CONNACK,
    CONNECT,
    PUBLISH,
    SUBSCRIBE,
    WAIT_S,
    Gone,
    Wire,
    connect_packet,
    packet,
    text,
    unique,
)
from tests.integration.brokers.kinds import Broker


@pytest.fixture(autouse=True)
def no_fault_of_the_broker(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever strangers send, the embedded broker must not stumble over it."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
    "zeroes": bytes(100),
    "endless length": b"\x10\xff\xff\xff\xff\xff\xff",
    "not a CONNECT first": packet(PUBLISH, text("t") + b"x"),
    "a CONNECT of other lengths": packet(CONNECT, text("MQTT") + b"\4\2\0\x3c\xff\xff"),
    "another protocol": packet(CONNECT, text("AMQP") + b"\4\2\0\x3c" + text("id")),
    "a reserved flag": packet(CONNECT, text("MQTT") + b"\4\3\0\x3c" + text("id")),
    "noise": random.Random(7).randbytes(10_000),  # noqa: S311 - the same noise each time
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_instead_of_a_connect_is_closed(broker: Broker, what: str) -> None:
    client = await broker.connect(unique("c"))
    wire = await Wire.open(broker.port)
    wire.send(GARBAGE[what])
    await wire.wait_closed()
    await client.ping()


def _publish(topic: bytes, flags: int, rest: bytes = b"") -> bytes:
    return packet(PUBLISH, text(topic) + rest, flags)


FORBIDDEN = {
    "quality of service 3": _publish(b"t", 6, b"\0\1\0x"),
    "a wildcard in a topic": _publish(b"t/+", 0, b"\0x"),
    "an empty topic": _publish(b"", 0, b"\0x"),
    "a topic longer than its packet": packet(PUBLISH, b"\xff\xfft"),
    "a topic that is not UTF-8": _publish(b"\xff\xfe", 0, b"\0x"),
    "a second CONNECT": connect_packet("again"),
    "a packet for clients": packet(CONNACK, b"\0\0"),
    "a reserved packet type": b"\xf0\x00",
    "a SUBSCRIBE without filters": packet(SUBSCRIBE, b"\0\1\0", 2),
    "a SUBSCRIBE with other flags": packet(SUBSCRIBE, b"\0\1\0" + text("t") + b"\1", 0),
    "an endless length": b"\x30\xff\xff\xff\xff\xff",
}


@pytest.mark.parametrize("what", FORBIDDEN)
async def test_what_the_standard_forbids_costs_the_sender_its_connection_and_nobody_else(
    broker: Broker, what: str
) -> None:
    topic = unique("t")
    watcher = await broker.connect(unique("w"))
    await watcher.subscribe(f"{topic}/#")
    sender = await broker.connect(unique("c"))
    sender.wire.send(FORBIDDEN[what])
    await sender.wait_gone()
    await watcher.publish(f"{topic}/after", b"x")
    assert [delivery.topic for delivery in await watcher.settled()] == [f"{topic}/after"]


async def test_a_connect_in_another_version_is_answered_and_closed_at_once(broker: Broker) -> None:
    wire = await Wire.open(broker.port)
    wire.send(connect_packet(unique("c"), level=9))
    async with asyncio.timeout(WAIT_S):
        kind, _, body = await wire.receive()
    assert (kind, body[1] != 0) == (CONNACK, True)
    await wire.wait_closed()


async def test_a_connect_with_mqtt_5_is_accepted_or_answered_with_a_refusal(broker: Broker) -> None:
    wire = await Wire.open(broker.port)
    # With a user name and properties: what amqtt did not even answer.
    wire.send(connect_packet(unique("c"), level=5, clean=False, username="somebody"))
    async with asyncio.timeout(WAIT_S):
        kind, _, body = await wire.receive()
    assert (kind, body[1]) == (CONNACK, 0 if broker.kind.speaks_5 else 0x84)
    wire.writer.transport.abort()


async def test_hundreds_who_come_and_go_leave_no_trace(broker: Broker) -> None:
    client = await broker.connect(unique("c"))
    for _ in range(5):
        wires = await asyncio.gather(*(Wire.open(broker.port) for _ in range(40)))
        for number, wire in enumerate(wires):
            wire.send(connect_packet(unique("x"))[: number % 20])
            wire.writer.transport.abort()
    await client.ping()


async def test_random_packets_after_a_connect_end_no_more_than_their_own_connection(broker: Broker) -> None:
    dice = random.Random(11)  # noqa: S311 - the same packets each time
    topic = unique("t")
    watcher = await broker.connect(unique("w"))
    await watcher.subscribe(topic)
    for _ in range(200):
        wire = await Wire.open(broker.port)
        wire.send(connect_packet(unique("x"), level=broker.kind.level))
        await wire.receive()
        for _ in range(dice.randrange(1, 5)):
            body = dice.randbytes(dice.randrange(0, 40))
            wire.send(packet(dice.randrange(16), body, dice.choice([0, 2, dice.randrange(16)])))
        try:
            wire.send(packet(14))
            await wire.wait_closed()
        except Gone:
            pass
    await watcher.publish(topic, b"x")
    assert topic in {delivery.topic for delivery in await watcher.settled()}
