"""The add-on in `examples/home-assistant/addon`: its options are settings, and its script hands them to the program."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from allora_mqtt import __version__
from allora_mqtt.settings import Settings
from tests.conftest import ROOT
from tests.support.program import CHECKOUT

ADDON = ROOT / "examples" / "home-assistant" / "addon" / "allora-mqtt"
CONFIG: dict[str, Any] = yaml.safe_load((ADDON / "config.yaml").read_text())
SCHEMA: dict[str, str] = CONFIG["schema"]
SERVICE = {"host": "core-mosquitto", "port": 1883, "ssl": False, "username": "addons", "password": "broker secret"}
SCHEMA_ELEMENT = re.compile(
    r"(?:bool|url|port|str|password|int(?:\((\d+)?,(\d+)?\))?|float(?:\(([\d.]+)?,([\d.]+)?\))?|match\(.*\)|list\((.+)\))\??"
)
"""What the Supervisor takes for the type of an option."""


def setting(option: str, value: object) -> object:
    """Return what a setting makes of a value."""
    group, _, key = option.partition("_")
    model: Any = Settings.model_fields[group].annotation
    return getattr(model.model_validate({key: value}), key)


def test_the_add_on_is_what_the_supervisor_takes() -> None:
    assert {"name", "version", "slug", "description", "arch", "options", "schema"} <= set(CONFIG)
    assert CONFIG["version"] == __version__
    assert CONFIG["services"] == ["mqtt:need"]
    assert 10 <= CONFIG["timeout"] <= 300
    assert yaml.safe_load((ADDON.parent / "repository.yaml").read_text())["name"]
    for option, kind in SCHEMA.items():
        assert SCHEMA_ELEMENT.fullmatch(kind), option
        assert kind.endswith("?") is (option not in CONFIG["options"])


@pytest.mark.parametrize("option", SCHEMA)
def test_every_option_is_a_setting_that_takes_what_the_option_takes(option: str) -> None:
    group, _, key = option.partition("_")
    assert key in type(getattr(Settings(), group)).model_fields
    found = SCHEMA_ELEMENT.fullmatch(SCHEMA[option])
    assert found
    *bounds, choices = found.groups()
    for value in (choices or "").split("|") if choices else [bound for bound in bounds if bound]:
        setting(option, value)


def test_every_secret_is_typed_as_one() -> None:
    for option, kind in SCHEMA.items():
        group, _, key = option.partition("_")
        annotation = type(getattr(Settings(), group)).model_fields[key].annotation
        assert (SecretStr in getattr(annotation, "__args__", ())) is kind.startswith("password"), option


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_option_is_translated(language: str) -> None:
    texts = yaml.safe_load((ADDON / "translations" / f"{language}.yaml").read_text())["configuration"]
    assert list(texts) == list(SCHEMA)
    assert all(set(text) == {"name", "description"} and all(text.values()) for text in texts.values())


def test_everything_the_image_copies_is_there_or_put_there_by_make() -> None:
    made = re.search(r"^addon:.*?\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    assert made
    for line in re.findall(r"^COPY (.+)$", (ADDON / "Dockerfile").read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ADDON / source).exists() or source in made[0] or "build -t wheel" in made[0], source


@pytest.mark.skipif(sys.platform == "win32", reason="there is no bash")
class TestRun:
    """The script with the real program, which shows the settings instead of running."""

    @staticmethod
    def run(
        tmp_path: Path, options: dict[str, Any], service: dict[str, Any] | None
    ) -> "subprocess.CompletedProcess[str]":
        program = tmp_path / "bin" / "allora-mqtt"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\n[ "$*" = run ] && exec {CHECKOUT} config show --local --json\n')
        program.chmod(0o755)
        return subprocess.run(
            ["bash", "-c", f". {ROOT}/tests/support/bashio.sh; . {ADDON}/run.sh"],
            cwd=tmp_path,
            env={
                "PATH": f"{program.parent}:/usr/bin:/bin",
                "HOME": str(tmp_path),
                "PYTHON": sys.executable,
                "OPTIONS": json.dumps(options),
                "SERVICE": json.dumps(service) if service else "",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_shellcheck_has_nothing_to_say(self) -> None:
        words: list[str | Path] = [Path(sys.executable).parent / "shellcheck", ADDON / "run.sh"]
        subprocess.run(words, check=True, timeout=60)

    def test_options_and_the_broker_become_settings_and_secrets_stay_unseen(self, tmp_path: Path) -> None:
        key = "ab" * 32
        options = {
            **CONFIG["options"],
            "bot_default_mode": "LAST",
            "hl_secret_key": key,
            "default_active_cryptos": "BTC:14,ETH:13",
            "trade_hard_max_amount_usd": 75.5,
            "mqtt_discovery_active_expiry_s": 30,
            "mqtt_discovery_cryptos": "",
            "bot_log_level": None,
        }
        done = self.run(tmp_path, options, SERVICE)
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        said = {name: row["value"] for name, row in shown.items() if row["origin"] == "environment"}
        assert said == {
            "MQTT_HOST": "core-mosquitto",
            "MQTT_PORT": "1883",
            "MQTT_USERNAME": "addons",
            "MQTT_PASSWORD": "**********",
            "MQTT_TLS": "False",
            "MQTT_DISCOVERY_ACTIVE_EXPIRY_S": "30",
            "BOT_NETWORK": "sim",
            "BOT_DEFAULT_MODE": "LAST",
            "BOT_DATA_DIR": "/data",
            "HL_SECRET_KEY": "**********",
            "DEFAULT_ACTIVE_CRYPTOS": "{'BTC': 14, 'ETH': 13}",
            "TRADE_HARD_MAX_AMOUNT_USD": "75.5",
        }
        assert key not in done.stdout + done.stderr
        assert "broker secret" not in done.stdout + done.stderr

    def test_without_a_broker_it_says_so_and_does_not_start(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, CONFIG["options"], None)
        assert done.returncode == 1
        assert "Mosquitto broker" in done.stderr
        assert done.stdout == ""
