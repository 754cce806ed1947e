"""QoS 1 and 2: nothing acknowledged comes again, nothing else is lost, and the order stays."""

import asyncio

import pytest

from tests.integration.brokers.client import Client, Delivery, unique
from tests.integration.brokers.kinds import Broker


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(delivery.payload) for delivery in deliveries]


async def publish_numbers(publisher: Client, topic: str, which: range, qos: int = 1) -> None:
    """Publish many without waiting for each, and wait for the last."""
    # mosquitto takes no more than 20 of QoS 2 at once.
    batch = len(which) if qos < 2 else 20
    async with asyncio.timeout(30):
        for begin in range(0, len(which), batch):
            part = which[begin : begin + batch]
            await asyncio.gather(*(publisher.publish_soon(topic, str(number).encode(), qos) for number in part))


async def test_what_was_not_acknowledged_comes_again_first_and_in_order(broker: Broker) -> None:
    topic, name = unique("t"), unique("c")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False, acknowledges=False)
    await first.subscribe(topic)
    await publish_numbers(publisher, topic, range(10))
    seen = await first.take(10)
    for delivery in seen[:4]:
        first.acknowledge(delivery)
    await first.ping()
    await first.crash(publisher)
    await publish_numbers(publisher, topic, range(10, 20))
    second = await broker.connect(name, clean=False)
    assert second.session_present
    found = await second.take(16)
    assert numbers(found) == list(range(4, 20))
    assert [delivery.again for delivery in found] == [True] * 6 + [False] * 10
    assert [delivery.packet_id for delivery in found[:6]] == [delivery.packet_id for delivery in seen[4:]]
    assert await second.settled() == []


async def test_what_was_acknowledged_never_comes_again(broker: Broker) -> None:
    topic, name = unique("t"), unique("c")
    first = await broker.connect(name, clean=False)
    await first.subscribe(topic)
    await publish_numbers(first, topic, range(10))
    assert numbers(await first.take(10)) == list(range(10))
    await first.ping()
    first.abort()
    second = await broker.connect(name, clean=False)
    assert await second.settled() == []


async def test_messages_for_an_absent_session_wait_in_order(broker: Broker) -> None:
    topic, name = unique("t"), unique("c")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False)
    await first.subscribe(topic)
    await first.disconnect()
    await publish_numbers(publisher, topic, range(300))
    await publisher.publish(topic, b"-1", 0)
    second = await broker.connect(name, clean=False)
    found = await second.settled()
    assert second.session_present
    assert numbers(found) == list(range(300))
    assert {(delivery.qos, delivery.retain, delivery.again) for delivery in found} == {(1, False, False)}


async def test_thousands_survive_a_slow_subscriber_that_dies_again_and_again(broker: Broker) -> None:
    topic, name, total = unique("t"), unique("c"), 3000
    publisher = await broker.connect(unique("p"))
    acknowledged: list[int] = []
    subscriber = await broker.connect(name, clean=False, acknowledges=False)
    await subscriber.subscribe(topic)
    publishing = asyncio.create_task(publish_numbers(publisher, topic, range(total)))
    for lives in (100, 300, 600):
        for _ in range(lives):
            delivery = await subscriber.next()
            subscriber.acknowledge(delivery)
            acknowledged.append(int(delivery.payload))
        await subscriber.ping()
        subscriber.abort()
        subscriber = await broker.connect(name, clean=False, acknowledges=False)
        assert subscriber.session_present
    await publishing
    while len(acknowledged) < total:
        delivery = await subscriber.next()
        subscriber.acknowledge(delivery)
        acknowledged.append(int(delivery.payload))
    assert acknowledged == list(range(total))
    subscriber.acknowledges = True
    assert await subscriber.settled() == []


@pytest.mark.parametrize(("qos", "total"), [(1, 5000), (2, 1000)])
async def test_a_burst_arrives_whole_and_in_order(broker: Broker, qos: int, total: int) -> None:
    topic = unique("t")
    publisher, subscriber = await broker.connect(unique("p")), await broker.connect(unique("c"))
    await subscriber.subscribe(topic, qos)
    await publish_numbers(publisher, topic, range(total), qos)
    assert numbers(await subscriber.take(total)) == list(range(total))


async def test_who_does_not_acknowledge_holds_up_neither_itself_nor_others(broker: Broker) -> None:
    topic = unique("t")
    publisher = await broker.connect(unique("p"))
    await publisher.publish(topic, b"kept", retain=True)
    deaf = await broker.connect(unique("d"), acknowledges=False)
    await deaf.subscribe(topic)
    assert (await deaf.next()).payload == b"kept"
    other = await broker.connect(unique("c"))
    await other.subscribe(topic)
    await publish_numbers(deaf, topic, range(100))
    assert numbers((await other.take(101))[1:]) == list(range(100))


@pytest.mark.parametrize("subscribed", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
async def test_the_lower_quality_of_service_counts(broker: Broker, published: int, subscribed: int) -> None:
    topic, kept = unique("t"), unique("t")
    publisher, subscriber = await broker.connect(unique("p")), await broker.connect(unique("c"))
    await publisher.publish(kept, b"kept", published, retain=True)
    assert await subscriber.subscribe(topic, subscribed) == subscribed
    await publisher.publish(topic, b"live", published)
    await publisher.ping()
    await subscriber.subscribe(kept, subscribed)
    live, stored = await subscriber.take(2)
    assert (live.payload, live.qos) == (b"live", min(published, subscribed))
    assert (stored.payload, stored.qos) == (b"kept", min(published, subscribed))


async def test_a_new_subscription_to_the_same_filter_replaces_the_quality_of_service(broker: Broker) -> None:
    topic = unique("t")
    client = await broker.connect(unique("c"))
    for qos in (0, 2, 1):
        await client.subscribe(topic, qos)
        await client.publish(topic, b"x", 2)
        assert (await client.next()).qos == qos
    assert await client.settled() == []


async def test_quality_of_service_2_is_delivered_once_though_the_sender_repeats_itself(broker: Broker) -> None:
    topic, name = unique("t"), unique("p")
    subscriber = await broker.connect(unique("c"))
    await subscriber.subscribe(topic, 2)
    properties = b"\0" if broker.kind.level == 5 else b""
    body = len(topic).to_bytes(2, "big") + topic.encode() + b"\0\7" + properties + b"once"
    once, again = bytes([0x34, len(body)]) + body, bytes([0x3C, len(body)]) + body
    sender = await broker.connect(name, clean=False)
    sender.wire.send(once + again)
    await sender.ping()
    assert (await subscriber.next()).payload == b"once"
    # The PUBREL that the client sends by itself has ended it: the same packet id is a new message now.
    sender.wire.send(once)
    assert (await subscriber.next()).payload == b"once"
    assert await subscriber.settled() == []


async def test_quality_of_service_2_goes_on_where_a_crash_of_the_receiver_left_it(broker: Broker) -> None:
    topic, name = unique("t"), unique("c")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False, acknowledges=False)
    await first.subscribe(topic, 2)
    for payload in (b"taken", b"unseen"):
        await publisher.publish(topic, payload, 2)
    taken, unseen = await first.take(2)
    # PUBREC for the first; its PUBREL is left unanswered.
    first.wire.send(b"\x50\x02" + (taken.packet_id or 0).to_bytes(2, "big"))
    await first.ping()
    await first.crash(publisher)
    second = await broker.connect(name, clean=False)
    found = await second.settled()
    assert [(delivery.payload, delivery.again, delivery.packet_id) for delivery in found] == [
        (b"unseen", True, unseen.packet_id)
    ]


@pytest.mark.parametrize("payload", [b"", bytes(range(256)) * 8, b"\xff" * 1_000_000, b"\0" * 8_000_000], ids=len)
async def test_any_bytes_arrive_as_they_were_sent(broker: Broker, payload: bytes) -> None:
    topic = unique("t")
    client = await broker.connect(unique("c"))
    await client.subscribe(topic)
    await client.publish(topic, payload)
    assert (await client.next()).payload == payload


async def test_a_hundred_clients_at_once_each_get_everything_once(broker: Broker) -> None:
    topic = unique("t")
    clients = await asyncio.gather(*(broker.connect(unique("c")) for _ in range(100)))
    await asyncio.gather(*(client.subscribe(f"{topic}/#") for client in clients))
    await asyncio.gather(*(client.publish(f"{topic}/{client.client_id}") for client in clients))
    for found in await asyncio.gather(*(client.take(100) for client in clients)):
        assert {delivery.topic for delivery in found} == {f"{topic}/{client.client_id}" for client in clients}
