import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from allora_mqtt.protocol.commands import Mode
from allora_mqtt_cli.commands.config import scalar
from allora_mqtt_cli.commands.control import ModeName, symbol_of
from allora_mqtt_cli.main import main

COMMANDS = (
    *("status", "watch", "positions", "trades", "performance", "history", "events", "ping", "doctor"),
    *("mode", "close", "flatten", "cancel-orders", "reset-breaker", "refresh-catalog", "publish-state", "shutdown"),
    *(
        "cryptos",
        "config",
        "fleet",
        "run",
        "broker",
        "sim",
        "export",
        "backup",
        "restore",
        "import",
        "demo",
        "schema",
        "version",
    ),
    *("record", "backtest", "sweep", "report"),
)


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MQTT_", "BOT_", "TRADE_", "HL_"))]:
        monkeypatch.delenv(name)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> SimpleNamespace:
    code = main(arguments)
    captured = capsys.readouterr()
    return SimpleNamespace(code=code, out=captured.out, err=captured.err)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    done = run(capsys, command, "--help")
    assert done.code == 0
    assert f"allora-mqtt {command}" in done.out


def test_alone_it_prints_its_help_in_panels(capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys)
    assert done.code == 0
    for panel in ("Control", "See", "Local", "Research", "Connection and output"):
        assert f" {panel} " in done.out


@pytest.mark.parametrize("option", ["--host", "--port", "--username", "--base-topic", "--timeout", "--json"])
def test_shared_options_are_listed_with_each_command(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert option in run(capsys, "status", "--help").out
    assert option in run(capsys, "cryptos", "list", "--help").out


def test_there_is_no_flag_for_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--password" not in run(capsys, "--help").out
    assert run(capsys, "status", "--password", "x").code == 2


@pytest.mark.parametrize(
    "arguments", [["frob"], ["mode", "sideways"], ["status", "--port", "0"], ["config", "set", "x"], ["close"]]
)
def test_wrong_usage_is_2_and_says_what_is_wrong(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    done = run(capsys, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert "(USAGE)" in done.err
    as_json = run(capsys, *arguments, "--json")
    assert as_json.code == 2
    assert json.loads(as_json.out)["error"]["code"] == "USAGE"
    assert as_json.err == ""


def test_a_malformed_symbol_is_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, "close", "BTC/USD", "--port", "1")
    assert done.code == 2
    assert "symbol" in done.err


def test_bad_configuration_is_explained_line_by_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_PORT", "99999")
    monkeypatch.setenv("TRADE_MAX_LEVERAGE", "x")
    done = run(capsys, "config", "check")
    assert done.code == 2
    lines = done.err.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["MQTT_PORT", "TRADE_MAX_LEVERAGE"]
    document = json.loads(run(capsys, "config", "check", "--json").out)
    assert len(document["problems"]) == 2


def test_good_configuration_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "config", "check").code == 0
    assert json.loads(run(capsys, "--json", "config", "check").out) == {"problems": [], "warnings": []}


def test_local_configuration_names_origins_and_masks_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "hunter2")
    Path(".env").write_text("MQTT_HOST=broker\n")
    done = run(capsys, "config", "show", "--local", "--port", "1884", "--json")
    document = json.loads(done.out)
    assert document["MQTT_HOST"] == {"value": "broker", "origin": ".env"}
    assert document["MQTT_PORT"] == {"value": "1884", "origin": "command line"}
    assert document["MQTT_PASSWORD"]["origin"] == "environment"
    assert "hunter2" not in done.out + run(capsys, "config", "show", "--local").out


def test_schema_is_one_json_document_either_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "schema").out) == json.loads(run(capsys, "schema", "--json").out)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "version").out.startswith("allora-mqtt 0.")
    assert json.loads(run(capsys, "version", "--json").out)["protocol_version"] == 1


def test_watch_wants_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, "watch")
    assert done.code == 2
    assert "terminal" in done.err


def test_the_modes_are_those_of_the_contract() -> None:
    assert {mode.upper() for mode in ModeName} == set(Mode)


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("0.4", 0.4), ("1e3", 1000.0), ("allora_gap", "allora_gap")])
def test_values_are_numbers_where_they_look_like_numbers(text: str, value: float | str) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize(("text", "symbol"), [("btc", "BTC"), ("kPEPE", "kPEPE"), ("eth:13", "ETH:13")])
def test_symbols_in_small_letters(text: str, symbol: str) -> None:
    assert symbol_of(text) == symbol


@pytest.mark.parametrize(
    ("words", "offered"), [("allora-mqtt mode ", "standby"), ("allora-mqtt config set max_lev", "max_leverage=")]
)
def test_shell_completion(words: str, offered: str) -> None:
    environment = os.environ | {
        "_ALLORA_MQTT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "allora_mqtt_cli"], env=environment, capture_output=True, text=True, check=False
    )
    assert offered in done.stdout.splitlines()
