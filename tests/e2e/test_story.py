"""From a start on the defaults to orders on the exchange and back to STANDBY, as a user would do it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import clone_to, of_the_machine
from tests.support.client import Watcher, connected
from tests.support.mosquitto import MOSQUITTO_PUB, Mosquitto
from tests.support.net import until
from tests.support.program import Bot

pytestmark = pytest.mark.e2e

EPOCH_S = 2
"""A new simulated prediction this often: enough that a bot which ignored STANDBY would be seen to trade."""

LIVELY = {"SIM_EPOCH_S": str(EPOCH_S), "TRADE_PRICE_GAP_PCT": "0.01", "BOT_RECONCILE_INTERVAL_S": "2"}


@pytest.fixture(params=["embedded", "mosquitto-5", "mosquitto-3.1.1"])
def broker(request: pytest.FixtureRequest) -> dict[str, str] | None:
    """Settings for each kind of broker; None for the bot's own."""
    if request.param == "embedded":
        return None
    mosquitto: Mosquitto = request.getfixturevalue("mosquitto")
    version = request.param.removeprefix("mosquitto-")
    return {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "MQTT_PROTOCOL": version}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Bot]]:
    """Starts bots, and ends them after the test."""
    bots: list[Bot] = []

    def start_one(program: Path, broker: dict[str, str] | None, **settings: str) -> Bot:
        bot = Bot(program, tmp_path / f"bot{len(bots)}", broker, **settings)
        bots.append(bot)
        bot.start()
        return bot

    yield start_one
    for bot in bots:
        bot.stop()


def connect(bot: Bot) -> Watcher:
    """Return a client, as soon as the broker is there."""

    try:
        return until(lambda: attempt(bot), "the broker")
    except AssertionError as error:
        raise AssertionError(f"{error}; the bot said: {bot.log.read_text()}") from error


def attempt(bot: Bot) -> Watcher | None:
    assert bot.is_alive(), f"the bot ended: {bot.log.read_text()}"
    return connected(bot.broker_port)


def publish(bot: Bot, watcher: Watcher, topic: str, payload: str) -> None:
    """Publish a retained QoS 1 command with nothing but mosquitto_pub, or with paho where that is not installed."""
    if MOSQUITTO_PUB is None:
        watcher.publish(topic, payload, retain=True)
        return
    port = str(bot.broker_port)
    words = [MOSQUITTO_PUB, "-h", "127.0.0.1", "-p", port, "-q", "1", "-r", "-t", f"bot/{topic}", "-m", payload]
    subprocess.run(words, check=True, timeout=10)


def protected(watcher: Watcher, symbols: set[str]) -> list[dict[str, Any]] | None:
    """Return the positions once they are in these symbols, each with a stop and a target on its right side."""
    positions = watcher.json("positions")
    if not positions or {position["symbol"] for position in positions} != symbols:
        return None
    for position in positions:
        stop, target, entry = position["stop_price"], position["target_price"], position["entry_price"]
        if stop is None or target is None:
            return None
        assert (stop < entry < target) if position["side"] == "LONG" else (target < entry < stop)
    found: list[dict[str, Any]] = positions
    return found


INSTALLED = pytest.mark.parametrize(
    "installed", ["checkout", pytest.param("wheel", marks=pytest.mark.xdist_group("wheel"))]
)


def installed_program(installed: str, request: pytest.FixtureRequest) -> Path:
    program: Path = request.getfixturevalue("wheel_program" if installed == "wheel" else "program")
    return program


@pytest.mark.timeout(400)
@INSTALLED
def test_from_standby_to_trades_and_back_by_mosquitto_pub_alone(
    start: Callable[..., Bot], broker: dict[str, str] | None, installed: str, request: pytest.FixtureRequest
) -> None:
    bot = start(installed_program(installed, request), broker, **LIVELY)
    with connect(bot) as watcher:
        watcher.wait("availability", "online")
        watcher.wait("mode", "STANDBY")
        until(lambda: len(watcher.all("heartbeat")) >= 3, "heartbeats")
        beats = [beat["seq"] for beat in map(json.loads, watcher.all("heartbeat"))]
        assert beats == sorted(set(beats))

        publish(bot, watcher, "cryptos/set", "BTC,ETH")
        watcher.wait("cryptos", '{"BTC":14,"ETH":9}')
        # Predictions come and go; in STANDBY none of them becomes an order.
        until(lambda: watcher.all("event/signal"), "a signal")
        time.sleep(EPOCH_S)
        assert bot.entries() == []

        publish(bot, watcher, "mode/set", "ACTIVE")
        watcher.wait("mode", "ACTIVE")
        until(lambda: protected(watcher, {"BTC", "ETH"}), "two positions with stop and target", 30)
        entries = bot.entries()
        assert {request["outcome"]["status"] for request in entries} == {"ok"}
        assert all(request["action"]["grouping"] == "normalTpsl" for request in entries)
        assert len({request["signer"] for request in entries}) == 1
        trades = watcher.ask("trades")
        assert {trade["symbol"] for trade in trades["data"]["trades"]} == {"BTC", "ETH"}

        publish(bot, watcher, "mode/set", "STANDBY")
        watcher.wait("mode", "STANDBY")
        # A target may have been hit meanwhile; what matters is that nothing is left.
        assert set(watcher.ask("flatten")["data"]["closed"]) <= {"BTC", "ETH"}
        before = len(bot.entries())
        time.sleep(3 * EPOCH_S)
        assert len(bot.entries()) == before
        assert watcher.json("positions") == []

        # The proof that the bot would have traded: told to, it does.
        publish(bot, watcher, "mode/set", "ACTIVE")
        until(lambda: len(bot.entries()) > before, "a new entry", 30)
    assert bot.stop() == 0


@pytest.mark.timeout(400)
@INSTALLED
def test_the_same_by_the_cli(start: Callable[..., Bot], installed: str, request: pytest.FixtureRequest) -> None:
    # The exit rules stay out of it: a prediction that turns would close a position between two looks.
    bot = start(installed_program(installed, request), None, **LIVELY, TRADE_EXIT_BUFFER_PCT="50")
    with connect(bot) as watcher:
        watcher.wait("availability", "online")
        assert bot.cli_json("status")["mode"] == "STANDBY"
        assert bot.cli("mode", "active").returncode == 0
        assert "NO_CRYPTOS" in bot.cli("status").stdout
        assert bot.cli("mode", "standby").returncode == 0
        assert bot.cli_json("cryptos", "set", "BTC", "ETH:9")["data"] == {"active": {"BTC": 14, "ETH": 9}}
        assert bot.cli_json("mode", "active")["data"] == {"mode": "ACTIVE"}
        until(lambda: protected(watcher, {"BTC", "ETH"}), "two positions with stop and target", 30)
        assert {position["symbol"] for position in bot.cli_json("positions")["positions"]} == {"BTC", "ETH"}
        assert bot.cli_json("close", "ETH")["status"] == "EXECUTED"
        assert bot.cli_json("flatten", "--yes")["status"] == "EXECUTED"
        assert bot.cli_json("mode")["mode"] == "STANDBY"
        assert len(bot.cli_json("trades", "--fills")["data"]["fills"]) >= 4
        assert bot.cli_json("config", "set", "price_gap_pct=0.4")["data"] == {"price_gap_pct": 0.4}
        refused = bot.cli("config", "set", "max_leverage=1000")
        assert (refused.returncode, "OUT_OF_RANGE" in refused.stderr) == (3, True)
        assert bot.cli("cryptos", "on", "NOSUCHCOIN").returncode == 3
        assert bot.cli("cryptos", "popular").returncode == 0
        assert len(bot.cli_json("cryptos", "search", "a", "--availability", "all")["data"]["cryptos"]) > 20
        assert bot.cli("doctor").returncode == 0
        assert bot.cli("ping").returncode == 0
    assert bot.stop() == 0
    gone = bot.cli("ping", "--timeout", "1")
    assert gone.returncode == 5


def test_killed_and_started_again_it_is_in_standby_and_has_forgotten_nothing(
    start: Callable[..., Bot], broker: dict[str, str] | None, program: Path
) -> None:
    bot = start(program, broker, **LIVELY)
    with connect(bot) as watcher:
        watcher.wait("availability", "online")
        publish(bot, watcher, "cryptos/set", "BTC,ETH")
        publish(bot, watcher, "mode/set", "ACTIVE")
        positions = until(lambda: protected(watcher, {"BTC", "ETH"}), "two positions with stop and target", 30)
        commands = watcher.ask("history")["data"]["commands"]
    bot.kill()
    bot.start()
    with connect(bot) as watcher:
        watcher.wait("mode", "STANDBY")
        watcher.wait("availability", "online")
        watcher.wait("cryptos", '{"BTC":14,"ETH":9}')
        found = until(lambda: protected(watcher, {"BTC", "ETH"}), "the positions again", 30)
        kept = ("symbol", "side", "size", "entry_price", "stop_price", "target_price", "ours")
        assert [[each[key] for key in kept] for each in found] == [[each[key] for key in kept] for each in positions]
        time.sleep(2 * EPOCH_S)
        assert bot.entries() == []
        assert watcher.last("mode") == b"STANDBY"
        again = watcher.ask("history")["data"]["commands"]
        ran_before = [command for command in commands if command["name"] != "history"]
        ran_since = [command for command in again if command["name"] != "history"]
        assert [command["seq"] for command in ran_since] == [command["seq"] for command in ran_before]


@pytest.mark.parametrize("on_stop", ["keep", "flatten"])
def test_stopped_keeps_or_closes_the_positions_as_it_was_told(
    start: Callable[..., Bot], program: Path, on_stop: str
) -> None:
    # The exit rules stay out of it: a prediction that turns would close a position of its own accord.
    bot = start(
        program,
        None,
        **LIVELY,
        BOT_ON_STOP=on_stop,
        DEFAULT_ACTIVE_CRYPTOS="BTC:14,ETH:9",
        TRADE_EXIT_BUFFER_PCT="50",
    )
    with connect(bot) as watcher:
        watcher.wait("availability", "online")
        publish(bot, watcher, "mode/set", "ACTIVE")
        until(lambda: protected(watcher, {"BTC", "ETH"}), "two positions with stop and target", 30)
        publish(bot, watcher, "mode/set", "STOPPED")
        watcher.wait("mode", "STOPPED")
        if on_stop == "flatten":
            until(lambda: watcher.json("positions") == [], "no positions", 30)
            reasons = {json.loads(closed)["reason"] for closed in watcher.all("event/position_closed")}
            assert "stopped" in reasons
        exits = [order for order in map(json.loads, watcher.all("event/order")) if order["purpose"] == "exit"]
        assert bool(exits) is (on_stop == "flatten")
        assert watcher.last("mode") == b"STOPPED"


def test_a_port_that_is_taken_gets_a_sentence_and_no_traceback(start: Callable[..., Bot], program: Path) -> None:
    first = start(program, None)
    with connect(first) as watcher:
        watcher.wait("availability", "online")
        second = start(program, None, EMBEDDED_BROKER_BIND=f"127.0.0.1:{first.broker_port}")
        assert second.wait(20) == 2
        said = second.log.read_text()
        assert "EMBEDDED_BROKER_BIND" in said
        assert "Traceback" not in said


def test_after_a_clean_end_the_broker_keeps_offline(
    start: Callable[..., Bot], mosquitto: Mosquitto, program: Path
) -> None:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    bot = start(program, where)
    with connect(bot) as watcher:
        watcher.wait("availability", "online")
        until(lambda: watcher.json("catalog"), "a catalog")
        assert bot.stop() == 0
    with Watcher(mosquitto.port) as later:
        until(lambda: later.last("availability"), "what the broker keeps")
        assert later.last("availability") == b"offline"


def test_commands_sent_while_the_bot_is_away_run_when_it_comes_back(
    start: Callable[..., Bot], mosquitto: Mosquitto, program: Path
) -> None:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    bot = start(program, where, **LIVELY)
    with connect(bot) as watcher:
        watcher.wait("availability", "online")
        bot.kill()
        watcher.wait("availability", "offline", 60)
        watcher.publish("cryptos/set", "ETH")  # queued in the session
        watcher.publish("mode/set", "ACTIVE", retain=True, qos=0)  # only in the mailbox
        bot.start()
        watcher.wait("mode", "ACTIVE")
        watcher.wait("cryptos", '{"ETH":9}')
        until(lambda: watcher.last("mode/set") == b"", "the mailbox emptied")
        mosquitto.stop()
        mosquitto.start()
        watcher.wait("availability", "online", 30)
        assert watcher.ask("ping")["status"] == "EXECUTED"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_queued_standby_and_an_unseen_retained_active_end_in_standby(
    start: Callable[..., Bot], mosquitto: Mosquitto, program: Path, version: str
) -> None:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "MQTT_PROTOCOL": version}
    bot = start(program, where, **LIVELY, DEFAULT_ACTIVE_CRYPTOS="BTC:14,ETH:9")
    with connect(bot) as watcher:
        watcher.wait("availability", "online")
        assert bot.stop() == 0
        watcher.publish("mode/set", "ACTIVE", retain=True, qos=0)
        watcher.publish("mode/set", "STANDBY")
        watcher.forget()
        bot.start()
        until(lambda: len(set(watcher.all("response/mode"))) == 2, "two answers")  # each comes once or more
        answers = [json.loads(answer) for answer in watcher.all("response/mode")]
        outcomes = {(answer["status"], answer["error"] and answer["error"]["code"]) for answer in answers}
        assert outcomes == {("EXECUTED", None), ("REJECTED", "AMBIGUOUS_ORDER")}
        time.sleep(EPOCH_S)
        assert watcher.last("mode") == b"STANDBY"
        assert bot.entries() == []


@pytest.mark.timeout(400)
def test_make_run_in_a_clean_clone_brings_the_bot_online(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone_to(clone)
    bot = Bot(Path("make"), tmp_path / "bot", None, PYTHON=sys.executable, **of_the_machine())
    bot.environment["HOME"] = os.environ["HOME"]
    bot.folder = clone
    bot.start()
    try:
        with until(lambda: attempt(bot), "the broker", 300) as watcher:
            watcher.wait("availability", "online")
            watcher.wait("mode", "STANDBY")
            until(lambda: watcher.all("heartbeat"), "a heartbeat")
        said = bot.log.read_text()
        assert ".venv/bin/allora-mqtt mode active" in said
    finally:
        bot.stop()
