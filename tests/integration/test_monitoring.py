"""A real bot on the simulator, seen from outside: metrics, health, readiness, log topics, the event log."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import monitoring
from tests.support.client import Watcher, connected
from tests.support.mosquitto import Mosquitto
from tests.support.net import free_port, until
from tests.support.program import CHECKOUT, Bot

LIVELY = {"SIM_EPOCH_S": "2", "TRADE_PRICE_GAP_PCT": "0.01", "DEFAULT_ACTIVE_CRYPTOS": "BTC:14,ETH:9"}


class Seen:
    """A bot with its listener."""

    def __init__(self, bot: Bot, port: int) -> None:
        self.bot = bot
        self.port = port

    def get(self, path: str, method: str = "GET") -> int:
        return monitoring.get(self.port, path, method)[0]

    def verdict(self, path: str) -> tuple[int, dict[str, Any]]:
        return monitoring.verdict(self.port, path)

    def value(self, metric: str, /, **labels: str) -> float | None:
        return monitoring.value(self.port, metric, **labels)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Seen]]:
    bots: list[Bot] = []

    def begin(mqtt: dict[str, str] | None = None, **settings: str) -> Seen:
        port = free_port()
        metrics = {"BOT_METRICS_BIND": str(port)} | settings
        bot = Bot(CHECKOUT, tmp_path / f"bot{len(bots)}", mqtt, **metrics)
        bots.append(bot)
        bot.start()
        return Seen(bot, port)

    yield begin
    for bot in bots:
        bot.stop()


def test_a_bot_becomes_ready_and_counts_what_it_does(start: Callable[..., Seen]) -> None:
    seen = start(**LIVELY)
    until(lambda: seen.verdict("/readyz") == (200, {}), "ready", 60)
    assert seen.verdict("/healthz") == (200, {})
    with Watcher(seen.bot.broker_port) as client:
        client.command("mode/set", "response/mode", {"value": "ACTIVE"})
        assert seen.value("mode", mode="ACTIVE") == 1
        assert seen.value("commands_total", name="mode", status="EXECUTED") == 1
        until(lambda: seen.value("fills_total", side="BUY") or seen.value("fills_total", side="SELL"), "a fill", 60)
        until(lambda: seen.value("position_protected"), "a position with a stop", 30)
        assert client.ask("close", symbol="DOGE")["status"] == "FAILED"
        assert client.ask("flatten")["status"] == "EXECUTED"
        until(lambda: seen.value("positions_closed_total", reason="flatten"), "its end", 30)
    assert seen.value("commands_total", name="close", status="FAILED") == 1
    assert (seen.value("mode", mode="ACTIVE"), seen.value("mode", mode="STANDBY")) == (0, 1)
    until(lambda: seen.value("orders_total", purpose="entry", status="filled"), "the entry's end", 30)
    assert seen.value("signals_total", outcome="entered")
    assert seen.value("store_commit_duration_seconds_count")


def test_nothing_else_is_served_and_only_on_this_machine(start: Callable[..., Seen]) -> None:
    seen = start()
    until(lambda: seen.verdict("/healthz")[0] == 200, "a listener", 60)
    assert [seen.get(path) for path in ("/", "/metrics/", "/debug", "/../etc/passwd")] == [404] * 4
    assert [seen.get("/metrics", method) for method in ("POST", "PUT", "DELETE")] == [405] * 3
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    own = [line.split()[3] for line in listening.splitlines() if f"pid={seen.bot.pid}," in line]
    assert f"127.0.0.1:{seen.port}" in own
    assert all(address.startswith("127.0.0.1:") for address in own)


def test_a_bot_without_its_broker_lives_and_is_not_ready(start: Callable[..., Seen], mosquitto: Mosquitto) -> None:
    seen = start({"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)})
    until(lambda: seen.verdict("/readyz") == (200, {}), "ready", 60)
    mosquitto.stop()
    until(lambda: "broker" in seen.verdict("/readyz")[1], "not ready", 20)
    status, lacks = seen.verdict("/readyz")
    assert (status, set(lacks)) == (503, {"broker", "mailbox"})
    assert seen.verdict("/healthz") == (200, {})
    assert seen.value("mqtt_connected") == 0
    mosquitto.start()
    until(lambda: seen.verdict("/readyz") == (200, {}), "ready again", 30)
    assert (seen.value("mqtt_connections_total") or 0) >= 2


def test_a_bot_that_does_not_reach_its_exchange_is_not_ready(start: Callable[..., Seen]) -> None:
    seen = start(HL_BASE_URL=f"http://127.0.0.1:{free_port()}", HL_TIMEOUT_S="1", BOT_NETWORK="sim")
    until(lambda: seen.verdict("/healthz")[0] == 200, "a listener", 60)
    until(lambda: set(seen.verdict("/readyz")[1]) == {"exchange"}, "a broker and no exchange", 30)
    assert seen.value("equity_usd") is None


def test_a_port_that_is_taken_is_said_at_the_start(start: Callable[..., Seen]) -> None:
    first = start()
    until(lambda: first.verdict("/healthz")[0] == 200, "a listener", 60)
    second = start(BOT_METRICS_BIND=f"127.0.0.1:{first.port}")
    assert second.bot.wait(60) == 2
    said = second.bot.log.read_text()
    assert f"BOT_METRICS_BIND=127.0.0.1:{first.port} cannot be listened on" in said
    assert "already in use" in said


def test_without_the_setting_nothing_of_it_is_loaded() -> None:
    code = (
        "import sys; import allora_mqtt.bot;"
        "print([name for name in sys.modules if 'prometheus' in name or 'monitoring' in name])"
    )
    done = subprocess.run([CHECKOUT.parent / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_warnings_are_told_over_mqtt_and_the_past_can_be_read(start: Callable[..., Seen]) -> None:
    seen = start(**LIVELY, BOT_LOG_MQTT="info")
    until(lambda: seen.verdict("/readyz") == (200, {}), "ready", 60)
    with Watcher(seen.bot.broker_port) as client:
        client.command("mode/set", "response/mode", {"value": "ACTIVE", "source": "test"})
        until(lambda: client.all("event/fill"), "a fill", 60)
        client.ask("flatten")
        lines = [json.loads(line) for line in client.all("log/info")]
        published = [json.loads(line) for line in client.all("event/order")]
        assert not any(retained for topic, _, retained in client.seen if topic.startswith("bot/log/"))
    about_mode = next(line for line in lines if line["message"].startswith("Command mode ACTIVE from test"))
    entry = next(line for line in lines if line["message"].startswith("Order entry"))
    signal = next(line for line in lines if line["context"].get("signal") == entry["context"]["signal"])
    fill = next(line for line in lines if line["context"].get("fill"))
    assert "an entry is made" in signal["message"]
    assert fill["context"]["order"] in {order["order_id"] for order in published}

    told = seen.bot.cli("events", "--last", "500").stdout.splitlines()
    first = next(number for number, line in enumerate(told) if "mode ACTIVE from test: EXECUTED" in line)
    assert f"[command {about_mode['context']['command']}" in told[first]
    # What the market says may come between the command and what it changes.
    assert any("ACTIVE, was STANDBY (command)" in line for line in told[first + 1 : first + 10])
    short = entry["context"]["order"][:10]
    about = [line.split()[2] for line in told if short in line]
    assert about[:2] == ["order", "fill"]
    assert about[-1] == "position_closed"
    orders = seen.bot.cli_json_lines("events", "--type", "order", "--last", "500")
    assert [line["payload"] for line in orders][: len(published)] == published


def test_events_are_followed_without_a_gap(start: Callable[..., Seen]) -> None:
    seen = start(BOT_METRICS_BIND="")
    with until(lambda: connected(seen.bot.broker_port), "the broker", 60) as client:
        client.wait("availability", "online", 60)
        client.command("mode/set", "response/mode", {"value": "ACTIVE"})
        following = subprocess.Popen(
            [seen.bot.program, "events", "--follow", "--last", "1", "--type", "mode_changed", "--count", "2"],
            cwd=seen.bot.folder,
            env=seen.bot.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert following.stdout is not None
        told = [following.stdout.readline()]
        client.command("mode/set", "response/mode", {"value": "STANDBY"})
        client.command("cryptos/set", "response/cryptos", {"value": "BTC"})
        client.command("mode/set", "response/mode", {"value": "STOPPED"})
        told += following.stdout.readlines()
        following.stdout.close()
        assert following.wait(20) == 0
    assert [line.split("mode_changed")[1].split()[0] for line in told] == ["ACTIVE,", "STANDBY,", "STOPPED,"]


def test_events_of_a_bot_that_is_away_are_waited_for(mosquitto: Mosquitto, tmp_path: Path) -> None:
    away = Bot(CHECKOUT, tmp_path / "away", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)})
    words = ["events", "--follow", "--last", "5", "--count", "1", "--type", "breaker_opened", "--timeout", "1"]
    with Watcher(mosquitto.port) as client:
        following = subprocess.Popen(
            [away.program, *words],
            cwd=away.folder,
            env=away.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: client.all("request/events"), "the question")
        happened = {"name": "allora", "reason": "no answer", "at": "2026-11-20T10:00:00.000Z"}
        client.publish("event/breaker_opened", happened)
        told, noted = following.communicate(timeout=30)
    assert following.returncode == 0
    assert told.rstrip().endswith("breaker_opened   allora: no answer")
    assert "No bot has been seen on this base topic" in noted
