"""Sessions: who continues one, who takes one over, and who starts anew."""

import asyncio

import pytest

from tests.integration.brokers.client import Will, unique
from tests.integration.brokers.kinds import Broker


async def test_a_session_is_present_from_its_second_connection_on_and_until_a_clean_one(broker: Broker) -> None:
    name, seen = unique("c"), []
    for clean in (False, False, True, False):
        client = await broker.connect(name, clean=clean)
        seen.append(client.session_present)
        await client.disconnect()
    assert seen == [False, True, False, False]


async def test_a_clean_connection_ends_the_session_with_its_subscriptions_and_its_queue(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False)
    await first.subscribe(topic)
    await first.disconnect()
    await publisher.publish(topic, b"queued")
    second = await broker.connect(name)
    await publisher.publish(topic, b"live")
    assert await second.settled() == []
    await second.disconnect()
    third = await broker.connect(name, clean=False)
    assert await third.settled() == []


async def test_a_clean_session_ends_with_its_connection(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    witness = await broker.connect(unique("w"))
    first = await broker.connect(name)
    await first.subscribe(topic)
    await first.crash(witness)
    await witness.publish(topic, b"missed")
    second = await broker.connect(name, clean=False)
    assert not second.session_present
    assert await second.settled() == []


async def test_what_was_unsubscribed_is_not_queued(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False)
    await first.subscribe(topic)
    await first.unsubscribe(topic)
    await first.disconnect()
    await publisher.publish(topic, b"x")
    second = await broker.connect(name, clean=False)
    assert await second.settled() == []


async def test_a_second_connection_takes_over_the_session_and_what_is_on_its_way(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, clean=False, acknowledges=False)
    await first.subscribe(topic)
    await publisher.publish(topic, b"unacknowledged")
    await first.next()
    second = await broker.connect(name, clean=False)
    assert second.session_present
    await first.wait_gone()
    await publisher.publish(topic, b"new")
    found = await second.settled()
    assert [(delivery.payload, delivery.again) for delivery in found] == [(b"unacknowledged", True), (b"new", False)]
    assert first.inbox.empty()


async def test_a_takeover_in_the_middle_of_a_long_queue_loses_and_doubles_nothing(broker: Broker) -> None:
    name, topic, total = unique("c"), unique("t"), 1000
    publisher = await broker.connect(unique("p"))
    client = await broker.connect(name, clean=False)
    await client.subscribe(topic)
    await client.disconnect()
    await asyncio.gather(*(publisher.publish(topic, str(number).encode() + bytes(5000)) for number in range(total)))
    deaf = [await broker.connect(name, clean=False, acknowledges=False) for _ in range(5)]
    last = await broker.connect(name, clean=False)
    found = [int(delivery.payload.rstrip(b"\0")) for delivery in await last.settled()]
    assert found == list(range(total))
    for each in deaf:
        await each.wait_gone()


async def test_who_was_replaced_is_not_heard_any_more(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    watcher = await broker.connect(unique("w"))
    await watcher.subscribe(topic)
    first = await broker.connect(name)
    for _ in range(5000):
        first.publish_soon(topic, b"first", 0)
    await watcher.next()
    second = await broker.connect(name)
    await second.publish(topic, b"second")
    await first.wait_gone()
    assert (await watcher.settled())[-1].payload == b"second"


async def test_a_clean_session_that_is_taken_over_leaves_nothing_behind(broker: Broker) -> None:
    name, topic, state = unique("c"), unique("t"), unique("state")
    publisher = await broker.connect(unique("p"))
    first = await broker.connect(name, will=Will(state, b"offline", retain=True))
    await first.subscribe(topic)
    second = await broker.connect(name)
    await second.publish(state, b"online", retain=True)
    await first.wait_gone()
    await publisher.publish(topic, b"x")
    assert await second.settled() == []
    await publisher.subscribe(state)
    assert (await publisher.next()).payload == b"online"


async def test_who_fights_over_a_name_leaves_one_connection_that_works(broker: Broker) -> None:
    name, topic = unique("c"), unique("t")
    clients = await asyncio.gather(*(broker.connect(name, clean=False) for _ in range(10)))
    last = await broker.connect(name, clean=False)
    for client in clients:
        await client.wait_gone()
    await last.subscribe(topic)
    await last.publish(topic, b"x")
    assert (await last.next()).payload == b"x"


async def test_a_session_takes_the_clean_flag_and_the_will_of_its_newest_connection(broker: Broker) -> None:
    name, state = unique("c"), unique("state")
    witness = await broker.connect(unique("w"))
    await witness.subscribe(state)
    first = await broker.connect(name, clean=False, will=Will(state, b"first"))
    await first.disconnect()
    second = await broker.connect(name, clean=False, will=Will(state, b"second"))
    second.abort()
    assert (await witness.next()).payload == b"second"
    assert await witness.settled() == []


@pytest.mark.parametrize("name", ["", "with space/slash", "k" * 200, "ünïcode"])
async def test_any_client_id_will_do(broker: Broker, name: str) -> None:
    topic = unique("t")
    client = await broker.connect(name)
    assert client.return_code == 0
    await client.subscribe(topic)
    await client.publish(topic, b"x")
    assert (await client.next()).payload == b"x"


async def test_a_session_needs_a_name_on_311(broker: Broker) -> None:
    client = await broker.connect("", clean=False)
    assert client.return_code == (0 if broker.kind.level == 5 else 2)
