"""The access rules of docs/home-assistant.md: enough for the bot and for Home Assistant, and no more than that."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.mosquitto import MOSQUITTO, MOSQUITTO_PUB, MOSQUITTO_SUB, Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]

GUIDE = (ROOT / "docs" / "home-assistant.md").read_text()
CONFIG = "homeassistant/device/allora_mqtt_bot/config"


def block(first: str) -> str:
    """Return the block of the guide that begins with a line."""
    blocks: list[str] = re.split(r"^```.*\n", GUIDE, flags=re.MULTILINE)[1::2]
    return next(text for text in blocks if text.startswith(first))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "acl").write_text(block("user bot"))
    for option, user in ((["-c"], "bot"), ([], "homeassistant")):
        passwd: list[str | Path] = [
            "mosquitto_passwd",
            *option,
            "-b",
            tmp_path / "passwords",
            user,
            f"secret of {user}",
        ]
        subprocess.run(passwd, check=True, capture_output=True)
    for name in ("acl", "passwords"):
        (tmp_path / name).chmod(0o600)
    lines = [line for line in block("listener").replace("/etc/mosquitto", str(tmp_path)).splitlines()
             if not line.startswith("listener")]  # fmt: skip
    broker = Mosquitto(tmp_path / "mosquitto", *lines)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def bot(broker: Mosquitto, tmp_path: Path) -> Iterator[Bot]:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(broker.port)}
    bot = Bot(CHECKOUT, tmp_path / "bot", {**where, "MQTT_USERNAME": "bot", "MQTT_PASSWORD": "secret of bot"})
    bot.start()
    yield bot
    bot.stop()


def client(program: str | None, port: int, *words: str) -> str:
    login = ["-h", "127.0.0.1", "-p", str(port), "-u", "homeassistant", "-P", "secret of homeassistant", "-q", "1"]
    assert program is not None
    return subprocess.run([program, *login, *words], capture_output=True, text=True, check=False).stdout.strip()


def test_they_let_both_do_their_work_and_nothing_else(broker: Mosquitto, bot: Bot) -> None:
    def look(topic: str) -> str:
        return client(MOSQUITTO_SUB, broker.port, "-t", topic, "-C", "1", "-W", "1")

    def say(topic: str, *words: str) -> None:
        client(MOSQUITTO_PUB, broker.port, "-t", topic, *words)

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
