"""Somebody publishes to a state topic, and a dashboard that has missed something asks for everything."""

import json
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


@pytest.fixture(params=["embedded", "mosquitto-5", "mosquitto-3.1.1"])
def bot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bot]:
    where = None
    if request.param != "embedded":
        mosquitto: Mosquitto = request.getfixturevalue("mosquitto")
        version = request.param.removeprefix("mosquitto-")
        where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "MQTT_PROTOCOL": version}
    bot = Bot(CHECKOUT, tmp_path / "bot", where)
    bot.start()
    yield bot
    bot.stop()


@pytest.fixture
def watcher(bot: Bot) -> Iterator[Watcher]:
    with until(lambda: connected(bot.broker_port), "the broker") as watcher:
        watcher.wait("availability", "online")
        until(lambda: watcher.json("catalog"), "the catalog")
        assert watcher.ask("ping")["status"] == "EXECUTED"
        yield watcher


def notes(watcher: Watcher) -> list[str]:
    found = [json.loads(payload) for payload in watcher.all("event/command")]
    return [note["name"] for note in found if note["error"] and note["error"]["code"] == "USE_SET_TOPIC"]


def beats(watcher: Watcher) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in watcher.all("heartbeat")]


def test_a_publish_to_a_state_topic_changes_nothing_and_is_answered(bot: Bot, watcher: Watcher) -> None:
    for topic, payload in [("mode", "ACTIVE"), ("cryptos", "BTC"), ("cryptos/BTC", "ON"), ("status", "{}")]:
        watcher.publish(topic, payload, retain=True)
        until(lambda topic=topic: topic in notes(watcher), f"a note about {topic}")  # type: ignore[misc] # mypy cannot see it
    until(lambda: watcher.last("mode") == b"STANDBY", "the true mode")
    until(lambda: watcher.json("cryptos") == {}, "the true set")
    until(lambda: watcher.last("cryptos/BTC") == b"", "nothing where the bot shows nothing")
    until(lambda: watcher.json("status").get("mode") == "STANDBY", "the true status")
    # The bot takes none of its own messages for somebody else's, those after a reconnect included.
    count = len(notes(watcher))
    watcher.command("cryptos/set", "response/cryptos", {"value": "BTC,ETH"})
    watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})
    watcher.ask("publish_state")
    time.sleep(3)
    assert len(notes(watcher)) == count
    assert bot.is_alive()


def test_who_sees_that_a_revision_is_missing_gets_everything_again(bot: Bot, watcher: Watcher) -> None:
    before = until(lambda: watcher.json("heartbeat"), "a heartbeat")["revision"]
    watcher.command("cryptos/set", "response/cryptos", {"value": "BTC"})
    after = until(lambda: [beat for beat in beats(watcher) if beat["revision"] > before], "a raised revision")[-1]
    assert watcher.json("status")["revision"] == after["revision"]
    # A dashboard that was asleep has none of it, and asks.
    watcher.forget()
    watcher.ask("publish_state")
    missing = [
        "availability",
        "mode",
        "status",
        "info",
        "config",
        "cryptos",
        "catalog",
        "account",
        "positions",
        "health",
    ]
    until(lambda: all(watcher.last(topic) for topic in missing), "every retained topic")
    assert watcher.json("status")["revision"] == after["revision"]
    assert watcher.json("status")["instance_id"] == after["instance_id"] == watcher.json("info")["instance_id"]
    assert bot.is_alive()


def test_what_a_killed_bot_leaves_of_a_coin_is_gone_when_there_is_no_more_reason_for_it(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    bot = Bot(CHECKOUT, tmp_path / "bot", where)
    bot.start()
    try:
        with Watcher(mosquitto.port) as watcher:
            watcher.wait("availability", "online")
            watcher.command("cryptos/set", "response/cryptos", {"value": "BTC,ETH"})
            until(lambda: watcher.last("cryptos/ETH"), "the coin's state")
            bot.kill()
            # Its successor knows of BTC alone.
            (bot.folder / "data" / "bot.sqlite3").unlink()
            for leftover in (bot.folder / "data").glob("bot.sqlite3-*"):
                leftover.unlink()
            bot.environment["DEFAULT_ACTIVE_CRYPTOS"] = "BTC:14"
            bot.start()
            watcher.wait("availability", "online", 60)
            until(lambda: watcher.last("cryptos/ETH") == b"", "nothing left of the coin", 30)
            assert watcher.json("cryptos") == {"BTC": 14}
    finally:
        bot.stop()
