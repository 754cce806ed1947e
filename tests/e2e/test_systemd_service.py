"""The unit under the real systemd, installed as docs/deployment.md says, beside mosquitto with TLS and passwords."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.image import Image
from tests.support.machine import NSPAWN, Machine
from tests.support.net import until

pytestmark = [pytest.mark.e2e, pytest.mark.real_peers, pytest.mark.timeout(600)]

UNIT = "allora-mqtt"
SECTION = (ROOT / "docs" / "deployment.md").read_text().partition("## systemd\n")[2].partition("\n## ")[0]
LINES: list[str] = re.findall(r"^# (.+)$", SECTION.partition("```console\n")[2].partition("```")[0], re.MULTILINE)
"""What the documentation says to type, as root."""
BROKER = """
set -e
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends systemd mosquitto openssl >/dev/null 2>&1
cd /srv/checkout
cp mosquitto/production.conf /etc/mosquitto/mosquitto.conf
mosquitto/access init localhost
mosquitto/access add bot bot
"""
LOGIN = {"MQTT_USERNAME": "bot", "MQTT_PASSWORD_FILE": "/etc/allora-mqtt/mqtt-password"}


@pytest.fixture(scope="module")
def machine(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the program where the documentation puts it, and a broker."""
    folder = tmp_path_factory.mktemp("machine")
    root = folder / "root"
    subprocess.run(["cp", "-ax", "--reflink=auto", image.root, root], check=True)
    words: list[str | Path] = [
        NSPAWN or "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "-D",
        root,
        "true",
    ]
    tried = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if tried.returncode != 0:
        pytest.skip(f"no machine can be started here: {tried.stderr.strip()}")
    for part in ("mosquitto", "examples"):
        shutil.copytree(ROOT / part, root / "srv" / "checkout" / part)
    prepared = subprocess.run(
        ["chroot", root, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", BROKER],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    with Machine(root, folder / "console") as booted:
        # The program is there already: the image's, made of the same Debian.
        for line in [each for each in LINES if not re.match(r"python3 -m venv|\S+/pip ", each)]:
            done = booted.run("sh", "-c", f"cd /srv/checkout && {line}")
            assert done.returncode == 0, f"{line}: {done.stderr}{booted.run('journalctl', '-u', UNIT).stdout}"
        yield booted
    shutil.rmtree(root)


def program(machine: Machine, *words: str) -> "subprocess.CompletedProcess[str]":
    return machine.run("/opt/allora-mqtt/bin/allora-mqtt", *words, environment=LOGIN)


def test_the_documentation_ends_with_a_bot_that_is_online_and_caged(machine: Machine) -> None:
    assert len(LINES) == 10
    assert machine.show(UNIT, "ActiveState") == "active"
    assert machine.show(UNIT, "StatusText") == "STANDBY, online"
    healthy = program(machine, "health")
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert program(machine, "mode", "active").returncode == 0
    until(lambda: machine.show(UNIT, "StatusText") == "ACTIVE, online", "the new mode in the status")

    pid = machine.show(UNIT, "MainPID")
    status = dict(re.findall(r"^(\w+):\s+(.+)$", machine.run("cat", f"/proc/{pid}/status").stdout, re.MULTILINE))
    assert "0" not in status["Uid"].split()
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    password = machine.run("cat", LOGIN["MQTT_PASSWORD_FILE"]).stdout
    assert len(password) == 32
    assert password not in machine.run("cat", f"/proc/{pid}/environ").stdout
    assert password not in machine.run("journalctl", "-u", UNIT).stdout
    assert "PermissionError" not in machine.run("journalctl", "-u", UNIT).stdout


def test_a_bot_that_hangs_is_killed_and_started_again(machine: Machine) -> None:
    machine.run("mkdir", "-p", f"/run/systemd/system/{UNIT}.service.d")
    faster = r"printf '[Service]\nWatchdogSec=3\nRestartSec=1\n' >/run/systemd/system/allora-mqtt.service.d/faster.conf"
    machine.run("sh", "-c", f"{faster} && systemctl daemon-reload && systemctl restart {UNIT}")
    before = machine.show(UNIT, "NRestarts")
    machine.run("sleep", "7")
    assert machine.show(UNIT, "NRestarts") == before, "it gives signs of life"
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", UNIT)
    until(lambda: machine.show(UNIT, "NRestarts") != before, "a restart", 30)
    until(lambda: machine.show(UNIT, "StatusText") == "STANDBY, online", "that it is online again", 30)
    assert "Watchdog timeout" in machine.run("journalctl", "-u", UNIT).stdout


def test_it_waits_for_a_broker_that_is_not_there_yet(machine: Machine) -> None:
    machine.run("systemctl", "stop", UNIT, "mosquitto")
    machine.run("systemctl", "start", "--no-block", UNIT)
    until(lambda: "the MQTT broker cannot be reached" in machine.show(UNIT, "StatusText"), "what it waits for", 30)
    assert machine.show(UNIT, "ActiveState") == "activating"
    machine.run("systemctl", "start", "mosquitto")
    until(lambda: machine.show(UNIT, "ActiveState") == "active", "that it has started", 30)


def test_a_bot_that_is_shut_down_stays_down(machine: Machine) -> None:
    assert program(machine, "shutdown").returncode == 0
    until(lambda: machine.show(UNIT, "ActiveState") == "inactive", "its end", 30)
    machine.run("sleep", "3")
    assert (machine.show(UNIT, "ActiveState"), machine.show(UNIT, "Result")) == ("inactive", "success")
    assert program(machine, "health").returncode == 1
