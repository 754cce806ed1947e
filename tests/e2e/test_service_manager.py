"""The bot as systemd's notify type has it: what it says when it starts, lives, hangs, waits and ends."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import until
from tests.support.program import Bot
from tests.support.service_manager import Listening

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]

_WATCHDOG_S = 0.9


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Listening]:
    with Listening(tmp_path / "notify") as listening:
        yield listening


@pytest.fixture
def bot(tmp_path: Path, program: Path, systemd: Listening) -> Iterator[Bot]:
    broker = Mosquitto(tmp_path / "later")
    running = Bot(
        program,
        tmp_path / "bot",
        {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(broker.port)},
        NOTIFY_SOCKET=systemd.address,
        WATCHDOG_USEC=str(int(_WATCHDOG_S * 1_000_000)),
    )
    running.start()
    until(lambda: any("broker cannot be reached" in said for said in systemd.all("STATUS")), "a status")
    assert systemd.all("STATUS")[0] == "Starting"
    assert systemd.all("READY") == systemd.all("WATCHDOG") == []
    assert systemd.all("EXTEND_TIMEOUT_USEC")
    broker.start()
    systemd.wait("READY", "1")
    yield running
    running.stop()
    broker.stop()


def test_it_waits_for_the_broker_lives_hangs_goes_on_and_ends(bot: Bot, systemd: Listening) -> None:
    systemd.wait("STATUS", "STANDBY, online")
    assert bot.cli("mode", "active").returncode == 0
    systemd.wait("STATUS", "ACTIVE, online")

    systemd.forget()
    time.sleep(4 * _WATCHDOG_S)
    assert len(systemd.all("WATCHDOG")) >= 4
    assert systemd.all("READY") == []

    os.kill(bot.pid, signal.SIGSTOP)
    try:
        systemd.forget()
        time.sleep(3 * _WATCHDOG_S)
        assert systemd.all("WATCHDOG") == []
    finally:
        os.kill(bot.pid, signal.SIGCONT)
    systemd.wait("WATCHDOG", "1")

    assert bot.stop() == 0
    assert systemd.all("STOPPING") == ["1"]
    assert systemd.all("STATUS")[-1] == "Ending"
