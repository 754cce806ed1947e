"""What only MQTT 5 has. The embedded broker does not speak it; `test_strangers` asserts how it says so."""

import asyncio

import pytest

from tests.integration.brokers.client import (
    CORRELATION,
    MESSAGE_EXPIRY,
    RESPONSE_TOPIC,
    USER_PROPERTY,
    text,
    unique,
)
from tests.integration.brokers.kinds import MOSQUITTO_5, Broker

pytestmark = pytest.mark.parametrize("kind", [MOSQUITTO_5], ids=str)

RETAIN_AS_PUBLISHED = 0x08
NO_LOCAL = 0x04
SEND_IF_NEW = 0x10


def expiry(seconds: int) -> bytes:
    return bytes([MESSAGE_EXPIRY]) + seconds.to_bytes(4, "big")


async def test_a_message_that_has_expired_is_not_delivered(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False)
    await first.subscribe(topic)
    await first.disconnect()
    await publisher.publish(topic, b"short", properties=expiry(1))
    await publisher.publish(topic, b"long", properties=expiry(1000))
    # mosquitto counts in whole seconds.
    await asyncio.sleep(2.1)
    second = await broker.connect(name, clean=False)
    found = await second.settled()
    assert [delivery.payload for delivery in found] == [b"long"]
    assert 900 < int.from_bytes(found[0].properties[1:5], "big") <= 1000


async def test_response_topic_correlation_and_user_properties_pass_through(broker: Broker) -> None:
    topic = unique("t")
    client = await broker.connect(unique("c"))
    await client.subscribe(topic)
    properties = (
        bytes([RESPONSE_TOPIC])
        + text("answers")
        + bytes([CORRELATION])
        + text(b"\0\xff")
        + bytes([USER_PROPERTY])
        + text("id")
        + text("7")
    )
    await client.publish(topic, b"x", properties=properties)
    found = (await client.next()).properties
    for part in (text("answers"), text(b"\0\xff"), text("id") + text("7")):
        assert part in found


async def test_retain_as_published_keeps_the_flag_on_live_messages(broker: Broker) -> None:
    topic = unique("t")
    client = await broker.connect(unique("c"))
    await client.subscribe(topic, options=RETAIN_AS_PUBLISHED)
    await client.publish(topic, b"1", retain=True)
    await client.publish(topic, b"2")
    assert [(delivery.payload, delivery.retain) for delivery in await client.settled()] == [(b"1", True), (b"2", False)]


async def test_retain_handling_1_sends_retained_messages_for_a_new_subscription_only(broker: Broker) -> None:
    topic = unique("t")
    client = await broker.connect(unique("c"))
    await client.publish(topic, b"kept", retain=True)
    await client.subscribe(topic, options=SEND_IF_NEW)
    assert len(await client.settled()) == 1
    await client.subscribe(topic, options=SEND_IF_NEW)
    assert await client.settled() == []


async def test_no_local_spares_the_publisher_its_own_messages(broker: Broker) -> None:
    topic = unique("t")
    client, other = await broker.connect(unique("c")), await broker.connect(unique("o"))
    await client.subscribe(topic, options=NO_LOCAL)
    await client.publish(topic, b"mine")
    await other.publish(topic, b"theirs")
    assert [delivery.payload for delivery in await client.settled()] == [b"theirs"]
