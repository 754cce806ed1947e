"""The bot's device message on real brokers: sent when it is needed, and only then."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Watcher, connected
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

pytestmark = pytest.mark.e2e

CONFIG = "device/allora_mqtt_bot/config"
COIN = {"crypto_doge", *(f"crypto_doge_{what}" for what in ("price", "prediction", "gap", "accuracy", "position"))}
LONG_ENOUGH_S = 2.5
"""The bot looks at its coins once a second."""


def broker_of(request: pytest.FixtureRequest) -> dict[str, str] | None:
    if request.param == "embedded":
        return None
    mosquitto: Mosquitto = request.getfixturevalue("mosquitto")
    version = request.param.removeprefix("mosquitto-")
    return {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "MQTT_PROTOCOL": version}


@pytest.fixture(params=["embedded", "mosquitto-5", "mosquitto-3.1.1"])
def bot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bot]:
    bot = Bot(CHECKOUT, tmp_path / "bot", broker_of(request))
    bot.start()
    yield bot
    bot.stop()


@pytest.fixture
def house(bot: Bot) -> Iterator[Watcher]:
    """What Home Assistant sees of its own topics."""
    until(lambda: connected(bot.broker_port), "the broker").__exit__(None, None, None)
    with Watcher(bot.broker_port, "homeassistant") as house:
        until(lambda: house.last(CONFIG), "the device message")
        yield house


def messages(house: Watcher) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in house.all(CONFIG)]


def kept(bot: Bot) -> bytes | None:
    """Return what a newcomer finds on the topic."""
    with Watcher(bot.broker_port, "homeassistant") as newcomer:
        time.sleep(0.3)
        return newcomer.last(CONFIG)


def test_it_is_there_once_and_stays_as_it_is(bot: Bot, house: Watcher) -> None:
    assert {"crypto_btc", "crypto_avax"} <= messages(house)[-1]["cmps"].keys()
    for payload in ("online", "offline", "", "{", "\x00", "online" * 10_000):
        house.publish("status", payload)
    house.publish("status", b"\xff\xfe")
    house.publish("status", "online", retain=True)
    time.sleep(LONG_ENOUGH_S)
    assert len(house.all(CONFIG)) == 1
    assert kept(bot) == house.all(CONFIG)[0]
    assert bot.is_alive()


def test_a_coin_comes_in_one_message_and_goes_in_two(bot: Bot, house: Watcher) -> None:
    before = house.all(CONFIG)[-1]
    house.forget()
    with Watcher(bot.broker_port) as watcher:
        assert watcher.ask("activate", symbol="doge")["data"]["active"] == {"DOGE": 103}
        until(lambda: house.all(CONFIG), "the coin")
        assert watcher.command("cryptos/DOGE/set", "response/cryptos", {"value": "OFF"})["status"] == "EXECUTED"
    until(lambda: len(house.all(CONFIG)) == 3, "its removal")
    added, going, gone = messages(house)
    assert added["cmps"].keys() >= COIN
    assert {key for key, component in going["cmps"].items() if component.keys() == {"p"}} == COIN
    assert gone == json.loads(before)
    assert kept(bot) == before


def test_cleared_it_stays_away_until_home_assistant_starts(bot: Bot, house: Watcher) -> None:
    before = house.all(CONFIG)[-1]
    assert bot.cli("discovery", "clear").returncode == 0
    until(lambda: house.last(CONFIG) == b"", "it is cleared")
    time.sleep(LONG_ENOUGH_S)
    assert house.last(CONFIG) == b""
    assert kept(bot) is None
    shown = bot.cli_json("discovery", "show")
    assert not shown["published"]
    assert shown["message"] == json.loads(before)
    house.publish("status", "online")
    until(lambda: house.last(CONFIG) == before, "it is back")
    shown = bot.cli_json("discovery")
    assert shown == {"topic": f"homeassistant/{CONFIG}", "published": True, "bytes": len(before),
                     "message": json.loads(before)}  # fmt: skip


@pytest.mark.parametrize("bot", ["mosquitto-5", "mosquitto-3.1.1"], indirect=True)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_remembers_is_not_told_again_and_one_that_forgot_is(
    bot: Bot, house: Watcher, mosquitto: Mosquitto, how: signal.Signals, tmp_path: Path
) -> None:
    before = house.all(CONFIG)[-1]
    time.sleep(1)
    mosquitto.stop(how)
    house.forget()
    mosquitto.start()
    with Watcher(bot.broker_port) as watcher:
        watcher.wait("availability", "online", 30)
        assert watcher.ask("ping")["status"] == "EXECUTED"
    time.sleep(LONG_ENOUGH_S)
    assert set(house.all(CONFIG)) == {before}
    mosquitto.stop()
    (tmp_path / "mosquitto" / "mosquitto.db").unlink()
    mosquitto.start()
    until(lambda: kept(bot) == before, "it is there again", 30)


@pytest.mark.parametrize("bot", ["mosquitto-5"], indirect=True)
def test_garbage_of_others_is_replaced_at_the_next_start(bot: Bot, house: Watcher) -> None:
    before = house.all(CONFIG)[-1]
    bot.kill()
    for garbage in (b"\xff" * 100, b"[" * 2_000_000, b'{"cmps":{"x":{"p":"light","name":"y"}}}'):
        house.publish(CONFIG, garbage, retain=True)
        bot.start()
        until(lambda: house.last(CONFIG) == before, "it is as it was", 30)
        bot.kill()
    assert b'"x":{"p":"light"}' in house.all(CONFIG)[-2]


@pytest.mark.parametrize("bot", ["mosquitto-5"], indirect=True)
def test_turned_off_it_says_nothing_and_takes_nothing_back(bot: Bot, house: Watcher) -> None:
    before = house.all(CONFIG)[-1]
    bot.stop()
    bot.environment["MQTT_DISCOVERY"] = "false"
    house.forget()
    bot.start()
    with Watcher(bot.broker_port) as watcher:
        watcher.wait("availability", "online", 30)
        assert watcher.ask("activate", symbol="DOGE")["status"] == "EXECUTED"
    house.publish("status", "online")
    time.sleep(LONG_ENOUGH_S)
    assert house.all(CONFIG) == []
    assert kept(bot) == before


@pytest.mark.parametrize("bot", ["mosquitto-5"], indirect=True)
def test_two_bots_on_one_broker_are_two_devices(bot: Bot, house: Watcher, tmp_path: Path) -> None:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(bot.broker_port)}
    alice = Bot(CHECKOUT, tmp_path / "alice", where, MQTT_BASE_TOPIC="bots/alice")
    alice.start()
    try:
        other = until(lambda: house.json("device/allora_mqtt_bots_-alice/config"), "the second device", 30)
        assert other["dev"]["ids"] == ["allora_mqtt_bots_-alice"]
        assert alice.cli("discovery", "clear").returncode == 0
        until(lambda: house.last("device/allora_mqtt_bots_-alice/config") == b"", "it is gone")
        assert house.last(CONFIG)
    finally:
        alice.stop()
