"""The link against real brokers: mosquitto, and the embedded one as a stranger would meet it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from allora_mqtt.control.wire import Packet
from allora_mqtt.settings import MqttSettings
from allora_mqtt.transport.connection import Endpoint, Subscription, Will
from allora_mqtt.transport.embedded_broker import EmbeddedBroker, PortTaken
from allora_mqtt.transport.mqtt import MqttLink
from tests.support.mosquitto import Mosquitto
from tests.support.net import free_port

PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@dataclass
class Notes:
    """A listener that notes what it is told, and acknowledges packets when asked to."""

    acknowledges: bool = True
    sessions: list[bool] = field(default_factory=list)
    subscribed: int = 0
    packets: list[Packet] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    taken_over: int = 0

    def on_session(self, *, resumed: bool) -> None:
        self.sessions.append(resumed)

    def on_subscribed(self) -> None:
        self.subscribed += 1

    def on_packet(self, packet: Packet) -> None:
        self.packets.append(packet)
        if self.acknowledges:
            packet.acknowledge()

    def on_taken_over(self) -> None:
        self.taken_over += 1

    def on_lost(self, reason: str) -> None:
        self.lost.append(reason)


async def see(look: Callable[[], object], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not look():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def link(
    port: int, notes: Notes, protocol: str = "auto", client_id: str = "under-test", **settings: object
) -> AsyncIterator[MqttLink]:
    """A link that runs for as long as the block, and then goes as if the process had died."""
    chosen = MqttSettings.model_validate({"protocol": protocol, "client_id": client_id, **settings})
    subscriptions = [Subscription("x/+/set"), Subscription("x/request/+", keep_retain_flag=True)]
    under_test = MqttLink(
        chosen, Endpoint("127.0.0.1", port), subscriptions, Will("x/availability", b"offline"), notes, lambda: 0.5
    )
    running = asyncio.create_task(under_test.run())
    try:
        yield under_test
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@dataclass(frozen=True)
class Served:
    """A broker that runs, and the protocol to speak with it."""

    port: int
    protocol: str


@pytest.fixture(params=["embedded", "mosquitto-5", "mosquitto-3.1.1"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    if request.param != "embedded":
        yield Served(request.getfixturevalue("mosquitto").port, request.param.removeprefix("mosquitto-"))
        return
    broker = EmbeddedBroker("127.0.0.1", 0)
    await broker.start()
    yield Served(broker.port, "3.1.1")
    await broker.stop()


async def test_it_speaks_5_where_the_broker_does(mosquitto: Mosquitto) -> None:
    notes = Notes()
    async with link(mosquitto.port, notes) as under_test:
        await see(lambda: notes.subscribed)
        assert under_test.protocol == "5"


@asynccontextmanager
async def silent_about_5(port: int) -> AsyncIterator[int]:
    """A broker that does not answer a CONNECT with MQTT 5, as amqtt by itself; the one at `port` does the rest."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while raw := await reader.read(65_536):
            writer.write(raw)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(9)
        if head[8] == 5:
            await reader.read()
            writer.close()
            return
        behind, before = await asyncio.open_connection("127.0.0.1", port)
        before.write(head)
        await asyncio.gather(pass_on(reader, before), pass_on(behind, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("answer", ["refused", "none"])
async def test_it_falls_back_to_311_where_a_connect_with_5_gets_no_session_and_remembers_that(answer: str) -> None:
    broker = EmbeddedBroker("127.0.0.1", 0)
    await broker.start()
    notes = Notes()
    try:
        async with AsyncExitStack() as stack:
            port = broker.port if answer == "refused" else await stack.enter_async_context(silent_about_5(broker.port))
            under_test = await stack.enter_async_context(link(port, notes))
            await see(lambda: notes.subscribed)
            assert under_test.protocol == "3.1.1"
    finally:
        await broker.stop()


async def test_what_was_not_acknowledged_comes_again_to_the_next_life(served: Served) -> None:
    first = Notes(acknowledges=False)
    async with link(served.port, first, served.protocol) as sender:
        await see(lambda: first.subscribed)
        await sender.publish("x/mode/set", b"ACTIVE")
        await see(lambda: first.packets)
    second = Notes()
    async with link(served.port, second, served.protocol):
        await see(lambda: second.packets)
        assert second.sessions == [True]
        assert (second.packets[0].payload, second.packets[0].again) == (b"ACTIVE", True)
        assert second.packets[0].packet_id == first.packets[0].packet_id
    third = Notes()
    async with link(served.port, third, served.protocol) as last:
        await see(lambda: third.subscribed)
        await last.publish("x/mode/set", b"marker")
        await see(lambda: third.packets)
        assert [packet.payload for packet in third.packets] == [b"marker"]


async def test_commands_sent_while_it_is_away_wait_in_the_session(served: Served) -> None:
    notes = Notes()
    async with link(served.port, notes, served.protocol):
        await see(lambda: notes.subscribed)
    other = Notes()
    async with link(served.port, other, served.protocol, client_id="somebody") as somebody:
        await see(lambda: other.subscribed)
        for number in range(50):
            await somebody.publish("x/config/set", json.dumps(number).encode())
    back = Notes()
    async with link(served.port, back, served.protocol):
        await see(lambda: len(back.packets) == 50)
        assert [int(packet.payload) for packet in back.packets] == list(range(50))


async def test_a_retained_qos_0_command_from_while_it_was_away_is_seen(served: Served) -> None:
    """retainHandling=1 would withhold it: the one case in which the message exists nowhere else."""
    notes = Notes()
    async with link(served.port, notes, served.protocol):
        await see(lambda: notes.subscribed)
    other = Notes()
    async with link(served.port, other, served.protocol, client_id="somebody") as somebody:
        await see(lambda: other.subscribed)
        somebody.publish("x/mode/set", b"STANDBY", retain=True, qos=0)
        await somebody.publish("x/other/set", b"done")
    back = Notes()
    async with link(served.port, back, served.protocol):
        await see(lambda: any(packet.retained and packet.payload == b"STANDBY" for packet in back.packets))


@PROTOCOLS
async def test_it_comes_back_by_itself_when_the_broker_does(mosquitto: Mosquitto, protocol: str) -> None:
    notes = Notes()
    async with link(mosquitto.port, notes, protocol) as under_test:
        await see(lambda: notes.subscribed == 1)
        mosquitto.stop()
        await see(lambda: notes.lost)
        assert not under_test.is_up
        assert under_test.publish("x/y", b"nobody listens").cancelled()
        mosquitto.start()
        await see(lambda: notes.subscribed == 2)
        assert notes.sessions[-1] is True


async def test_it_waits_for_a_broker_that_is_not_there_yet(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    notes = Notes()
    async with link(mosquitto.port, notes) as under_test:
        await see(lambda: under_test.last_error)
        assert "cannot be reached" in str(under_test.last_error)
        mosquitto.start()
        await see(lambda: notes.subscribed)


async def test_the_retain_flag_of_an_action_is_seen_live_on_mqtt_5(mosquitto: Mosquitto) -> None:
    notes = Notes()
    async with link(mosquitto.port, notes, "5") as under_test:
        await see(lambda: notes.subscribed)
        await under_test.publish("x/request/flatten", b"PRESS", retain=True)
        await under_test.publish("x/mode/set", b"ACTIVE", retain=True)
        await see(lambda: len(notes.packets) == 2)
        assert {packet.topic: packet.retained for packet in notes.packets} == {
            "x/request/flatten": True,
            "x/mode/set": False,
        }


async def test_an_acknowledgement_for_another_connection_is_not_sent(mosquitto: Mosquitto) -> None:
    notes = Notes(acknowledges=False)
    async with link(mosquitto.port, notes) as under_test:
        await see(lambda: notes.subscribed == 1)
        await under_test.publish("x/mode/set", b"ACTIVE")
        await see(lambda: len(notes.packets) == 1)
        mosquitto.stop()
        mosquitto.start()
        await see(lambda: notes.subscribed == 2 and len(notes.packets) == 2)
        notes.packets[0].acknowledge()
    again = Notes()
    async with link(mosquitto.port, again):
        await see(lambda: again.packets)
        assert again.packets[0].payload == b"ACTIVE"


async def test_a_taken_port_is_told_before_the_broker_starts() -> None:
    port = free_port()
    first, second = EmbeddedBroker("127.0.0.1", port), EmbeddedBroker("127.0.0.1", port)
    await first.start()
    try:
        with pytest.raises(PortTaken, match="EMBEDDED_BROKER_BIND"):
            await second.start()
    finally:
        await first.stop()


async def test_what_the_broker_did_not_take_before_the_line_was_cut_is_not_sent_on_the_next_one() -> None:
    published: list[list[bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A broker that takes subscriptions and acknowledges no message."""
        published.append([])
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, length = await reader.readexactly(2)
                content = await reader.readexactly(length)
                match kind >> 4:
                    case 1:
                        writer.write(b"\x20\x02\x01\x00")
                    case 3:
                        published[-1].append(content)
                        if len(published) == 1:
                            return
                    case 8:
                        writer.write(b"\x90\x04" + content[:2] + b"\x01\x01")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    notes = Notes()
    async with server, link(server.sockets[0].getsockname()[1], notes, protocol="3.1.1") as under_test:
        await see(lambda: notes.subscribed == 1)
        cleared = under_test.publish("x/mode/set", b"", retain=True)
        await see(lambda: notes.subscribed == 2)
        assert cleared.cancelled()
        after = under_test.publish("x/after", b"1")
        await see(lambda: published[1])
        assert len(published) == 2
        assert published[1][0].endswith(b"x/after" + published[1][0][9:11] + b"1")
        after.cancel()


@PROTOCOLS
async def test_two_with_one_client_id_do_not_take_the_session_from_each_other_without_end(
    mosquitto: Mosquitto, protocol: str
) -> None:
    first, second = Notes(), Notes()
    async with link(mosquitto.port, first, protocol) as one:
        await see(lambda: first.subscribed)
        async with link(mosquitto.port, second, protocol):
            await see(lambda: first.subscribed + second.subscribed >= 5)
            so_far = first.subscribed + second.subscribed
            await asyncio.sleep(3)
            assert first.subscribed + second.subscribed - so_far <= 4
        await see(lambda: one.is_up)


async def test_a_broker_that_says_who_took_the_session_is_understood() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def packet() -> bytes:
            size = (await reader.readexactly(2))[1]
            return await reader.readexactly(size)

        await packet()
        writer.write(b"\x20\x03\x00\x00\x00")
        identifier = (await packet())[:2]
        writer.write(b"\x90\x05" + identifier + b"\x00\x01\x01")
        # DISCONNECT, 0x8E: session taken over. Not every broker says so; mosquitto 2.0.11 does not.
        writer.write(b"\xe0\x01\x8e")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    notes = Notes()
    async with server, link(server.sockets[0].getsockname()[1], notes, "5"):
        await see(lambda: notes.lost)
    assert notes.taken_over > 0
    # What is lost is published in `health`, and the client id is what the session is taken with.
    assert "under-test" not in notes.lost[0]
    assert "MQTT_CLIENT_ID" in notes.lost[0]
