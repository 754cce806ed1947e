"""Fixtures that several rooms of tests share."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.postgres import Postgres, running_postgres
from tests.support.program import CHECKOUT

ROOT = Path(__file__).parent.parent


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real mosquitto on a free port."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    broker = Mosquitto(tmp_path / "mosquitto")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def log_of_its_own() -> Iterator[None]:
    """A log without listeners, pytest's own included; as before at the end."""
    root, bot = logging.getLogger(), logging.getLogger("allora_mqtt")
    handlers, levels = root.handlers[:], (root.level, bot.level)
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    bot.setLevel(levels[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL on a free port, for tests that leave it running."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def wheel_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of the wheel, installed with the locked dependencies into an environment of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = folder / "environment"
    pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "install", "-q", "--no-compile"]
    steps: list[list[str | Path]] = [
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        [sys.executable, "-m", "venv", environment],
        [*pip, "--require-hashes", "-r", ROOT / "requirements" / "run.lock"],
    ]
    for step in steps:
        subprocess.run(step, cwd=ROOT, check=True, capture_output=True, timeout=300)
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True, capture_output=True, timeout=120)
    return environment / "bin" / "allora-mqtt"


@pytest.fixture
def program() -> Path:
    """The command of the environment that the tests run in."""
    return CHECKOUT
