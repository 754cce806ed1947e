"""The compose file and the image, as far as they can be read without an engine."""

import re
from typing import Any

import pytest
import yaml

from allora_mqtt.settings import Settings
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_every_setting_in_the_compose_file_exists() -> None:
    for service in COMPOSE["services"].values():
        for name in service.get("environment", {}):
            group, _, key = name.lower().partition("_")
            assert group in Settings.model_fields, name
            assert key in type(getattr(Settings(), group)).model_fields, name


def test_every_file_and_volume_in_the_compose_file_exists() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume


@pytest.mark.parametrize("line", re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
def test_everything_the_image_copies_exists(line: str) -> None:
    for source in line.split()[:-1]:
        assert (ROOT / source).exists(), source


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert re.search(r"^USER bot$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
