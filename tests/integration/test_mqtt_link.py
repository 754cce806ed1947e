"""The link against real brokers: mosquitto, and the embedded one as a stranger would meet it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from allora_mqtt.control.wire import Packet
from allora_mqtt.settings import MqttSettings
from allora_mqtt.transport.embedded_broker import EmbeddedBroker, PortTaken
from allora_mqtt.transport.mqtt import Endpoint, MqttLink, Subscription, Will
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

    def on_session(self, *, resumed: bool) -> None:
        self.sessions.append(resumed)

    def on_subscribed(self) -> None:
        self.subscribed += 1

    def on_packet(self, packet: Packet) -> None:
        self.packets.append(packet)
        if self.acknowledges:
            packet.acknowledge()

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


async def test_it_speaks_5_where_the_broker_does(mosquitto: Mosquitto) -> None:
    notes = Notes()
    async with link(mosquitto.port, notes) as under_test:
        await see(lambda: notes.subscribed)
        assert under_test.protocol == "5"


async def test_it_falls_back_to_311_where_a_connect_with_5_is_not_answered_and_remembers_that() -> None:
    broker = EmbeddedBroker("127.0.0.1", 0)
    await broker.start()
    notes = Notes()
    try:
        async with link(broker.port, notes) as under_test:
            await see(lambda: notes.subscribed)
            assert under_test.protocol == "3.1.1"
    finally:
        await broker.stop()


@PROTOCOLS
async def test_what_was_not_acknowledged_comes_again_to_the_next_life(mosquitto: Mosquitto, protocol: str) -> None:
    first = Notes(acknowledges=False)
    async with link(mosquitto.port, first, protocol) as sender:
        await see(lambda: first.subscribed)
        await sender.publish("x/mode/set", b"ACTIVE")
        await see(lambda: first.packets)
    second = Notes()
    async with link(mosquitto.port, second, protocol):
        await see(lambda: second.packets)
        assert second.sessions == [True]
        assert (second.packets[0].payload, second.packets[0].again) == (b"ACTIVE", True)
        assert second.packets[0].packet_id == first.packets[0].packet_id
    third = Notes()
    async with link(mosquitto.port, third, protocol) as last:
        await see(lambda: third.subscribed)
        await last.publish("x/mode/set", b"marker")
        await see(lambda: third.packets)
        assert [packet.payload for packet in third.packets] == [b"marker"]


@PROTOCOLS
async def test_commands_sent_while_it_is_away_wait_in_the_session(mosquitto: Mosquitto, protocol: str) -> None:
    notes = Notes()
    async with link(mosquitto.port, notes, protocol):
        await see(lambda: notes.subscribed)
    other = Notes()
    async with link(mosquitto.port, other, protocol, client_id="somebody") as somebody:
        await see(lambda: other.subscribed)
        for number in range(50):
            await somebody.publish("x/config/set", json.dumps(number).encode())
    back = Notes()
    async with link(mosquitto.port, back, protocol):
        await see(lambda: len(back.packets) == 50)
        assert [int(packet.payload) for packet in back.packets] == list(range(50))


@PROTOCOLS
async def test_a_retained_qos_0_command_from_while_it_was_away_is_seen(mosquitto: Mosquitto, protocol: str) -> None:
    """retainHandling=1 would withhold it: the one case in which the message exists nowhere else."""
    notes = Notes()
    async with link(mosquitto.port, notes, protocol):
        await see(lambda: notes.subscribed)
    other = Notes()
    async with link(mosquitto.port, other, protocol, client_id="somebody") as somebody:
        await see(lambda: other.subscribed)
        somebody.publish("x/mode/set", b"STANDBY", retain=True, qos=0)
        await somebody.publish("x/other/set", b"done")
    back = Notes()
    async with link(mosquitto.port, back, protocol):
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
