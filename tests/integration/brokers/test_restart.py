"""A broker that ends and comes back on its port."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.brokers.client import unique
from tests.integration.brokers.conftest import embedded
from tests.integration.brokers.kinds import EMBEDDED, Broker, Kind
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import free_port

Life = Callable[[], AbstractAsyncContextManager[Broker]]


@pytest.fixture
def life(kind: Kind, tmp_path: Path) -> Life:
    """Runs the broker for the length of a block, each time on the same port and with what it has kept."""
    if kind is EMBEDDED:
        port = free_port()
        return lambda: embedded(port=port)
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    mosquitto = Mosquitto(tmp_path / "mosquitto")

    @asynccontextmanager
    async def run() -> AsyncIterator[Broker]:
        mosquitto.start()
        running = Broker(kind, mosquitto.port)
        try:
            yield running
        finally:
            mosquitto.stop()
            await running.close_clients()

    return run


async def test_what_a_broker_remembers_over_a_restart(life: Life, kind: Kind) -> None:
    name, topic, state = unique("c"), unique("t"), unique("t")
    async with life() as broker:
        publisher = await broker.connect(unique("p"))
        subscriber = await broker.connect(name, clean=False, acknowledges=False)
        await subscriber.subscribe(topic)
        await publisher.publish(topic, b"unacknowledged")
        await subscriber.next()
        subscriber.abort()
        await publisher.publish(topic, b"queued")
        await publisher.publish(state, b"kept", retain=True)
    async with life() as broker:
        subscriber = await broker.connect(name, clean=False)
        assert subscriber.session_present is kind.remembers_over_a_restart
        await subscriber.subscribe(state)
        found = [delivery.payload for delivery in await subscriber.settled()]
        assert found == ([b"unacknowledged", b"queued", b"kept"] if kind.remembers_over_a_restart else [])


async def test_clients_are_cut_by_the_end_and_served_by_the_next_life(life: Life) -> None:
    name, topic = unique("c"), unique("t")
    for _ in range(3):
        async with life() as broker:
            client = await broker.connect(name)
            await client.subscribe(topic)
            await client.publish(topic, b"x")
            assert (await client.next()).payload == b"x"
        await client.wait_gone()
