"""Retained messages: one a topic, for those who subscribe, with the flag where it belongs."""

from tests.integration.brokers.client import unique
from tests.integration.brokers.kinds import Broker


async def test_a_retained_message_is_set_replaced_and_cleared(broker: Broker) -> None:
    topic = unique("t")
    client, live = await broker.connect(unique("c")), await broker.connect(unique("l"))
    await live.subscribe(topic)
    for payload, expected in ((b"1", [b"1"]), (b"2", [b"2"]), (b"", [])):
        await client.publish(topic, payload, retain=True)
        late = await broker.connect(unique("late"))
        await late.subscribe(topic)
        found = await late.settled()
        assert [delivery.payload for delivery in found] == expected
        assert all(delivery.retain for delivery in found)
    seen = await live.settled()
    assert [(delivery.payload, delivery.retain) for delivery in seen] == [(b"1", False), (b"2", False), (b"", False)]


async def test_a_message_that_is_not_retained_leaves_the_retained_one(broker: Broker) -> None:
    topic = unique("t")
    client = await broker.connect(unique("c"))
    await client.publish(topic, b"kept", retain=True)
    await client.publish(topic, b"passing")
    await client.publish(topic, b"")
    await client.subscribe(topic)
    assert [delivery.payload for delivery in await client.settled()] == [b"kept"]


async def test_nobody_gets_what_others_subscribed_to(broker: Broker) -> None:
    mine, others = unique("t"), unique("t")
    owner = await broker.connect(unique("o"))
    await owner.subscribe(f"{others}/#")
    for number in range(10):
        await owner.publish(f"{others}/{number}", b"secret", retain=True)
    await owner.publish(mine, b"mine", retain=True)
    stranger = await broker.connect(unique("s"))
    assert await stranger.settled() == []
    await stranger.subscribe(mine)
    assert [delivery.topic for delivery in await stranger.settled()] == [mine]


async def test_a_resumed_session_gets_retained_messages_by_subscribing_only(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    first = await broker.connect(name, clean=False)
    await first.publish(topic, b"kept", retain=True)
    await first.subscribe(topic)
    await first.next()
    await first.disconnect()
    second = await broker.connect(name, clean=False)
    assert await second.settled() == []
    for _ in range(2):
        await second.subscribe(topic)
        found = await second.settled()
        assert [(delivery.payload, delivery.retain) for delivery in found] == [(b"kept", True)]


async def test_queued_messages_come_before_the_retained_ones_of_a_new_subscription(broker: Broker) -> None:
    """What the bot's inbox builds on: it cannot know the order from the messages alone."""
    name, topic = unique("c"), unique("t")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False)
    await first.subscribe(topic)
    await first.disconnect()
    await publisher.publish(topic, b"kept", 0, retain=True)
    await publisher.publish(topic, b"queued")
    second = await broker.connect(name, clean=False)
    await second.subscribe(topic)
    found = await second.settled()
    assert [(delivery.payload, delivery.retain) for delivery in found] == [(b"queued", False), (b"kept", True)]


async def test_a_retained_message_that_was_queued_is_not_marked_as_one(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False)
    await first.subscribe(topic)
    await first.disconnect()
    await publisher.publish(topic, b"state", retain=True)
    second = await broker.connect(name, clean=False)
    assert [(delivery.payload, delivery.retain) for delivery in await second.settled()] == [(b"state", False)]
