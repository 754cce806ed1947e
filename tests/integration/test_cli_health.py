"""`allora-mqtt health` beside a real bot and a real broker: what it ends with, what it says, and how fast."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from allora_mqtt.protocol.model import rfc3339
from tests.support.client import Watcher
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import free_port
from tests.support.program import Bot

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]


@pytest.fixture
def bot(mosquitto: Mosquitto, tmp_path: Path, program: Path) -> Iterator[Bot]:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    running = Bot(program, tmp_path / "bot", where)
    yield running
    running.stop()


def test_a_bot_that_lives_and_one_that_hangs_and_one_that_is_gone(bot: Bot) -> None:
    never = bot.cli("health")
    assert never.returncode == 1
    assert "no bot has been here yet" in never.stderr

    bot.start()
    with Watcher(bot.broker_port) as watcher:
        watcher.wait("availability", "online")
    alive = bot.cli("health")
    assert (alive.returncode, alive.stderr) == (0, "")
    assert alive.stdout.startswith("Online in STANDBY: heartbeat ")
    assert bot.cli_json("health")["mode"] == "STANDBY"

    bot.cli("mode", "active", "--timeout", "5")
    assert bot.cli("health").stdout.startswith("Online in ACTIVE")

    # The broker still says that it is online.
    os.kill(bot.pid, signal.SIGSTOP)
    try:
        hangs = bot.cli("health")
    finally:
        os.kill(bot.pid, signal.SIGCONT)
    assert (hangs.returncode, hangs.stdout) == (1, "")
    assert "online and sends no heartbeat: none in 1.25 s" in hangs.stderr
    assert bot.cli("health").returncode == 0

    bot.kill()
    with Watcher(bot.broker_port) as watcher:
        watcher.wait("availability", "offline")
    started = time.monotonic()
    gone = bot.cli("health", "--max-wait", "60")
    assert time.monotonic() - started < 20
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "is offline: start it" in gone.stderr


def test_without_a_broker_or_a_usable_setting_it_is_unhealthy_too(bot: Bot) -> None:
    bot.environment["MQTT_PORT"] = str(free_port())
    nowhere = bot.cli("health", "--json")
    assert nowhere.returncode == 1
    assert json.loads(nowhere.stdout)["error"]["code"] == "BROKER_UNREACHABLE"
    bot.environment["BOT_HEARTBEAT_INTERVAL_S"] = "soon"
    wrong = bot.cli("health")
    assert wrong.returncode == 1
    assert "BOT_HEARTBEAT_INTERVAL_S" in wrong.stderr


def test_a_heartbeat_that_the_broker_has_kept_is_no_sign_of_life(bot: Bot) -> None:
    now = rfc3339(datetime.now(UTC))
    beat = {"seq": 1, "at": now, "uptime_s": 1, "mode": "ACTIVE", "revision": 1, "instance_id": "a", "loop_lag_ms": 0}
    with Watcher(bot.broker_port) as watcher:
        watcher.publish("availability", "online", retain=True)
        watcher.publish("heartbeat", beat, retain=True)
    assert bot.cli("health", "--max-wait", "0.5").returncode == 1
