"""On what was measured, and when: without it no number means anything."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from allora_mqtt import __version__
from benchmarks.figures import Model
from tests.support.mosquitto import MOSQUITTO

_CHECKOUT = Path(__file__).parent.parent
_PARTS = ("paho-mqtt", "amqtt", "sqlalchemy", "aiohttp", "pydantic", "hyperliquid-python-sdk")
QUIET_LOAD = 3.0
"""Above this load at the start, numbers say more of the machine's other work than of the bot."""


class Machine(Model):
    """What a run was made on.

    Attributes:
        load_at_start: of the machine in the minute before, without the suite.
        commit: of the checkout, with a `+` where it was changed.
    """

    version: str
    commit: str
    measured_at: datetime
    cores: int
    processor: str
    system: str
    python: str
    mosquitto: str
    parts: dict[str, str]
    load_at_start: float

    @property
    def was_quiet(self) -> bool:
        """Whether there was little other work when the run began."""
        return self.load_at_start < QUIET_LOAD


def look() -> Machine:
    """Look at this machine."""
    return Machine(
        version=__version__,
        commit=_commit(),
        measured_at=datetime.now(UTC).replace(microsecond=0),
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        mosquitto=_mosquitto(),
        parts={name: importlib.metadata.version(name) for name in _PARTS},
        load_at_start=round(os.getloadavg()[0], 2),
    )


def _commit() -> str:
    commit = _said("git", "-C", str(_CHECKOUT), "rev-parse", "--short", "HEAD")
    return f"{commit}+" if _said("git", "-C", str(_CHECKOUT), "status", "--porcelain") else commit


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _mosquitto() -> str:
    if MOSQUITTO is None:
        return "not installed"
    return _said(MOSQUITTO, "-h").partition("\n")[0].removeprefix("mosquitto version ")


def _said(*words: str) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return "unknown"
