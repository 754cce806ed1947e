"""The unit in `examples/systemd`: what systemd's own tools say of it, and whether the bot fits into its cage."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.client import Watcher
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

pytestmark = pytest.mark.e2e

FOLDER = ROOT / "examples" / "systemd"
UNIT = FOLDER / "allora-mqtt.service"
ANALYZE = shutil.which("systemd-analyze")
STRACE = shutil.which("strace")
EXPOSURE = 15
"""Tenths: what docs/deployment.md says is 1.2 with systemd 252, and other versions weigh a little otherwise."""

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed (apt-get install systemd)")


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with the program where it is here."""
    place = tmp_path / UNIT.name
    place.write_text(UNIT.read_text().replace("/opt/allora-mqtt/bin/allora-mqtt", str(CHECKOUT)))
    return place


@needs_systemd
def test_systemd_understands_every_line(unit: Path) -> None:
    done = analyze("verify", unit)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("WatchdogSec", "WatchdogSecs"))
    assert "'WatchdogSecs'" in analyze("verify", unit).stderr


@needs_systemd
def test_little_is_exposed(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit)
    assert done.returncode == 0, done.stdout
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "").replace("CapabilityBoundingSet=", ""))
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit).returncode != 0


def test_its_settings_are_settings(tmp_path: Path) -> None:
    lines = (FOLDER / "allora-mqtt.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    named = {line.removeprefix("#").split("=")[0] for line in lines if re.match(r"#[A-Z_]+=", line)}
    named |= set(re.findall(r"\b((?:BOT|MQTT|HL|ALLORA)_[A-Z_]+)=", UNIT.read_text()))
    shown = subprocess.run(
        [CHECKOUT, "config", "show", "--local", "--json"],
        cwd=tmp_path,
        env={"PATH": os.defpath, **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert named | given.keys() <= set(re.findall(r'"([A-Z_]+)": \{', shown))


def allowed_calls() -> set[str]:
    """The system calls that the unit's filter lets through, its groups taken apart by systemd."""

    def of(group: str) -> set[str]:
        found: set[str] = set()
        for word in re.findall(r"^ +(\S+)$", analyze("syscall-filter", group).stdout, re.MULTILINE):
            found |= of(word) if word.startswith("@") else {word}
        return found

    allowed: set[str] = set()
    for groups in re.findall(r"^SystemCallFilter=(.+)$", UNIT.read_text(), re.MULTILINE):
        together = set().union(*(of(group) for group in groups.removeprefix("~").split()))
        allowed = allowed - together if groups.startswith("~") else allowed | together
    return allowed


@needs_systemd
@pytest.mark.mosquitto
@pytest.mark.skipif(STRACE is None, reason="strace is not installed (apt-get install strace)")
def test_the_bot_makes_no_system_call_that_the_unit_forbids(tmp_path: Path, mosquitto: Mosquitto) -> None:
    assert STRACE is not None
    seen = tmp_path / "calls"
    traced = tmp_path / "allora-mqtt"
    # As a child of the traced one, so that the program has the process id that the test knows.
    traced.write_text(f'#!/bin/sh\nexec {STRACE} -D -f -qq -c -U name -o {seen} {CHECKOUT} "$@"\n')
    traced.chmod(0o755)
    bot = Bot(traced, tmp_path / "bot", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)})
    bot.start()
    bot.program = CHECKOUT
    try:
        with Watcher(mosquitto.port) as watcher:
            watcher.wait("availability", "online", 60)
            assert bot.cli("cryptos", "set", "BTC", "ETH").returncode == 0
            assert bot.cli("mode", "active").returncode == 0
            until(lambda: watcher.all("event/fill"), "a trade", 60)
    finally:
        assert bot.stop() == 0
    told = until(lambda: seen.read_text() if seen.exists() else None, "what strace has seen")
    calls = set(re.findall(r"^([a-z_0-9]+)$", told, re.MULTILINE)) - {"syscall", "total"}
    assert {"execve", "sendto", "fdatasync"} <= calls
    # SQLite gives a file to its folder's owner when root writes it, and nobody else.
    assert calls - ({"fchown"} if os.getuid() == 0 else set()) <= allowed_calls()
