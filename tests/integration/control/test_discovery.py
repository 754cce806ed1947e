"""When Home Assistant is told of the bot, with a wire that is played by hand."""

import asyncio

import pytest

from allora_mqtt.control.discovery import Discovery
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.wire import Packet
from allora_mqtt.discovery.device import encode, message
from allora_mqtt.protocol.errors import BotError, ErrorCode
from tests.integration.control.bench import HandWire
from tests.unit.discovery.things import subject

CONFIG, BIRTH = "homeassistant/device/allora_mqtt_bot/config", "homeassistant/status"


class Scene:
    """A discovery between a broker and Home Assistant."""

    def __init__(self) -> None:
        self.wire = HandWire()
        outbox = Outbox()
        outbox.attach(self.wire)
        self.stored: list[list[str]] = []
        self.store_fails = False
        self.discovery = Discovery(subject("BTC"), "homeassistant", outbox, [], self.store, 0)

    async def store(self, removed: list[str]) -> None:
        if self.store_fails:
            raise BotError(ErrorCode.STORE_UNAVAILABLE, "The disk is full.")
        self.stored.append(removed)

    def deliver(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        self.discovery.on_packet(Packet(topic, payload, retained, None, lambda: None))

    async def connect(self, kept: bytes = b"") -> None:
        self.discovery.on_session()
        if kept:
            self.deliver(CONFIG, kept, retained=True)
        self.discovery.on_mailbox_read()
        await self.rest()

    async def rest(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def sent(self) -> list[bytes]:
        assert all(each.retain for each in self.wire.sent)
        found = self.wire.on(CONFIG)
        assert len(found) == len(self.wire.sent)
        self.wire.sent.clear()
        return found


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    scene.discovery.show([])
    return scene


PLAIN, WITH_ETH = encode(message(subject("BTC"))), encode(message(subject("BTC", "ETH")))


async def test_nothing_is_sent_before_what_lies_there_is_known(scene: Scene) -> None:
    scene.discovery.on_session()
    scene.discovery.show(["ETH"])
    scene.deliver(BIRTH, b"online")
    await scene.rest()
    assert scene.sent() == []
    scene.discovery.on_mailbox_read()
    await scene.rest()
    assert scene.sent() == [WITH_ETH]


async def test_it_is_sent_once_and_again_only_where_it_is_not_there(scene: Scene) -> None:
    await scene.connect()
    assert scene.sent() == [PLAIN]
    scene.deliver(CONFIG, PLAIN)
    for _ in range(3):
        scene.deliver(BIRTH, b"online")
        scene.discovery.show([])
    await scene.connect(kept=PLAIN)
    assert scene.sent() == []
    await scene.connect()
    assert scene.sent() == [PLAIN]


async def test_what_was_removed_comes_back_with_the_next_birth(scene: Scene) -> None:
    await scene.connect(kept=PLAIN)
    scene.deliver(CONFIG, b"")
    await scene.rest()
    assert scene.sent() == []
    scene.deliver(BIRTH, b"offline")
    await scene.rest()
    assert scene.sent() == []
    scene.deliver(BIRTH, b"online")
    await scene.rest()
    assert scene.sent() == [PLAIN]


async def test_the_second_message_of_a_removal_waits_for_the_first(scene: Scene) -> None:
    await scene.connect(kept=WITH_ETH)
    first, second = scene.sent()
    assert b'"crypto_eth":{"p":"switch"}' in first
    assert second == PLAIN
    scene.wire.acknowledges = False
    await scene.connect(kept=WITH_ETH)
    assert scene.sent() == [first]


async def test_a_coin_that_goes_while_nobody_may_see_it_goes_again_until_somebody_has(scene: Scene) -> None:
    await scene.connect(kept=WITH_ETH)
    gone = scene.sent()
    assert scene.stored == [["ETH"]]
    await scene.connect(kept=PLAIN)
    assert scene.sent() == [WITH_ETH, *gone]
    scene.deliver(BIRTH, b"online")
    await scene.rest()
    assert scene.sent() == [WITH_ETH, *gone]
    assert scene.stored[-1] == []
    scene.deliver(BIRTH, b"online")
    await scene.connect(kept=PLAIN)
    assert scene.sent() == []


async def test_a_coin_that_goes_before_home_assistants_eyes_is_gone(scene: Scene) -> None:
    await scene.connect(kept=PLAIN)
    scene.deliver(BIRTH, b"online")
    scene.discovery.show(["ETH"])
    await scene.rest()
    scene.discovery.show([])
    await scene.rest()
    assert len(scene.sent()) == 3
    assert scene.stored == []
    scene.deliver(BIRTH, b"offline")
    scene.discovery.show(["ETH"])
    await scene.rest()
    scene.discovery.show([])
    await scene.rest()
    assert scene.stored == [["ETH"]]


async def test_a_coin_that_is_there_again_is_not_removed_any_more(scene: Scene) -> None:
    await scene.connect(kept=WITH_ETH)
    scene.discovery.show(["ETH"])
    await scene.rest()
    assert scene.sent()[-1] == WITH_ETH
    assert scene.stored == [["ETH"], []]
    await scene.connect(kept=WITH_ETH)
    assert scene.sent() == []


async def test_a_full_disk_keeps_no_coin_there(scene: Scene) -> None:
    scene.store_fails = True
    await scene.connect(kept=WITH_ETH)
    assert scene.sent()[-1] == PLAIN


async def test_a_line_that_is_cut_leaves_the_rest_to_the_next_one(scene: Scene) -> None:
    scene.wire.acknowledges = False
    await scene.connect(kept=WITH_ETH)
    cut = scene.wire.sent[0]
    (first,) = scene.sent()
    cut.future.cancel()
    scene.wire.is_up = False
    scene.discovery.on_lost()
    await scene.rest()
    for _ in range(3):
        scene.discovery.show(["SOL"])
        scene.discovery.show([])
        await scene.rest()
    scene.wire.is_up = scene.wire.acknowledges = True
    assert scene.sent() == []
    await scene.connect(kept=first)
    assert scene.sent() == [WITH_ETH, first, PLAIN]


async def test_a_broker_that_cuts_the_line_for_it_is_left_in_peace_until_home_assistant_starts(scene: Scene) -> None:
    scene.wire.acknowledges = False
    for _ in range(3):
        await scene.connect()
        cut = scene.wire.sent[0].future
        assert scene.sent() == [PLAIN]
        cut.cancel()
        scene.discovery.on_lost()
        await scene.rest()
    await scene.connect()
    scene.discovery.show(["ETH"])
    await scene.rest()
    assert scene.sent() == []
    scene.wire.acknowledges = True
    scene.deliver(BIRTH, b"online")
    await scene.rest()
    assert scene.sent() == [WITH_ETH]


async def test_coins_that_change_meanwhile_end_in_the_newest(scene: Scene) -> None:
    scene.wire.acknowledges = False
    await scene.connect()
    scene.discovery.show(["ETH", "SOL"])
    scene.discovery.show(["ETH"])
    waiting = scene.wire.sent[0].future
    assert scene.sent() == [PLAIN]
    scene.wire.acknowledges = True
    waiting.set_result(None)
    await scene.rest()
    assert scene.sent() == [WITH_ETH]


@pytest.mark.parametrize("absurd", [b"", b"ONLINE", b"\xff" * 70_000, b'{"online":1}', b"online "])
async def test_a_strange_birth_is_none(scene: Scene, absurd: bytes) -> None:
    await scene.connect(kept=PLAIN)
    scene.deliver(CONFIG, b"")
    scene.deliver(BIRTH, absurd)
    await scene.rest()
    assert scene.sent() == []


async def test_of_a_gigantic_message_on_our_topic_only_a_part_is_kept(scene: Scene) -> None:
    await scene.connect(kept=b"[" * 5_000_000)
    assert len(scene.discovery._present) < 2 * 1024 * 1024
    assert scene.sent() == [PLAIN]
