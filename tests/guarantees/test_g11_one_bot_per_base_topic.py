"""G11: one bot per base topic and per account; a second one says so and does not trade beside the first."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG
from tests.guarantees.standing import LIVELY
from tests.support.client import Watcher
from tests.support.exchange import Exchange, entries
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_NOTICED_S = 90
_GONE_S = 40
"""A second bot is forgotten when nothing has been heard of it for a quarter of a minute and some heartbeats."""
VERSIONS = ["5", "3.1.1"] if IS_LONG else ["5"]


@dataclass
class Pair:
    """Two bots on one base topic, each with a data folder and an account of its own."""

    first: Bot
    second: Bot
    exchange: Exchange
    watcher: Watcher

    def said(self, bot: Bot, topic: str) -> list[dict[str, Any]]:
        """Return what one of the two has published there; both publish to the same topics."""
        infos = [json.loads(payload) for payload in self.watcher.all("info")]
        mine = {each["instance_id"] for each in infos if each["settings"]["BOT_DATA_DIR"] == _data(bot)}
        found = [json.loads(payload) for payload in self.watcher.all(topic)]
        return [each for each in found if each["instance_id"] in mine]

    def entries_of(self, bot: Bot, since: int = 0) -> int:
        """Count the entries that one of the two has sent."""
        infos = self.said(bot, "info")
        found = entries(self.exchange.arrivals(since))
        return sum(each["signer"] == infos[-1]["account_address"].lower() for each in found) if infos else 0

    def has_warned(self, bot: Bot) -> bool:
        """Whether one of the two has said in its status that there is another."""
        warnings = [each for status in self.said(bot, "status") for each in status["warnings"]]
        return any(each["code"] == "DUPLICATE_INSTANCE" for each in warnings)

    def activate(self) -> dict[str, Any]:
        """Send ACTIVE and return the first answer."""
        return self.watcher.command("mode/set", "response/mode", {"value": "ACTIVE"}, 30)

    def last_arrival(self) -> int:
        """Return the number of the newest request at the exchange."""
        return max((arrival["seq"] for arrival in self.exchange.arrivals()), default=0)


def test_a_data_folder_serves_one_bot(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with _pair(tmp_path, mosquitto, "5", "own client ids") as pair:
        pair.second.environment["BOT_DATA_DIR"] = _data(pair.first)
        pair.second.start()
        assert pair.second.wait(60) == 2
        said = pair.second.log.read_text()
        assert f"Another bot uses {_data(pair.first)}" in said
        assert "BOT_DATA_DIR" in said
        assert pair.first.is_alive()
        record("G11", "same data folder", second_exit_code=2)


def test_an_account_serves_one_bot_of_a_machine(tmp_path: Path, mosquitto: Mosquitto) -> None:
    key = {"HL_SECRET_KEY": f"0x{'5a' * 32}"}
    with _pair(tmp_path, mosquitto, "5", "own client ids", **key) as pair:
        pair.second.environment["MQTT_BASE_TOPIC"] = "other"
        pair.second.start()
        assert pair.second.wait(60) == 2
        assert "trades on the account 0x" in pair.second.log.read_text()
        # What a bot held is free as soon as it is gone, however it went.
        pair.first.kill()
        pair.second.start()
        with Watcher(mosquitto.port, "other") as watcher:
            watcher.wait("availability", "online", 30)
        assert pair.second.stop() == 0
        record("G11", "same account", second_exit_code=2)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client_id", ["same client id", "own client ids"])
def test_beside_a_bot_that_trades_a_second_one_does_not(
    version: str, client_id: str, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with _pair(tmp_path, mosquitto, version, client_id) as pair:
        assert pair.activate()["status"] == "EXECUTED"
        until(lambda: pair.entries_of(pair.first), "an entry of the first")
        pair.second.start()
        for _ in range(20):
            # Whoever gets it, at whatever moment of the second one's start.
            pair.watcher.publish("mode/set", "ACTIVE")
            time.sleep(0.1)
        until(lambda: pair.has_warned(pair.second), "the second one's warning", _NOTICED_S)
        until(lambda: pair.has_warned(pair.first), "the first one's warning", _NOTICED_S)
        refused = pair.activate()
        assert (refused["status"], refused["error"]["code"]) == ("REJECTED", "DUPLICATE_INSTANCE")
        noticed = pair.last_arrival()
        if client_id == "own client ids":
            until(lambda: pair.entries_of(pair.first, noticed), "that the first goes on", 90)
        else:
            # A STANDBY may reach only the other one: neither trades.
            time.sleep(3)
            assert entries(pair.exchange.arrivals(noticed)) == []
        assert pair.entries_of(pair.second) == 0
        pair.second.kill()
        gone = pair.last_arrival()
        until(lambda: pair.entries_of(pair.first, gone), "that the first trades by itself", _GONE_S)
        until(lambda: not pair.said(pair.first, "status")[-1]["warnings"], "no warning any more", _GONE_S)
        record("G11", f"{client_id}, MQTT {version}", second_entries=0, first_entries=pair.entries_of(pair.first))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client_id", ["same client id", "own client ids"])
def test_when_the_first_ends_the_second_takes_its_place(
    version: str, client_id: str, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with _pair(tmp_path, mosquitto, version, client_id, BOT_DEFAULT_MODE="ACTIVE") as pair:
        until(lambda: pair.entries_of(pair.first), "an entry of the first")
        # It is to trade from its start on, and nobody says anything to it.
        pair.second.start()
        until(lambda: pair.has_warned(pair.second), "the second one's warning", _NOTICED_S)
        assert pair.entries_of(pair.second) == 0
        pair.first.kill()
        until(lambda: pair.entries_of(pair.second), "that the second trades by itself", _GONE_S)
        assert pair.activate()["status"] == "EXECUTED"
        record("G11", f"the first ends, {client_id}, MQTT {version}", second_trades_after_first=1)


@contextmanager
def _pair(folder: Path, mosquitto: Mosquitto, version: str, client_id: str, **settings: str) -> Iterator[Pair]:
    with ExitStack() as stack:
        exchange = stack.enter_context(Exchange(folder / "exchange", epoch_s=1))
        first = _bot(folder / "first", mosquitto, exchange, version, **settings)
        own_id = {"MQTT_CLIENT_ID": "the-second"} if client_id == "own client ids" else {}
        second = _bot(folder / "second", mosquitto, exchange, version, **settings, **own_id)
        watcher = stack.enter_context(Watcher(mosquitto.port))
        for bot in (first, second):
            stack.callback(bot.stop)
        first.start()
        watcher.wait("availability", "online", 30)
        yield Pair(first, second, exchange, watcher)
        for bot in (first, second):
            assert "Traceback" not in bot.log.read_text()


def _bot(folder: Path, mosquitto: Mosquitto, exchange: Exchange, version: str, **settings: str) -> Bot:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "MQTT_PROTOCOL": version}
    wanted = {**LIVELY, "DEFAULT_ACTIVE_CRYPTOS": "BTC:14,ETH:13", **exchange.settings, **settings}
    return Bot(CHECKOUT, folder, where, **wanted)


def _data(bot: Bot) -> str:
    return bot.environment["BOT_DATA_DIR"]
