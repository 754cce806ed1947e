"""`allora-mqtt fleet` with three real bots on one mosquitto."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Watcher
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

NAMES = ("alice", "bob", "carol")


@pytest.fixture
def bots(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[dict[str, Bot]]:
    fleet = {}
    for name in NAMES:
        broker = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "MQTT_BASE_TOPIC": f"bots/{name}"}
        fleet[name] = Bot(CHECKOUT, tmp_path / name, broker)
        fleet[name].start()
    with Watcher(mosquitto.port, "bots") as watcher:
        until(lambda: all(watcher.last(f"{name}/availability") == b"online" for name in NAMES), "three bots", 60)
        until(lambda: all((watcher.json(f"{name}/status") or {}).get("equity_usd") for name in NAMES), "equity", 30)
    yield fleet
    for bot in fleet.values():
        bot.stop()


def test_one_command_reaches_all_of_them_and_who_is_missing_is_said(bots: dict[str, Bot], mosquitto: Mosquitto) -> None:
    alice = bots["alice"]
    seen = alice.cli_json("fleet", "status")
    assert seen["fleet"] == "bots/+"
    assert [row["bot"] for row in seen["bots"]] == list(NAMES)
    for row in seen["bots"]:
        assert (row["availability"], row["mode"], row["health"]) == ("online", "STANDBY", "ok")
        assert (row["network"], row["open_positions"]) == ("sim", 0)
        assert row["equity_usd"] > 0
        assert row["heartbeat_age_s"] < 5
    table = alice.cli("fleet", "status", "--fleet", "bots/+")
    assert table.returncode == 0
    assert all(name in table.stdout for name in NAMES)

    with Watcher(mosquitto.port, "bots") as watcher:
        done = alice.cli_json("fleet", "mode", "active", "alice", "bots/bob")
        assert [row["response"]["status"] for row in done["bots"]] == ["EXECUTED", "EXECUTED"]
        watcher.wait("alice/mode", "ACTIVE")
        watcher.wait("bob/mode", "ACTIVE")
        assert watcher.last("carol/mode") == b"STANDBY"
        done = alice.cli_json("fleet", "flatten", "--all")
        assert [row["response"]["data"]["mode"] for row in done["bots"]] == ["STANDBY"] * 3
        for name in NAMES:
            watcher.wait(f"{name}/mode", "STANDBY")

        bots["bob"].kill()
        watcher.wait("bob/availability", "offline", 40)
        missing = alice.cli("fleet", "status", "--timeout", "2")
        assert missing.returncode == 5
        assert "1 of 3 bots show no sign of life: bob." in missing.stderr
        assert "alice" in missing.stdout
        stopped = alice.cli("fleet", "mode", "stopped", "--all", "--json", "--timeout", "3")
        assert stopped.returncode == 5
        rows = {row["bot"]: row["response"] for row in json.loads(stopped.stdout)["bots"]}
        assert rows["bob"] is None
        assert rows["carol"]["status"] == "EXECUTED"
        watcher.wait("carol/mode", "STOPPED")
        # The one that was away takes it when it is back.
        bots["bob"].start()
        watcher.wait("bob/mode", "STOPPED", 60)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("mode", "standby"), 2, "Name the bots, or say --all."),
        (("mode", "standby", "alice", "--all"), 2, "Name the bots, or say --all."),
        (("flatten", "--all", "--fleet", "bots/#"), 2, "is no fleet"),
        (("flatten", "--all", "--fleet", "bots/x+"), 2, "is no fleet"),
        (("status", "--fleet", "nobody/+"), 5, "No bot has been seen at nobody/+"),
        (("mode", "standby", "dave", "--fleet", "bots/+"), 2, "There is no dave in bots/+; there are: alice."),
    ],
)
def test_what_cannot_be_meant_sends_nothing(
    mosquitto: Mosquitto, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    nobody = Bot(CHECKOUT, tmp_path / "here", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)})
    with Watcher(mosquitto.port, "bots") as watcher:
        watcher.publish("alice/availability", "offline", retain=True)
        until(lambda: watcher.all("alice/availability"), "the one that is known")
        done = nobody.cli("fleet", *words)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert [topic for topic, _, _ in watcher.seen if topic.endswith("/set") or "/request/" in topic] == []
