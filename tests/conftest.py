"""Fixtures that several rooms of tests share."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mosquitto import MOSQUITTO, Mosquitto
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


@pytest.fixture(scope="session")
def wheel_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of the wheel, installed with the locked dependencies into an environment of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    binaries = Path(sys.executable).parent
    environment = folder / "environment"
    locked = ROOT / "requirements" / "run.lock"
    python = environment / "bin" / "python"
    steps: list[list[str | Path]] = [
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        [binaries / "uv", "venv", "-q", "--python", sys.executable, environment],
        [binaries / "uv", "pip", "install", "-q", "--python", python, "--require-hashes", "-r", locked],
    ]
    for step in steps:
        subprocess.run(step, cwd=ROOT, check=True, capture_output=True, timeout=300)
    wheel = next(folder.glob("*.whl"))
    install: list[str | Path] = [binaries / "uv", "pip", "install", "-q", "--python", python, "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return environment / "bin" / "allora-mqtt"


@pytest.fixture
def program() -> Path:
    """The command of the environment that the tests run in."""
    return CHECKOUT
