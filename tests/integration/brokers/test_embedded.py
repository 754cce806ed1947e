"""What only the embedded broker promises: bounds, its login, and that nothing is left of who has gone."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from amqtt.session import Session
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from allora_mqtt.transport.embedded_broker import EmbeddedBroker, Limits, PortTaken, UntriedAmqtt, embedded
from allora_mqtt.transport.embedded_broker.listener import HardenedBroker
from allora_mqtt.transport.embedded_broker.router import Router
from tests.integration.brokers.client import (
    CONNACK,
    CONNECT,
    PINGREQ,
    PUBLISH,
    SUBSCRIBE,
    WAIT_S,
    Client,
    Wire,
    connect_packet,
    packet,
    text,
    unique,
)
from tests.integration.brokers.kinds import EMBEDDED, Broker
from tests.support.mosquitto import MOSQUITTO_SUB


@asynccontextmanager
async def limited(**limits: float) -> AsyncIterator[tuple[Broker, Router]]:
    """The broker with these limits, and its memory."""
    server = EmbeddedBroker("127.0.0.1", 0, Limits(**limits))  # type: ignore[arg-type]  # mypy takes ** for one type
    await server.start()
    running = Broker(EMBEDDED, server.port)
    try:
        yield running, server._broker._router
    finally:
        await running.close_clients()
        await server.stop()


async def see(look: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not look():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", [b"", b"\x10", b"\x10\x20\0\4MQTT"], ids=len)
async def test_a_connect_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    async with limited(connect_timeout_s=0.2) as (broker, _):
        wire = await Wire.open(broker.port)
        wire.send(sent)
        await wire.wait_closed()


@pytest.mark.parametrize(
    ("limits", "size"), [({"queued_messages": 50}, 1), ({"queued_bytes": 60_000}, 1000)], ids=["messages", "bytes"]
)
async def test_the_queue_of_an_absent_client_is_bounded_and_the_log_says_what_was_dropped(
    limits: dict[str, int], size: int, caplog: pytest.LogCaptureFixture
) -> None:
    name, topic = unique("c"), unique("t")
    async with limited(**limits) as (broker, _):
        publisher = await broker.connect(unique("p"))
        first = await broker.connect(name, clean=False)
        await first.subscribe(topic)
        await first.disconnect()
        for number in range(80):
            await publisher.publish(topic, str(number).rjust(size).encode())
        second = await broker.connect(name, clean=False)
        found = [int(delivery.payload) for delivery in await second.settled() if delivery.topic == topic]
        assert found == list(range(len(found)))
        assert 40 < len(found) <= 50
    said = [record.getMessage() for record in caplog.records if "drop" in record.getMessage()]
    assert len(said) == 2
    assert f"has dropped {80 - len(found)} messages for '{name}'" in said[1]


async def test_a_client_that_does_not_read_holds_no_more_than_its_limit() -> None:
    name, topic = unique("c"), unique("t")
    async with limited(queued_bytes=1_000_000) as (broker, router):
        deaf = Wire(*await asyncio.open_connection(sock=_with_little_room(broker.port)))
        deaf.send(connect_packet(name) + packet(SUBSCRIBE, b"\0\1" + text(topic) + b"\0", 2))
        await see(lambda: name in router._clients and router._clients[name].subscriptions)
        publisher = await broker.connect(unique("p"))
        for _ in range(20):
            await asyncio.gather(*(publisher.publish(topic, bytes(10_000)) for _ in range(50)))
        client = router._clients[name]
        line = client.line
        assert 900_000 < client.mailbox.size <= 1_000_000
        assert line is not None
        assert line._writer.transport.get_write_buffer_size() < 300_000  # type: ignore[attr-defined]  # a Connection
        deaf.writer.transport.abort()


async def test_a_client_that_does_not_read_its_answers_is_not_read_either() -> None:
    name = unique("c")
    async with limited() as (broker, router):
        with _with_little_room(broker.port) as deaf:
            deaf.sendall(connect_packet(name))
            await see(lambda: name in router._clients)
            line = router._clients[name].line
            assert line is not None
            buffer = line._writer.transport  # type: ignore[attr-defined]  # a Connection
            buffer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            deaf.setblocking(False)
            pinging = asyncio.create_task(asyncio.get_running_loop().sock_sendall(deaf, packet(PINGREQ) * 5_000_000))
            await see(lambda: buffer.get_write_buffer_size() > 64 * 1024)
            other = await broker.connect(unique("o"))
            for _ in range(100):
                await other.ping()
            assert buffer.get_write_buffer_size() < 80 * 1024
            assert not pinging.done()
            pinging.cancel()
            await asyncio.wait([pinging])


def _with_little_room(port: int) -> socket.socket:
    """Return a connection with a small receive buffer, so that not reading is felt soon."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    return connection


async def test_a_packet_beyond_the_limit_is_refused_before_it_is_read() -> None:
    async with limited(packet_bytes=1000, connect_bytes=500) as (broker, _):
        client = await broker.connect(unique("c"))
        await client.publish("t", bytes(900))
        client.wire.send(packet(PUBLISH, bytes(1001))[:10])
        await client.wait_gone()
        wire = await Wire.open(broker.port)
        wire.send(connect_packet("k" * 600)[:10])
        await wire.wait_closed()


async def test_retained_messages_are_bounded_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async with limited(retained_messages=5) as (broker, _):
        client = await broker.connect(unique("c"))
        for number in range(8):
            await client.publish(f"t/{number}", b"x", retain=True)
        await client.publish("t/0", b"y", retain=True)
        await client.subscribe("t/#")
        found = {(delivery.topic, delivery.payload) for delivery in await client.settled()}
        assert found == {("t/0", b"y"), *((f"t/{number}", b"x") for number in range(1, 5))}
    assert sum("keeps no further ones" in record.getMessage() for record in caplog.records) == 1


async def test_subscriptions_are_bounded() -> None:
    async with limited(filters=3) as (broker, _):
        client = await broker.connect(unique("c"))
        assert [await client.subscribe(f"t/{number}") for number in (0, 1, 2, 3, 2)] == [1, 1, 1, 0x80, 1]


async def test_the_longest_absent_session_makes_room() -> None:
    async with limited(absent_sessions=2) as (broker, router):
        for name in ("first", "second", "third"):
            await (await broker.connect(name, clean=False)).disconnect()
        await see(lambda: set(router._clients) == {"second", "third"})


def test_a_session_is_forgotten_when_it_has_been_absent_for_too_long() -> None:
    now = [0.0]
    router = Router(Limits(absent_for_s=100), lambda: now[0])

    class Line:
        def wake(self) -> None:
            pass

        def close(self) -> None:
            pass

    def visit(name: str) -> bool:
        session, line = Session(), Line()
        session.client_id, session.clean_session = name, False
        client, resumed = router.admit(session, line)
        router.leave(client, line, said_goodbye=True)
        return resumed

    seen = []
    for moment in (0, 99, 190, 291):
        now[0] = moment
        seen.append(visit("somebody"))
    assert seen == [False, True, True, False]


async def test_a_refused_login_with_somebodys_client_id_harms_nobody() -> None:
    listeners = {"default": {"type": "tcp", "bind": "127.0.0.1:0"}}
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}}
    server = HardenedBroker({"listeners": listeners, "plugins": plugins}, Limits())
    await server.start()
    try:
        victim = Wire(*await asyncio.open_connection("127.0.0.1", server.port))
        victim.send(connect_packet("victim", clean=False, username="somebody"))
        assert (await victim.receive())[2] == b"\0\0"
        for clean in (True, False):
            thief = await Wire.open(server.port)
            thief.send(connect_packet("victim", clean=clean))
            assert await thief.receive() == (CONNACK, 0, b"\0\5")
            await thief.wait_closed()
        victim.send(packet(PINGREQ))
        assert (await victim.receive())[0] == PINGREQ + 1
        victim.writer.transport.abort()
    finally:
        await server.shutdown()


USERS = {"alice": "right"}


@pytest.mark.parametrize(
    ("username", "password", "answer"),
    [
        ("alice", "right", b"\0\0"),
        ("alice", "wrong", b"\0\5"),
        ("alice", "", b"\0\5"),
        ("bob", "right", b"\0\5"),
        ("bob", "", b"\0\5"),
        (None, None, b"\0\5"),
    ],
)
async def test_with_users_only_they_get_in(username: str | None, password: str | None, answer: bytes) -> None:
    server = EmbeddedBroker("127.0.0.1", 0, users=USERS)
    await server.start()
    try:
        wire = await Wire.open(server.port)
        wire.send(connect_packet("somebody", username=username, password=password))
        assert await wire.receive() == (CONNACK, 0, answer)
        wire.writer.transport.abort()
    finally:
        await server.stop()


def _browser(port: int, password: str) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, transport="websockets", protocol=MQTTProtocolVersion.MQTTv311)
    client.username_pw_set("alice", password)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


async def test_browsers_are_clients_like_others() -> None:
    server = EmbeddedBroker("127.0.0.1", 0, users=USERS, websockets=("127.0.0.1", 0))
    await server.start()
    assert server._door is not None
    port = server._door.port
    try:
        heard: list[bytes | bytearray] = []
        client = await asyncio.to_thread(_browser, port, "right")
        client.on_message = lambda _client, _data, message: heard.append(message.payload)
        await see(client.is_connected)
        client.subscribe("t", 1)
        large = bytes(range(256)) * 4096
        client.publish("t", large, 1)
        client.publish("t", b"small", 1)
        await see(lambda: len(heard) == 2)
        assert heard == [large, b"small"]
        client.loop_stop()
        stranger = await asyncio.to_thread(_browser, port, "wrong")
        await asyncio.sleep(0.3)
        assert not stranger.is_connected()
        stranger.loop_stop()
    finally:
        await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_browser_that_speaks_no_mqtt_is_sent_away() -> None:
    server = EmbeddedBroker("127.0.0.1", 0, users=USERS, websockets=("127.0.0.1", 0))
    await server.start()
    assert server._door is not None
    try:
        async with connect(f"ws://127.0.0.1:{server._door.port}", subprotocols=[Subprotocol("mqtt")]) as browser:
            await browser.send("hello")
            with pytest.raises(ConnectionClosed) as closed:
                await browser.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == CloseCode.UNSUPPORTED_DATA
    finally:
        await server.stop()


async def test_a_taken_port_for_websockets_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EmbeddedBroker("127.0.0.1", 0, users=USERS, websockets=("127.0.0.1", port))
        with pytest.raises(PortTaken, match=f"EMBEDDED_BROKER_WS_BIND=127.0.0.1:{port + 1}"):
            await server.start()


async def test_nothing_is_left_of_who_has_gone() -> None:
    async with limited() as (broker, router):
        await (await broker.connect(unique("c"))).disconnect()
        before = asyncio.all_tasks()
        clients = [await broker.connect(unique("c")) for _ in range(20)]
        for number, client in enumerate(clients):
            await client.subscribe("t")
            if number % 2:
                await client.disconnect()
            else:
                await client.close()
        await see(lambda: not router._clients and len(asyncio.all_tasks()) <= len(before))


async def test_a_sender_that_mixes_up_its_packet_ids_loses_nothing() -> None:
    async with limited() as (broker, _):
        client = await broker.connect(unique("c"))
        await client.subscribe("t")
        client.wire.send(packet(PUBLISH, text("t") + b"\0\7two", 4) + packet(PUBLISH, text("t") + b"\0\7one", 2))
        assert [delivery.payload for delivery in await client.take(2)] == [b"two", b"one"]


async def test_who_spoke_while_the_process_stood_still_is_not_taken_for_silent() -> None:
    async with limited() as (broker, _):
        client = await broker.connect(unique("c"), keepalive_s=1)
        client.wire.send(packet(PINGREQ))
        time.sleep(1.7)  # noqa: ASYNC251 - the bot and its broker share one loop, which is held up here
        await client.ping()


@pytest.mark.parametrize("name", ["bot/mode", "bot/status"])
async def test_mosquitto_sub_gets_what_it_asked_for_first(name: str) -> None:
    """What a newcomer types: it printed another client's retained message."""
    if MOSQUITTO_SUB is None:
        pytest.skip("mosquitto_sub is not installed (apt-get install mosquitto-clients)")
    async with limited() as (broker, _):
        watcher = await broker.connect(unique("w"))
        await watcher.subscribe("bot/#")
        for topic in ("bot/availability", "bot/config", "bot/mode", "bot/status"):
            await watcher.publish(topic, topic.encode(), retain=True)
        process = await asyncio.create_subprocess_exec(
            MOSQUITTO_SUB, "-p", str(broker.port), "-t", name, "-C", "1", "-v", stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(WAIT_S):
            said, _ = await process.communicate()
        assert said.decode().split() == [name, name]


async def test_another_amqtt_than_the_one_that_was_tried_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.13.0")
    with pytest.raises(UntriedAmqtt, match=r"0\.13\.0.*0\.12\.1.*MQTT_HOST"):
        await EmbeddedBroker("127.0.0.1", 0).start()


def test_the_amqtt_that_was_tried_is_the_one_that_is_installed_with_the_bot() -> None:
    project = Path(__file__).parents[3] / "pyproject.toml"
    assert f'"amqtt=={embedded.TRIED_AMQTT}"' in project.read_text()


async def test_a_fault_of_the_broker_costs_one_connection_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited() as (broker, router):
        healthy = await broker.connect(unique("h"))

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("a fault")

        monkeypatch.setattr(router, "subscribe", fail)
        unlucky: Client = await broker.connect(unique("u"))
        with pytest.raises(asyncio.CancelledError):
            await unlucky.subscribe("t")
        await unlucky.wait_gone()
        await healthy.ping()
    assert [record.levelno for record in caplog.records if "a fault" in str(record.exc_info)] == [logging.ERROR]


_HEAD = text("MQTT") + b"\4"
_REST = b"\0\x3c" + text("id")


@pytest.mark.parametrize(
    "raw",
    [
        packet(CONNECT, _HEAD + b"\2" + _REST + b"more"),
        packet(CONNECT, _HEAD + b"\2" + _REST, 1),
        packet(CONNECT, _HEAD + b"\6" + _REST + text("will/#") + text("x")),
        packet(CONNECT, _HEAD + b"\x1e" + _REST + text("will") + text("x")),
        packet(CONNECT, _HEAD + b"\x22" + _REST),
        packet(CONNECT, _HEAD + b"\2\0\x3c" + text(b"\xff")),
    ],
    ids=[
        "longer than its fields",
        "flags",
        "a will with a wildcard",
        "will QoS 3",
        "retain without a will",
        "no UTF-8",
    ],
)
async def test_a_connect_that_the_standard_forbids_is_not_let_in(raw: bytes) -> None:
    async with limited() as (broker, router):
        wire = await Wire.open(broker.port)
        wire.send(raw)
        await wire.wait_closed()
        assert not router._clients


async def test_the_end_of_the_broker_cuts_its_clients() -> None:
    server = EmbeddedBroker("127.0.0.1", 0)
    await server.start()
    client = await Client.connect(server.port, EMBEDDED.level, unique("c"))
    silent = await Wire.open(server.port)
    await client.ping()
    await server.stop()
    await client.wait_gone()
    await silent.wait_closed()
    await client.close()
