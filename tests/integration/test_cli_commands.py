"""The command line against a real broker, with a stand-in for the bot that answers by the contract."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.main import main
from tests.support.mosquitto import MOSQUITTO, Mosquitto

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]

NOW = "2026-11-20T10:00:00.000Z"
STATUS: dict[str, Any] = {
    "mode": "STANDBY",
    "since": NOW,
    "reason": "start",
    "health": "ok",
    "warnings": [],
    "network": "sim",
    "active_cryptos": {"BTC": 14},
    "equity_usd": 512.5,
    "daily_pnl_usd": -3.25,
    "exposure_usd": 100,
    "open_positions": 1,
    "last_signal": None,
    "last_order": None,
    "breakers": [],
    "uptime_s": 4000,
    "version": "0.1.0",
    "instance_id": "a",
    "revision": 7,
}
POSITION: dict[str, Any] = {
    "symbol": "ETH",
    "side": "SHORT",
    "size": 0.5,
    "entry_price": 3000,
    "mark_price": 2990,
    "notional_usd": 1495,
    "unrealized_pnl_usd": 5,
    "margin_usd": 747.5,
    "leverage": 2,
    "liquidation_price": 4400,
    "stop_price": 3030,
    "target_price": 2940,
    "opened_at": NOW,
    "ours": True,
}
COIN: dict[str, Any] = {
    "state": "ON",
    "topic_id": 14,
    "price": 91234.5,
    "volume_24h": 1e9,
    "prediction": 91500,
    "gap_pct": 0.29,
    "signal": "BUY",
    "confidence": 0.4,
    "position": None,
    "updated_at": NOW,
}
SERVICE: dict[str, Any] = {
    "state": "ok",
    "breaker": "closed",
    "last_success_at": NOW,
    "latency_p50_ms": 12,
    "latency_p99_ms": 40,
    "last_error": None,
}
RETAINED: dict[str, Any] = {
    "availability": "online",
    "mode": "STANDBY",
    "status": STATUS,
    "cryptos": {"BTC": 14},
    "cryptos/BTC": COIN,
    "cryptos/ETH": {**COIN, "state": "OFF", "topic_id": 13, "position": POSITION},
    "positions": [POSITION],
    "config": {"max_leverage": {"value": 2, "min": 1, "max": 50, "step": 1, "unit": "x"}},
    "health": dict.fromkeys(("mqtt", "hyperliquid", "hyperliquid_exchange", "allora", "store"), SERVICE),
}

Answer = Callable[[str, dict[str, Any]], dict[str, Any] | None]


def executed(name: str, command: dict[str, Any]) -> dict[str, Any]:
    return {"status": "EXECUTED", "data": {"value": command["value"]} if "value" in command else {"name": name}}


class StandIn:
    """Publishes a bot's state, keeps what it is sent, and answers as told."""

    def __init__(self, port: int, answer: Answer, client_id: str = "stand-in") -> None:
        self.answer = answer
        self.received: list[tuple[str, dict[str, Any], bool]] = []
        self._ready = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id, clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
        )
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe([("bot/+/set", 1), ("bot/+/+/set", 1), ("bot/request/+", 1)])
        assert self._ready.wait(5)

    def publish(self, topic: str, content: object, *, retain: bool = True) -> None:
        payload = content if isinstance(content, str) else json.dumps(content)
        self.client.publish(f"bot/{topic}", payload, 1, retain).wait_for_publish(5)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if not message.payload:
            return
        command = json.loads(message.payload)
        tail = message.topic.split("/")[1:]
        name = tail[1] if tail[0] == "request" else tail[0]
        self.received.append((message.topic, command, message.retain))
        answer = self.answer(name, command)
        if answer is None:
            return
        times = {"received_at": NOW, "executed_at": NOW, "duration_ms": 3.1, "revision": 8}
        response = {"id": command["id"], "name": name, "source": command["source"], **times, **answer}
        self.client.publish(f"bot/response/{name}", json.dumps(response), 1)


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[int]:
    """Run a broker on a free port, with further lines of configuration."""
    broker = Mosquitto(folder / "mosquitto", *lines)
    broker.start()
    try:
        yield broker.port
    finally:
        broker.stop()


@pytest.fixture(params=["5", "3.1.1"])
def port(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MQTT_")]:
        monkeypatch.delenv(name)
    with mosquitto(tmp_path) as broker_port:
        monkeypatch.setenv("MQTT_HOST", "127.0.0.1")
        monkeypatch.setenv("MQTT_PORT", str(broker_port))
        monkeypatch.setenv("MQTT_PROTOCOL", request.param)
        yield broker_port


@pytest.fixture
def bot(port: int) -> Iterator[StandIn]:
    stand_in = StandIn(port, executed)
    for topic, content in RETAINED.items():
        stand_in.publish(topic, content)
    yield stand_in
    stand_in.stop()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    def run_cli(*arguments: str) -> SimpleNamespace:
        code = main(arguments, Invocation(new_id=lambda: "id-1"))
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run_cli


Run = Callable[..., SimpleNamespace]


def retained_at(port: int, topic: str) -> str | None:
    """Ask the broker what it keeps."""
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", topic, "-C", "1", "-W", "1"]
    done = subprocess.run([*command, "--retained-only"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def test_a_mode_is_set_and_confirmed(bot: StandIn, run: Run) -> None:
    done = run("mode", "standby")
    assert (done.code, done.out, done.err) == (0, "Executed in 3.1 ms: value STANDBY.\n", "")
    [(topic, command, _)] = bot.received
    assert topic == "bot/mode/set"
    assert command["value"] == "STANDBY"
    assert command["id"] == "id-1"
    assert command["source"].startswith("cli:")
    assert command["issued_at"].endswith("Z")
    assert "expires_at" not in command


def test_json_holds_the_whole_response(bot: StandIn, run: Run) -> None:
    done = run("--json", "cancel-orders")
    assert done.code == 0
    assert json.loads(done.out)["name"] == "cancel_orders"
    assert bot.received[0][0] == "bot/request/cancel_orders"


@pytest.mark.parametrize(
    ("arguments", "topic", "expected"),
    [
        (("cryptos", "on", "btc", "--topic", "14"), "bot/cryptos/BTC/set", {"value": "ON", "topic_id": 14}),
        (("cryptos", "off", "kPEPE"), "bot/cryptos/kPEPE/set", {"value": "OFF"}),
        (("cryptos", "set", "BTC", "eth:13"), "bot/cryptos/set", {"value": {"BTC": None, "ETH": 13}}),
        (("cryptos", "clear"), "bot/cryptos/set", {"value": {}}),
        (("cryptos", "popular", "defi"), "bot/request/activate_set", {"name": "defi"}),
        (("close", "eth"), "bot/request/close", {"symbol": "ETH"}),
        (("flatten",), "bot/request/flatten", {}),
        (("config", "set", "price_gap_pct=0.4", "max_leverage=3"), "bot/config/set", {}),
        (("reset-breaker", "allora"), "bot/request/reset_breaker", {"name": "allora"}),
        (
            ("trades", "--limit", "5", "--symbol", "btc"),
            "bot/request/trades",
            {"limit": 5, "symbol": "BTC", "kind": "trades"},
        ),
        (
            ("trades", "--fills", "--since", "2026-11-01", "--before", "1795168800000000_1-1"),
            "bot/request/trades",
            {
                "limit": 50,
                "kind": "fills",
                "since": "2026-11-01T00:00:00.000Z",
                "before": "1795168800000000_1-1",
            },
        ),
        (("performance", "--days", "7"), "bot/request/performance", {"days": 7}),
        (("cryptos", "search", "bt"), "bot/request/catalog", {"search": "bt", "availability": "both"}),
    ],
)
def test_each_command_says_what_it_means(
    bot: StandIn, run: Run, arguments: tuple[str, ...], topic: str, expected: dict[str, Any]
) -> None:
    done = run(*arguments, "--json")
    assert done.code == 0
    sent_to, command, _ = bot.received[0]
    assert sent_to == topic
    assert {key: command[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("status", "code"), [("REJECTED", 3), ("EXPIRED", 3), ("SUPERSEDED", 3), ("FAILED", 4), ("DUPLICATE", 0)]
)
def test_the_exit_code_tells_how_it_ended(bot: StandIn, run: Run, status: str, code: int) -> None:
    error = {"code": "NOT_ALLOWED", "message": "Not now."} if status in {"REJECTED", "FAILED"} else None
    data = {"first": {"status": "EXECUTED"}} if status == "DUPLICATE" else {}
    bot.answer = lambda *_: {"status": status, "error": error, "data": data}
    done = run("mode", "active", "--json")
    assert done.code == code
    if code:
        assert json.loads(done.out)["error"]["code"] == ("NOT_ALLOWED" if error else status)


def test_a_rejection_is_the_bots_own_sentence_on_stderr(bot: StandIn, run: Run) -> None:
    bot.answer = lambda *_: {"status": "REJECTED", "error": {"code": "UNKNOWN_SYMBOL", "message": "No such coin."}}
    done = run("cryptos", "on", "NOPE")
    assert (done.code, done.out, done.err) == (3, "", "No such coin.\n(UNKNOWN_SYMBOL)\n")


def test_only_the_end_of_ones_own_command_is_an_answer(bot: StandIn, run: Run) -> None:
    def answer(name: str, command: dict[str, Any]) -> dict[str, Any]:
        for other in ({"id": "somebody-else", "status": "REJECTED"}, {"id": "id-1", "status": "DUPLICATE"}):
            data = {"first": {"status": "PENDING"}}
            times = {"received_at": NOW, "executed_at": NOW, "duration_ms": 1, "revision": 1}
            bot.client.publish(f"bot/response/{name}", json.dumps({"name": name, "data": data, **times, **other}), 1)
        bot.client.publish(f"bot/response/{name}", "not JSON", 1)
        return executed(name, command)

    bot.answer = answer
    assert run("mode", "active").out == "Executed in 3.1 ms: value ACTIVE.\n"


def test_a_bot_that_keeps_silent(bot: StandIn, run: Run) -> None:
    bot.answer = lambda *_: None
    done = run("mode", "active", "--timeout", "0.5")
    assert done.code == 5
    assert "online and has not answered within 0.5 s" in done.err


def test_desired_state_waits_in_the_broker_for_a_bot_that_is_away(bot: StandIn, run: Run, port: int) -> None:
    bot.publish("availability", "offline")
    bot.stop()
    done = run("mode", "standby")
    assert done.code == 5
    assert "The bot is offline. The command waits in the broker and runs when the bot comes back." in done.err
    assert json.loads(retained_at(port, "bot/mode/set") or "")["value"] == "STANDBY"


def test_an_action_waits_only_in_a_session(bot: StandIn, run: Run, port: int) -> None:
    bot.publish("availability", "offline")
    bot.stop()
    done = run("flatten", "--json")
    assert done.code == 5
    document = json.loads(done.out)
    assert document["error"]["code"] == "BOT_OFFLINE"
    assert "session" in document["error"]["message"]
    assert retained_at(port, "bot/request/flatten") is None


def test_an_action_nobody_holds_a_session_for_is_gone(port: int, run: Run) -> None:
    done = run("flatten", "--timeout", "0.3")
    assert done.code == 5
    assert port
    assert "No bot has been seen" in done.err
    assert ("this one is gone" if os.environ["MQTT_PROTOCOL"] == "5" else "if the bot has a session") in done.err


def test_no_wait_needs_only_the_broker(run: Run, port: int) -> None:
    done = run("mode", "active", "--no-wait", "--json", "--expires", "60")
    assert done.code == 0
    assert json.loads(done.out) == {"id": "id-1", "topic": "bot/mode/set", "retained": True, "sent": True}
    assert "expires_at" in (retained_at(port, "bot/mode/set") or "")


def test_state_is_read_without_the_bots_help(bot: StandIn, run: Run) -> None:
    bot.answer = lambda *_: None
    assert run("mode").out == "STANDBY\n"
    assert json.loads(run("mode", "--json").out) == {"availability": "online", "mode": "STANDBY"}
    assert json.loads(run("status", "--json").out)["equity_usd"] == 512.5
    assert json.loads(run("positions", "--json").out)["positions"][0]["stop_price"] == 3030
    assert json.loads(run("config", "--json").out)["config"]["max_leverage"]["value"] == 2
    cryptos = json.loads(run("cryptos", "--json").out)
    assert cryptos["active"] == {"BTC": 14}
    assert set(cryptos["cryptos"]) == {"BTC", "ETH"}
    for command in (["status"], ["positions"], ["config", "show"], ["cryptos", "list"]):
        shown = run(*command)
        assert (shown.code, shown.err) == (0, "")
    assert bot.received == []


def test_state_of_a_bot_that_is_away_is_marked(bot: StandIn, run: Run) -> None:
    bot.publish("availability", "offline")
    done = run("mode")
    assert (done.code, done.out) == (0, "STANDBY\n")
    assert "offline" in done.err


def test_no_state_at_all(run: Run, port: int) -> None:
    done = run("status", "--base-topic", "elsewhere")
    assert done.code == 5
    assert port
    assert "elsewhere/status" in done.err
    assert "MQTT_BASE_TOPIC" in done.err


def test_ping_measures_the_round_trip(bot: StandIn, run: Run) -> None:
    document = json.loads(run("ping", "--json").out)
    assert document["bot_ms"] == 3.1
    assert 0 < document["round_trip_ms"] < 1000
    assert bot.received[0][0] == "bot/request/ping"


def test_events_are_one_json_document_a_line(bot: StandIn, run: Run) -> None:
    event = {"symbol": "BTC", "direction": "BUY", "at": NOW}
    ticking = threading.Event()

    def tick() -> None:
        while not ticking.wait(0.1):
            bot.publish("event/signal", event, retain=False)

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        as_json, as_text = run("events", "--count", "2", "--json"), run("events", "--count", "1")
    finally:
        ticking.set()
        ticker.join()
    lines = [json.loads(line) for line in as_json.out.splitlines()]
    assert [line["payload"] for line in lines] == [event, event]
    assert "signal" in as_text.out
    assert "symbol BTC, direction BUY" in as_text.out
