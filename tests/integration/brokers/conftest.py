"""Every test in this folder that asks for a `broker` runs on every broker."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from allora_mqtt.transport.embedded_broker import EmbeddedBroker, Limits
from tests.integration.brokers.kinds import EMBEDDED, KINDS, Broker, Kind
from tests.support.mosquitto import MOSQUITTO, Mosquitto


@pytest.fixture(scope="session")
def shared_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One mosquitto for all tests that do not restart it."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    # It writes everything down after each message otherwise: thousands of them would take a minute.
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"), "autosave_interval 1800", "autosave_on_changes false")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The broker and protocol of this run."""
    found: Kind = request.param
    return found


@pytest.fixture
async def broker(kind: Kind, request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """A broker that runs. mosquitto is shared: names must be `unique`."""
    if kind is EMBEDDED:
        async with embedded() as running:
            yield running
        return
    mosquitto: Mosquitto = request.getfixturevalue("shared_mosquitto")
    running = Broker(kind, mosquitto.port)
    try:
        yield running
    finally:
        await running.close_clients()


@asynccontextmanager
async def embedded(limits: Limits | None = None, port: int = 0) -> AsyncIterator[Broker]:
    """The bot's own broker."""
    server = EmbeddedBroker("127.0.0.1", port, limits)
    await server.start()
    running = Broker(EMBEDDED, server.port)
    try:
        yield running
    finally:
        await running.close_clients()
        await server.stop()
