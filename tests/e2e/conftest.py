"""What tests with a Debian of their own share: tests/e2e/install_debian, and the image that is built in it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.image import Image, build

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "allora-mqtt"
CANARY = "b3d1c0ffee" * 4
"""Lies about in the folder that the image is built from, and must not get into it."""


@pytest.fixture(scope="session")
def debian() -> Path:
    """The small Debian."""
    assert os.getuid() == 0, "what is built is run in a chroot; run this as root"
    root = Path(os.environ.get("DEBIAN_ROOT", CACHE / "debian-trixie"))
    assert (root / "usr/local/bin/python").exists(), "tests/e2e/install_debian has not run"
    return root


@pytest.fixture(scope="session")
def image(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The bot's image, from a folder in which secrets lie about."""
    context = tmp_path_factory.mktemp("context") / "allora-mqtt"
    shutil.copytree(ROOT, context, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", "dist", "docs", "tests"))
    for place in (".env", "cli/.env", "allora_mqtt/allora-mqtt.toml", "secrets/hl_secret_key", "data/bot.sqlite3"):
        (context / place).parent.mkdir(exist_ok=True)
        (context / place).write_text(CANARY)
    folder = tmp_path_factory.mktemp("image")
    yield build(context, debian, folder)
    # Nobody wants to look at a gigabyte.
    shutil.rmtree(folder)
