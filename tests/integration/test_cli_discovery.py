"""`allora-mqtt discovery` against a real broker; with the bot beside it: tests/e2e/test_discovery.py."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from allora_mqtt.discovery.device import encode, message
from allora_mqtt_cli.main import main
from tests.support.mosquitto import MOSQUITTO_PUB, Mosquitto
from tests.unit.discovery.things import subject

pytestmark = pytest.mark.mosquitto

CONFIG = "house/device/allora_mqtt_bot/config"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MQTT_HOST", "127.0.0.1")
    monkeypatch.setenv("MQTT_PORT", str(mosquitto.port))
    monkeypatch.setenv("MQTT_DISCOVERY_PREFIX", "house")

    def run_cli(*words: str) -> tuple[int, str, str]:
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_cli


def keep(mosquitto: Mosquitto, payload: bytes) -> None:
    assert MOSQUITTO_PUB is not None
    words = [MOSQUITTO_PUB, "-p", str(mosquitto.port), "-q", "1", "-r", "-s", "-t", CONFIG]
    subprocess.run(words, input=payload, check=True, timeout=10)


def test_it_is_shown_as_a_table_of_entities_with_their_topics(mosquitto: Mosquitto, run: Run) -> None:
    shown = message(subject("BTC"))
    keep(mosquitto, encode(shown))
    code, out, err = run("discovery")
    assert (code, err) == (0, "")
    assert "select.bot_mode" in out
    assert "bot/cryptos/BTC/set" in out
    assert f"{len(shown['cmps'])} entities, {len(encode(shown))} bytes at {CONFIG}." in out
    code, out, _ = run("discovery", "show", "--json")
    assert json.loads(out) == {"topic": CONFIG, "published": True, "bytes": len(encode(shown)), "message": shown}


@pytest.mark.parametrize("garbage", [b"\xff", b"[]", b'{"cmps":7}', b'{"cmps":{"x":null}}', b"[" * 100_000])
def test_what_is_no_device_message_is_said_to_be_none(mosquitto: Mosquitto, run: Run, garbage: bytes) -> None:
    keep(mosquitto, garbage)
    code, out, err = run("discovery", "show")
    assert (code, out) == (4, "")
    assert "discovery clear" in err


def test_names_of_strangers_cannot_steer_the_terminal(mosquitto: Mosquitto, run: Run) -> None:
    keep(mosquitto, json.dumps({"cmps": {"\x1b[2J": {"p": "light", "name": "[red]\x07", "stat_t": 7}}}).encode())
    code, out, _ = run("discovery")
    assert code == 0
    assert "[red]" in out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_cleared_it_is_not_kept_any_more(mosquitto: Mosquitto, run: Run) -> None:
    keep(mosquitto, encode(message(subject())))
    code, out, err = run("discovery", "clear")
    assert (code, out) == (0, f"Cleared {CONFIG}.\n")
    assert "MQTT_DISCOVERY=false" in err
    assert json.loads(run("discovery", "clear", "--json")[1]) == {"topic": CONFIG, "cleared": True}
    code, _, err = run("discovery", "show")
    assert code == 5
    assert "bot/info" in err
