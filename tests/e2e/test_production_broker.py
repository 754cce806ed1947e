"""The bot and the command line on mosquitto of `mosquitto/production.conf`: every way in, sizes, queues, SIGKILL."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.conftest import ROOT
from tests.support.guest import Guest, Version
from tests.support.mosquitto import MOSQUITTO
from tests.support.net import until
from tests.support.production_broker import CERTIFICATE, PLAIN, TLS, WEBSOCKETS, ProductionBroker
from tests.support.program import CHECKOUT, Bot

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)"),
]

Starter = Callable[..., Bot]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ProductionBroker]:
    broker = ProductionBroker(tmp_path / "broker")
    broker.add("bot", "bot", "-c")
    broker.add("alice", "operator", "-c")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def start(broker: ProductionBroker, tmp_path: Path) -> Iterator[Starter]:
    bots: list[Bot] = []

    def starter(listener: int, **settings: str) -> Bot:
        given = dict(line.split("=", 1) for line in (broker.client("bot") / "bot.env").read_text().splitlines())
        bot = Bot(CHECKOUT, tmp_path / "bot", {**given, **broker.settings("bot", listener)}, **settings)
        bot.start()
        bots.append(bot)
        return bot

    yield starter
    for bot in bots:
        bot.stop()


class Operator(Guest):
    """Alice, who hears everything and sends commands."""

    def __init__(self, broker: ProductionBroker, version: Version = "5", name: str = "alice") -> None:
        super().__init__(broker.port, (name, broker.password(name)), version)

    def __enter__(self) -> Self:
        super().__enter__()
        self.subscribe("bot/#")
        return self

    def last(self, topic: str) -> bytes | None:
        return next((payload for seen, payload, _ in reversed(self.seen) if seen == topic), None)

    def wait(self, topic: str, payload: bytes) -> None:
        until(lambda: self.last(topic) == payload, f"{payload!r} on {topic}", 30)

    def answers(self, name: str) -> dict[str, dict[str, Any]]:
        found = [json.loads(payload) for seen, payload, _ in list(self.seen) if seen == f"bot/response/{name}"]
        return {answer["id"]: answer for answer in found}


def cli(broker: ProductionBroker, bot: Bot, listener: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as Alice."""
    own = {name: value for name, value in bot.environment.items() if not name.startswith("MQTT_")}
    return subprocess.run(
        [CHECKOUT, *words],
        env={**own, **broker.settings("alice", listener)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("listener", "version"),
    [(PLAIN, "5"), (TLS, "5"), (TLS, "3.1.1"), (CERTIFICATE, "5"), (CERTIFICATE, "3.1.1"), (WEBSOCKETS, "5"),
     (WEBSOCKETS, "3.1.1")],
    ids={PLAIN: "password", TLS: "TLS", CERTIFICATE: "certificate", WEBSOCKETS: "websockets"}.get,
)  # fmt: skip
def test_every_way_in_carries_commands_and_their_answers(
    broker: ProductionBroker, start: Starter, listener: int, version: Version
) -> None:
    bot = start(listener, MQTT_PROTOCOL=version)
    with Operator(broker, version) as alice:
        alice.wait("bot/availability", b"online")
        done = cli(broker, bot, listener, "mode", "active", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        alice.wait("bot/mode", b"ACTIVE")
        # Many at once: more than one packet in a TLS record, or in a frame.
        sent = [f"burst-{number}" for number in range(300)]
        for identifier in sent:
            alice.send(
                "bot/config/price_gap_pct/set", json.dumps({"value": 0.5, "id": identifier, "transaction": "x" * 900})
            )
        until(lambda: set(sent) <= alice.answers("config").keys(), "an answer to each", 30)
        assert {answer["status"] for answer in alice.answers("config").values()} <= {"EXECUTED", "SUPERSEDED"}
        big = {"id": "big", "value": "BTC," * 15_000}
        assert alice.publish("bot/cryptos/set", json.dumps(big).encode()) == "Success"
        until(lambda: "big" in alice.answers("cryptos"), "an answer to 60 kB")
        done = cli(broker, bot, listener, "mode", "standby", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        alice.wait("bot/mode", b"STANDBY")
        bot.kill()
        alice.wait("bot/availability", b"offline")
        bot.start()
        alice.wait("bot/availability", b"online")
        before = len(alice.seen)
        bot.stop()
        alice.wait("bot/availability", b"offline")
        alice.subscribe("bot/availability")
        said_last = [payload for topic, payload, _ in alice.seen[before:] if topic == "bot/availability"]
        assert set(said_last[said_last.index(b"offline") :]) == {b"offline"}
        said = bot.log.read_text()
        assert "refused" not in said
        assert "does not let this user" not in said
        # Who knows it can take the session.
        secret = bot.environment["MQTT_CLIENT_ID"].encode()
        assert len(secret) > 30
        assert not [topic for topic, payload, _ in alice.seen if secret in payload]


def test_the_largest_message_passes_and_what_no_bot_sends_ends_the_connection(
    broker: ProductionBroker, start: Starter
) -> None:
    universe = (ROOT / "allora_mqtt" / "simulator" / "universe.json").read_text()
    coins = re.findall(r'"name":"(\w+)"', universe)
    broker.add("homeassistant", "home-assistant")
    broker.reload()
    bot = start(TLS, MQTT_DISCOVERY_CRYPTOS=",".join(coins))
    topic = "homeassistant/device/allora_mqtt_bot/config"
    with Operator(broker, name="homeassistant") as hass:
        hass.subscribe("homeassistant/#")
        shown = json.loads(until(lambda: hass.last(topic), "the device message", 30))["cmps"]
        assert len([key for key in shown if key.endswith("_position")]) == len(coins) > 200
        assert len(hass.last(topic) or b"") > 400_000
        hass.wait("bot/availability", b"online")
        assert "disconnected" in hass.publish("bot/request/ping", b"x" * 1_100_000)
    with Operator(broker) as alice:
        alice.wait("bot/availability", b"online")
        assert cli(broker, bot, TLS, "ping").returncode == 0


@pytest.mark.timeout(300)  # with so much waiting the broker's disk sets the pace
def test_what_waits_for_the_bot_and_what_is_retained_outlive_a_sigkill_of_the_broker(
    broker: ProductionBroker, start: Starter
) -> None:
    bot = start(CERTIFICATE)
    with Operator(broker) as alice:
        alice.wait("bot/availability", b"online")
        bot.kill()
        alice.wait("bot/availability", b"offline")
        # More than mosquitto keeps by default.
        sent = [f"waiting-{number}" for number in range(1100)]
        for identifier in sent:
            alice.send("bot/request/ping", json.dumps({"id": identifier}))
        assert alice.publish("bot/mode/set", b'{"value":"STOPPED","id":"the last"}', retain=True) == "Success"
        until(lambda: b"the last" in broker.saved(), "the last command on the broker's disk", 60)
    kept = broker.kill()
    assert sent[-1].encode() in kept
    broker.start()
    with Operator(broker) as alice:
        alice.wait("bot/availability", b"offline")
        assert json.loads(alice.last("bot/cryptos") or b"") == {}
        bot.start()
        until(lambda: set(sent) <= alice.answers("ping").keys(), "an answer to each", 200)
        assert {answer["status"] for answer in alice.answers("ping").values()} == {"EXECUTED"}
        alice.wait("bot/mode", b"STOPPED")


def test_the_bridge_takes_state_out_and_commands_in_and_loses_none(
    tmp_path: Path, start: Starter, broker: ProductionBroker
) -> None:
    hub = ProductionBroker(tmp_path / "hub")
    hub.add("home", "bot", "-c")
    hub.add("alice", "operator")
    hub.start()
    shipped = (ROOT / "mosquitto" / "bridge.conf").read_text()
    shipped = shipped.replace("hub.example.org:8884", f"localhost:{hub.ports[CERTIFICATE]}")
    broker.stop()
    broker.append(shipped.replace("/etc/mosquitto/bridge", str(hub.client("home"))))
    broker.start()
    bot = start(PLAIN)
    try:
        with Operator(hub) as alice:
            alice.wait("bot/availability", b"online")
            until(lambda: alice.last("bot/heartbeat"), "a heartbeat", 30)
            alice.publish("bot/cryptos/set", b'{"value":["BTC"],"id":"coins"}')
            alice.publish("bot/mode/set", b'{"value":"ACTIVE","id":"go"}')
            alice.wait("bot/mode", b"ACTIVE")
            assert alice.publish("bot/mode", b"STANDBY", retain=True) == "Not authorized"
            hub.kill()
        hub.start()
        with Operator(hub) as alice:
            broker.kill()
            sent = [f"bridged-{number}" for number in range(50)]
            for identifier in sent:
                alice.send("bot/request/ping", json.dumps({"id": identifier}))
            alice.publish("bot/mode/set", b'{"value":"STANDBY","id":"halt"}', retain=True)
            broker.start()
            until(lambda: set(sent) <= alice.answers("ping").keys(), "an answer to each", 60)
            alice.wait("bot/mode", b"STANDBY")
        history = bot.cli_json("history", "--limit", "100")
        ran = [entry["id"] for entry in history["data"]["commands"] if entry["status"] == "EXECUTED"]
        assert sorted(ran) == sorted({"coins", "go", "halt", *sent})
    finally:
        bot.stop()
        hub.stop()
