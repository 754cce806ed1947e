"""The broker of docs/home-assistant.md: enough for the bot and for Home Assistant, and no more than that."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.mosquitto import MOSQUITTO, MOSQUITTO_PUB, MOSQUITTO_SUB
from tests.support.net import until
from tests.support.production_broker import TLS, ProductionBroker
from tests.support.program import CHECKOUT, Bot

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]

GUIDE = ROOT / "docs" / "home-assistant.md"
CONFIG = "homeassistant/device/allora_mqtt_bot/config"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ProductionBroker]:
    broker = ProductionBroker.as_in(tmp_path / "broker", GUIDE)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def bot(broker: ProductionBroker, tmp_path: Path) -> Iterator[Bot]:
    bot = Bot(CHECKOUT, tmp_path / "bot", broker.settings("bot", TLS))
    bot.start()
    yield bot
    bot.stop()


def client(program: str | None, broker: ProductionBroker, *words: str) -> str:
    login = ["-h", "127.0.0.1", "-p", str(broker.port), "-u", "homeassistant", "-P", broker.password("homeassistant")]
    assert program is not None
    return subprocess.run(
        [program, *login, "-q", "1", *words], capture_output=True, text=True, check=False
    ).stdout.strip()


def test_they_let_both_do_their_work_and_nothing_else(broker: ProductionBroker, bot: Bot) -> None:
    def look(topic: str) -> str:
        return client(MOSQUITTO_SUB, broker, "-t", topic, "-C", "1", "-W", "1")

    def say(topic: str, *words: str) -> None:
        client(MOSQUITTO_PUB, broker, "-t", topic, *words)

    until(lambda: look("bot/availability") == "online", "the bot", 30)
    shown = json.loads(until(lambda: look(CONFIG), "the device message"))["cmps"]
    for topic, payload in ((shown["crypto_btc"]["cmd_t"], "ON"), (shown["add_crypto"]["cmd_t"], '{"symbol":"DOGE"}'),
                           (shown["max_leverage"]["cmd_t"], "3")):  # fmt: skip
        say(topic, "-m", payload)
    until(lambda: json.loads(look("bot/cryptos")) == {"BTC": 14, "DOGE": 103}, "both coins")
    until(lambda: json.loads(look("bot/config"))["max_leverage"]["value"] == 3, "the setting")
    until(lambda: "crypto_doge" in look(CONFIG), "the new coin's entities")
    say(CONFIG, "-r", "-n")
    assert look(CONFIG) == ""
    say("homeassistant/status", "-m", "online")
    until(lambda: look(CONFIG), "the device message again")
    say("bot/mode", "-r", "-m", "ACTIVE")
    assert look("bot/mode") == "STANDBY"
    assert "does not let this user" not in bot.log.read_text()
    assert "refused" not in bot.log.read_text()
