"""The compose file and the image, as far as they can be read; tests/e2e/test_image.py runs them."""

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from allora_mqtt import __version__
from allora_mqtt.settings import Settings
from tests.conftest import ROOT
from tests.support.image import instructions, is_ignored

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BOTS = {name: service for name, service in SERVICES.items() if name.startswith("bot-")}
STEPS = list(instructions((ROOT / "Dockerfile").read_text()))
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
NOT_OURS = {"PGPASSFILE"}


@pytest.mark.parametrize("name", BOTS)
def test_a_bot_of_the_compose_file_has_settings_and_no_secret_among_them(name: str) -> None:
    service = BOTS[name]
    assert service["environment"]["BOT_NETWORK"] == name.removeprefix("bot-") == service["profiles"][0]
    mounted = {f"/run/secrets/{secret}" for secret in service["secrets"]}
    for setting, value in service["environment"].items():
        group, _, key = setting.lower().partition("_")
        assert setting in NOT_OURS or key in type(getattr(Settings(), group)).model_fields, setting
        assert not str(value).startswith("/run/secrets/") or value in mounted, setting
    # One data folder keeps the books of one network.
    assert [volume for volume in service["volumes"] if volume in {other["volumes"][0] for other in BOTS.values()}]
    assert len({other["volumes"][0] for other in BOTS.values()}) == len(BOTS)


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"home-assistant"}))
def test_a_service_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] or name == "node-red"
    assert not {"privileged", "network_mode", "pid"} & service.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_open_to_others_unless_somebody_says_so(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith(("127.0.0.1:", "${MQTT_BIND:-127.0.0.1}:"))
    # A name without a host is the public registry's.
    assert "/" not in SERVICES[name]["image"] or "." not in SERVICES[name]["image"].split("/")[0]


def test_every_file_of_the_repository_in_the_compose_file_exists_and_every_volume_is_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            made = source.startswith("./broker")
            there = (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
            assert made or there, volume


def test_what_the_compose_file_wants_made_is_never_committed() -> None:
    kept_out = (ROOT / ".gitignore").read_text().split()
    assert {"/broker/", "/secrets/", "/bot.env"} <= set(kept_out)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no POSIX shell")
def test_the_script_that_makes_it_is_clean() -> None:
    script = ROOT / "examples" / "docker" / "prepare"
    subprocess.run([Path(sys.executable).parent / "shellcheck", "-s", "sh", script], check=True, timeout=60)


def test_everything_the_image_copies_exists_and_gets_into_the_context() -> None:
    sources = [name for step in STEPS if step.name == "COPY" and not step.flag("from") for name in step.arguments[:-1]]
    assert len(sources) > 5
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(PurePosixPath(source), IGNORED), source


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "cli/.env",
        "allora_mqtt/allora-mqtt.toml",
        ".git/config",
        "secrets/hl_secret_key",
        "bot.env",
        "broker/acl",
        "tests/conftest.py",
        "allora_mqtt/__pycache__/bot.pyc",
        "docker-compose.yml",
    ],
)
def test_nothing_else_gets_into_the_context(path: str) -> None:
    assert is_ignored(PurePosixPath(path), IGNORED)


@pytest.mark.parametrize("path", ["cli/allora_mqtt_cli/main.py", "requirements/image.lock", "allora_mqtt/py.typed"])
def test_what_the_program_is_made_of_does(path: str) -> None:
    assert not is_ignored(PurePosixPath(path), IGNORED)


def test_the_image_runs_as_nobody_in_particular_and_says_what_it_is() -> None:
    assert [step.words for step in STEPS if step.name == "USER"] == ["10001:10001"]
    (label,) = [step for step in STEPS if step.name == "LABEL"]
    assert f"org.opencontainers.image.version={__version__}" in label.arguments
    (check,) = [step.words for step in STEPS if step.name == "HEALTHCHECK"]
    assert check.endswith('CMD ["allora-mqtt", "health"]')


def test_the_images_lock_is_the_bots_with_the_driver_for_postgresql() -> None:
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    more = {line.split("==")[0] for line in versions("image.lock") - versions("run.lock")}
    assert versions("run.lock") <= versions("image.lock")
    assert {"psycopg", "psycopg-binary"} <= more <= {"psycopg", "psycopg-binary", "tzdata"}
