"""Topics and filters."""

import asyncio

import pytest

from tests.integration.brokers.client import unique
from tests.integration.brokers.kinds import Broker

REFUSED = 0x80


@pytest.mark.parametrize(
    ("topic_filter", "inside", "outside"),
    [
        ("a/b", ["a/b"], ["a", "a/b/", "a/b/c", "A/b"]),
        ("a/+", ["a/b", "a/"], ["a", "a/b/c", "b/a"]),
        ("a/#", ["a", "a/", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("+", ["a"], ["a/b", "/a"]),
        ("+/+", ["a/b", "/b", "a/"], ["a", "a/b/c"]),
        ("+/b/#", ["a/b", "a/b/c"], ["b", "a/c"]),
        ("#", ["a", "a/b/c", "/"], []),
        ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/b/c"]),
    ],
)
async def test_wildcards(broker: Broker, topic_filter: str, inside: list[str], outside: list[str]) -> None:
    base = unique("t")
    client = await broker.connect(unique("c"))
    await client.subscribe(f"{base}/{topic_filter}")
    for topic in inside + outside:
        await client.publish(f"{base}/{topic}")
    assert [delivery.topic for delivery in await client.settled()] == [f"{base}/{topic}" for topic in inside]


@pytest.mark.parametrize("topic_filter", ["a/#/b", "a+/b", "a/b#", "#a", "+a", ""])
async def test_a_filter_that_is_none_is_refused(broker: Broker, topic_filter: str) -> None:
    client = await broker.connect(unique("c"))
    asking = asyncio.create_task(client.subscribe(topic_filter))
    await asyncio.wait([asking])
    # Closing the connection is an answer too.
    assert client.is_gone.is_set() if asking.cancelled() else asking.result() >= REFUSED


async def test_wildcards_do_not_reach_dollar_topics_and_publishing_there_harms_nobody(broker: Broker) -> None:
    topic = unique("t")
    client, other = await broker.connect(unique("c")), await broker.connect(unique("o"))
    await other.subscribe("#", 0)
    await other.subscribe(f"+/{topic}")
    await client.publish(f"$x/{topic}", b"x")
    await client.publish(f"$x/{topic}", b"x", retain=True)
    # The publisher's connection goes on: amqtt acknowledged and dropped all that came after.
    await client.publish(topic, b"after")
    assert [delivery.payload for delivery in await other.settled() if topic in delivery.topic] == [b"after"]
    await client.publish(f"$x/{topic}", b"", retain=True)


async def test_overlapping_subscriptions_give_the_highest_quality_of_service(broker: Broker) -> None:
    topic = unique("t")
    client = await broker.connect(unique("c"))
    await client.subscribe(f"{topic}/+", 0)
    await client.subscribe(f"{topic}/#", 1)
    await client.publish(f"{topic}/x")
    best = max(delivery.qos for delivery in await client.settled())
    assert best == (1 if broker.kind.gives_overlaps_the_highest_qos else 0)


async def test_shared_subscriptions_work_or_are_refused(broker: Broker) -> None:
    topic = unique("t")
    client = await broker.connect(unique("c"))
    code = await client.subscribe(f"$share/group/{topic}")
    await client.publish(topic, b"x")
    found = await client.settled()
    if broker.kind.has_shared_subscriptions:
        assert (code, len(found)) == (1, 1)
    else:
        assert (code, found) == (REFUSED, [])


@pytest.mark.parametrize("topic", ["grüße", "a b", "x" * 1000, "/", "a.b"])
async def test_any_text_is_a_topic(broker: Broker, topic: str) -> None:
    whole = f"{unique('t')}/{topic}"
    client = await broker.connect(unique("c"))
    await client.subscribe(whole)
    await client.publish(whole, b"x")
    assert (await client.next()).topic == whole
