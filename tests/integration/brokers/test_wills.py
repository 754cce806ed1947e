"""Wills: said when a client vanishes, in whatever way, and not when it goes in good order."""

import asyncio

import pytest

from tests.integration.brokers.client import Will, unique
from tests.integration.brokers.kinds import Broker


@pytest.mark.parametrize("way", ["reset", "end of stream"])
async def test_a_will_is_said_and_kept_when_the_client_is_killed(broker: Broker, way: str) -> None:
    state = unique("state")
    witness = await broker.connect(unique("w"))
    await witness.subscribe(state, 1)
    client = await broker.connect(unique("c"), will=Will(state, b"offline", retain=True))
    if way == "reset":
        client.abort()
    else:
        client.wire.writer.close()
    said = await witness.next()
    assert (said.payload, said.qos, said.retain) == (b"offline", 1, False)
    late = await broker.connect(unique("l"))
    await late.subscribe(state, 0)
    kept = await late.next()
    assert (kept.payload, kept.qos, kept.retain) == (b"offline", 0, True)


async def test_no_will_after_a_disconnect(broker: Broker) -> None:
    state = unique("state")
    witness = await broker.connect(unique("w"))
    await witness.subscribe(state)
    for _ in range(20):
        # At once: amqtt took a DISCONNECT soon after the CONNECT for a death.
        client = await broker.connect(unique("c"), will=Will(state, b"offline"))
        await client.disconnect()
    assert await witness.settled() == []


async def test_who_is_silent_for_longer_than_its_keepalive_is_dead_and_who_pings_is_not(broker: Broker) -> None:
    state = unique("state")
    witness = await broker.connect(unique("w"))
    await witness.subscribe(state)
    silent = await broker.connect(unique("s"), keepalive_s=1, will=Will(state, b"silent"))
    alive = await broker.connect(unique("a"), keepalive_s=1, will=Will(state, b"alive"))

    async def keep_alive() -> None:
        while True:
            await alive.ping()
            await asyncio.sleep(0.3)

    keeping = asyncio.create_task(keep_alive())
    # The other one's death shows that the time was long enough.
    assert (await witness.next()).payload == b"silent"
    await silent.wait_gone()
    await alive.ping()
    keeping.cancel()
    await alive.disconnect()
    assert await witness.settled() == []


async def test_a_takeover_of_a_session_never_leaves_a_stale_will(broker: Broker) -> None:
    name, state = unique("c"), unique("state")
    witness = await broker.connect(unique("w"))
    await witness.subscribe(state)
    first = await broker.connect(name, clean=False, will=Will(state, b"offline", retain=True))
    second = await broker.connect(name, clean=False, will=Will(state, b"offline", retain=True))
    await second.publish(state, b"online", retain=True)
    await first.wait_gone()
    said = [delivery.payload for delivery in await witness.settled()]
    assert said == ([b"offline"] if broker.kind.tells_the_will_of_a_taken_over_session else []) + [b"online"]
    late = await broker.connect(unique("l"))
    await late.subscribe(state)
    assert (await late.next()).payload == b"online"
