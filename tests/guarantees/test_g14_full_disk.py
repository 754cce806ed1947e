"""G14, full disk: what cannot be written down waits and is not lost; no entry leaves meanwhile."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guarantees.recovery import Recovery, recovery
from tests.guarantees.scale import IS_LONG, SCALE
from tests.guarantees.sender import Plan
from tests.support import monitoring
from tests.support.exchange import entries
from tests.support.mosquitto import Mosquitto
from tests.support.net import free_port, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 if IS_LONG else 120)]

_DISK = "16m"


@contextmanager
def _small_disk(at: Path) -> Iterator[None]:
    at.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", at], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here (root can): {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def _fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for _ in range(10):
            space = os.statvfs(disk)
            try:
                file.write(bytes(space.f_bavail * space.f_frsize))
            except OSError:
                break
    return ballast


@pytest.mark.parametrize("version", ["5", "3.1.1"] if IS_LONG else ["5"])
def test_the_disk_is_full(version: str, mosquitto: Mosquitto, tmp_path: Path) -> None:
    disk, port = tmp_path / "bot" / "data", free_port()
    with _small_disk(disk), recovery(tmp_path, mosquitto, version, BOT_METRICS_BIND=str(port)) as ready:
        assert monitoring.verdict(port, "/healthz") == (200, {})
        ballast = _fill(disk)
        _use_up(ready)
        arrivals = len(ready.here.exchange.arrivals())
        ready.send(20)
        standby = Plan(f"standby-{version}", "mode/set", json.dumps({"value": "STANDBY", "id": f"standby-{version}"}))
        ready.sender.send(standby)
        time.sleep(SCALE.outage_s)
        assert standby.id not in ready.sender.answered()
        assert os.statvfs(disk).f_bavail == 0
        status, lacks = monitoring.verdict(port, "/healthz")
        assert (status, set(lacks)) == (503, {"store"})
        assert monitoring.value(port, "dependency_up", dependency="store") == 0
        ballast.unlink()
        # STANDBY came last: nothing may have been opened since it was sent, journaled or not.
        until(lambda: standby.id in ready.sender.answered(), "STANDBY's answer", 120)
        until(lambda: ready.watcher.last("mode") == b"STANDBY", "STANDBY")
        opened = entries(ready.here.exchange.arrivals()[arrivals:])
        (_, response), *more = ready.sender.sendings[standby.id].responses
        assert (response["status"], more) == ("EXECUTED", [])
        assert opened == []
        until(lambda: monitoring.verdict(port, "/healthz") == (200, {}), "a store that writes", 30)
        ready.activate()
        ready.prove(f"disk full, MQTT {version}", full_s=SCALE.outage_s, entries_while_full=len(opened))


def _use_up(ready: Recovery) -> None:
    """Send until the bot says that its database refuses: the pages that a file has already can still be written."""

    def refuses() -> bool:
        ready.send(20)
        time.sleep(0.3)
        health = ready.watcher.json("health")
        return bool(health and health["store"]["state"] != "ok")

    until(refuses, "a database that refuses", 60)
