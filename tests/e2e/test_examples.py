"""Everything in `examples/` and `mosquitto/`, used as it says."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.client import Watcher
from tests.support.mosquitto import MOSQUITTO, MOSQUITTO_PUB, Mosquitto
from tests.support.program import Bot

pytestmark = pytest.mark.e2e


@pytest.fixture
def shipped_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """mosquitto with the shipped configuration, on another port and in another folder."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    broker = Mosquitto(tmp_path / "mosquitto", shipped=ROOT / "mosquitto" / "mosquitto.conf")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def bot(shipped_broker: Mosquitto, tmp_path: Path, program: Path) -> Iterator[Bot]:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(shipped_broker.port)}
    running = Bot(program, tmp_path / "bot", where)
    running.start()
    yield running
    running.stop()


def test_the_scripts_start_trading_and_stop_it(bot: Bot) -> None:
    if MOSQUITTO_PUB is None:
        pytest.skip("mosquitto_pub is not installed (apt-get install mosquitto-clients)")
    scripts = ROOT / "examples" / "scripts"
    environment = {"PATH": os.environ["PATH"], "MQTT_PORT": str(bot.broker_port)}
    with Watcher(bot.broker_port) as watcher:
        watcher.wait("availability", "online")
        subprocess.run([scripts / "start-trading.sh", "ETH,SOL"], env=environment, check=True, timeout=10)
        watcher.wait("mode", "ACTIVE")
        watcher.wait("cryptos", '{"ETH":9,"SOL":10}')
        subprocess.run([scripts / "standby.sh"], env=environment, check=True, timeout=10)
        watcher.wait("mode", "STANDBY")
        without = subprocess.run([scripts / "start-trading.sh"], env=environment, capture_output=True, check=False)
        assert without.returncode != 0


def test_the_shipped_broker_keeps_commands_and_state_through_a_kill(bot: Bot, shipped_broker: Mosquitto) -> None:
    with Watcher(bot.broker_port) as watcher:
        watcher.wait("availability", "online")
        assert watcher.ask("ping")["status"] == "EXECUTED"
        bot.kill()
        # More than mosquitto queues by default.
        watcher.publish_all("request/ping", [{"id": f"while away {number}"} for number in range(1100)])
    # mosquitto 2.0.11 acknowledges first and saves at the next turn of its loop: the very last one needs that turn.
    time.sleep(1)
    shipped_broker.stop(signal.SIGKILL)
    shipped_broker.start()
    with Watcher(bot.broker_port) as watcher:
        watcher.wait("mode", "STANDBY")
        bot.start()
        watcher.wait("availability", "online", 30)
        last = watcher.ask("history", limit=1, timeout_s=60)["data"]["commands"][0]
        assert (last["id"], last["status"]) == ("while away 1099", "EXECUTED")
