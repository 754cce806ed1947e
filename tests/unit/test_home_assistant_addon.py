"""The add-on in `examples/home-assistant/addon`: its options are settings, and its script hands them to the program."""

import asyncio
import getpass
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from pydantic import SecretStr

from allora_mqtt import __version__
from allora_mqtt.settings import Settings
from tests.conftest import ROOT
from tests.support.net import free_port
from tests.support.program import CHECKOUT
from tests.support.web import served

ADDON = ROOT / "examples" / "home-assistant" / "addon" / "allora-mqtt"
CONFIG: dict[str, Any] = yaml.safe_load((ADDON / "config.yaml").read_text())
SCHEMA: dict[str, str] = CONFIG["schema"]
SERVICE = {
    "addon": "core_mosquitto",
    "host": "core-mosquitto",
    "port": 1883,
    "ssl": False,
    "protocol": "3.1.1",
    "username": "addons",
    "password": "broker secret",
}
TOKEN = "the add-on's own"  # noqa: S105 - made up
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
    # `/services` is open to every add-on that names the service; no other part of the Supervisor's API is asked for.
    assert CONFIG["services"] == ["mqtt:need"]
    assert not {key for key in CONFIG if key.endswith("_api")}
    assert CONFIG["init"] is True
    assert 10 <= CONFIG["timeout"] <= 300
    assert yaml.safe_load((ADDON.parent / "repository.yaml").read_text())["name"]
    assert all((ADDON / page).read_text().startswith("# AlloraMind\n") for page in ("README.md", "DOCS.md"))
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


def test_the_image_is_told_from_a_name_that_needs_no_registry() -> None:
    (base,) = re.findall(r"^FROM (\S+)", (ADDON / "Dockerfile").read_text(), re.MULTILINE)
    assert "/" not in base
    assert base in (ROOT / "Dockerfile").read_text()


@dataclass
class Supervisor:
    """As much of the Supervisor's API as the add-on asks for: what it answers, and what it was asked with."""

    status: int = 200
    answer: Any = field(default_factory=lambda: {"result": "ok", "data": SERVICE})
    tokens: list[str | None] = field(default_factory=list)
    url: str = ""

    async def services_mqtt(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        body = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(status=self.status, text=body, content_type="application/json")


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    api = Supervisor()
    async with served(web.get("/services/mqtt", api.services_mqtt)) as api.url:
        yield api


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.mark.skipif(sys.platform == "win32", reason="an add-on runs on Linux")
class TestStart:
    """The script as a process of its own; the program that it becomes shows its settings instead of running."""

    @staticmethod
    async def start(tmp_path: Path, url: str, options: object = None, **environment: str) -> Ended:
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        if options is not None:
            (data / "options.json").write_text(options if isinstance(options, str) else json.dumps(options))
        program = tmp_path / "bin" / "allora-mqtt"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"""#!/bin/sh
test -z "$SUPERVISOR_TOKEN" || exit 9
[ "$*" = run ] && exec {CHECKOUT} config show --local --json
""")
        program.chmod(0o755)
        call = f"main(['run'], Path({str(data)!r}), {url!r}, {getpass.getuser()!r})"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"from pathlib import Path; from start import main; {call}",
            cwd=tmp_path,
            env={
                "PATH": f"{program.parent}:{os.defpath}",
                "PYTHONPATH": str(ADDON),
                "SUPERVISOR_TOKEN": TOKEN,
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def test_options_and_the_broker_become_settings_and_secrets_stay_unseen(
        self, tmp_path: Path, supervisor: Supervisor
    ) -> None:
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
        done = await self.start(tmp_path, supervisor.url, options, http_proxy="http://127.0.0.1:9")
        assert done.code == 0, done.err
        shown = json.loads(done.out)
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
            "BOT_DATA_DIR": str(tmp_path / "data"),
            "HL_SECRET_KEY": "**********",
            "DEFAULT_ACTIVE_CRYPTOS": "{'BTC': 14, 'ETH': 13}",
            "TRADE_HARD_MAX_AMOUNT_USD": "75.5",
        }
        assert supervisor.tokens == [f"Bearer {TOKEN}"]
        for secret in (key, "broker secret", TOKEN):
            assert secret not in done.out + done.err

    async def test_a_broker_with_tls_is_spoken_to_with_tls(self, tmp_path: Path, supervisor: Supervisor) -> None:
        supervisor.answer = {"result": "ok", "data": {**SERVICE, "ssl": True, "port": 8883, "username": None}}
        shown = json.loads((await self.start(tmp_path, supervisor.url, {"bot_network": "sim"})).out)
        assert {name: shown[name]["value"] for name in ("MQTT_TLS", "MQTT_PORT")} == {
            "MQTT_TLS": "True",
            "MQTT_PORT": "8883",
        }
        assert shown["MQTT_USERNAME"]["origin"] == "default"

    @pytest.mark.parametrize(
        ("status", "answer", "sentence"),
        [
            (400, {"result": "error", "message": "Service not enabled"}, "(the Supervisor says: Service not enabled)"),
            (200, {"result": "ok", "data": {}}, "install and start the Mosquitto broker"),
            (200, "<html>", "install and start the Mosquitto broker"),
            (403, {"result": "error", "message": "No access to mqtt service!"}, "(No access to mqtt service!)"),
            (401, "", "(HTTP 401)"),
            (502, "", "(the Supervisor says: HTTP 502)"),
        ],
    )
    async def test_without_a_broker_it_says_so_and_does_not_start(
        self, tmp_path: Path, supervisor: Supervisor, status: int, answer: object, sentence: str
    ) -> None:
        supervisor.status, supervisor.answer = status, answer
        done = await self.start(tmp_path, supervisor.url, CONFIG["options"])
        assert (done.code, done.out) == (1, "")
        assert sentence in done.err
        assert len(done.err.splitlines()) == 1

    async def test_without_a_supervisor_it_says_so(self, tmp_path: Path) -> None:
        done = await self.start(tmp_path, f"http://127.0.0.1:{free_port()}", CONFIG["options"])
        assert (done.code, done.out) == (1, "")
        assert "does not answer ([Errno 111] Connection refused). Start this again" in done.err
        alone = await self.start(tmp_path, "http://127.0.0.1:9", CONFIG["options"], SUPERVISOR_TOKEN="")
        assert (alone.code, alone.err) == (
            1,
            "SUPERVISOR_TOKEN is not set: this runs as an add-on of Home Assistant only.\n",
        )

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (None, "cannot be read: No such file or directory"),
            ("{", "cannot be read: it is no JSON"),
            ("[]", "holds no options"),
            ({"LD_PRELOAD": "x"}, "holds no options"),
        ],
    )
    async def test_options_that_cannot_be_read(
        self, tmp_path: Path, supervisor: Supervisor, options: object, reason: str
    ) -> None:
        done = await self.start(tmp_path, supervisor.url, options)
        assert (done.code, done.out) == (1, "")
        assert reason in done.err
        assert "Save the options" in done.err
        assert supervisor.tokens == []
