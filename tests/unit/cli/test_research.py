"""Backtests from the command line: what is written, and how each mistake is told."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from allora_mqtt_cli.main import main

HEAD = "time,open,high,low,close,volume_usd\n"
HOURS = HEAD + "".join(
    f"{1_767_225_600 + number * 3600},50000,{50500 + number},{49500 - number},50000,1\n" for number in range(48)
)
PREDICTED = (
    "at,topic,symbol,horizon,price\n2026-01-01T01:00:00Z,14,BTC,8h,51000\n2026-01-01T20:00:00Z,14,BTC,8h,49000\n"
)
AT_ONCE = ("--prices", "hours.csv", "--predictions", "p.csv", "--delay-s", "0")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MQTT_", "BOT_", "TRADE_", "HL_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "hours.csv").write_text(HOURS)
    (tmp_path / "p.csv").write_text(PREDICTED)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> SimpleNamespace:
    code = main(arguments)
    captured = capsys.readouterr()
    return SimpleNamespace(code=code, out=captured.out, err=captured.err)


def test_figures_and_warnings_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, "backtest", *AT_ONCE)
    assert done.code == 0
    assert "Max drawdown" in done.out
    assert "FEW_TRADES" in done.err
    assert "SYNTHETIC" not in done.err
    assert list(Path().glob("*.json")) == []


def test_settings_are_those_of_the_bot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def trades(*more: str) -> int:
        figures = json.loads(run(capsys, "backtest", *AT_ONCE, *more, "--json").out)["figures"]
        return int(figures["trades"])

    assert trades() == 2
    assert trades("--set", "price_gap_pct=3") == 0
    Path(".env").write_text("TRADE_PRICE_GAP_PCT=3\n")
    assert trades() == 0
    assert trades("--set", "price_gap_pct=1") == 2
    monkeypatch.setenv("TRADE_HARD_MAX_AMOUNT_USD", "60")
    refused = run(capsys, "backtest", *AT_ONCE, "--set", "amount_usd=61")
    assert (refused.code, "OUT_OF_RANGE" in refused.err, "TRADE_HARD_MAX_AMOUNT_USD" in refused.err) == (2, True, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--predictions", "p.csv"), "BAD_OPTION"),
        (("--prices", "hours.csv"), "NO_PREDICTIONS"),
        (("--prices", "none.csv", "--skill", "1"), "NO_FILE"),
        (("--prices", "p.csv", "--skill", "1"), "MISSING_COLUMN"),
        (("--prices", "NOSUCH=hours.csv", "--skill", "1"), "UNKNOWN_SYMBOL"),
        (("--prices", "B<b>=hours.csv", "--skill", "1"), "UNKNOWN_SYMBOL"),
        (("--prices", "hours.csv", "--prices", "BTC=hours.csv", "--skill", "1"), "BAD_OPTION"),
        (("--prices", "hours.csv", "--data", ".", "--skill", "1"), "BAD_OPTION"),
        (("--data", ".", "--skill", "1"), "NO_FILE"),
        ((*AT_ONCE, "--skill", "1"), "BAD_OPTION"),
        ((*AT_ONCE, "--topic", "BTC:15"), "NO_PREDICTIONS"),
        ((*AT_ONCE, "--topic", "BTC"), "BAD_OPTION"),
        ((*AT_ONCE, "--from", "2027-01-01"), "EMPTY_RANGE"),
        ((*AT_ONCE, "--from", "2026-01-01T10:00"), "NO_TIME_ZONE"),
        ((*AT_ONCE, "--to", "soon"), "BAD_TIME"),
        ((*AT_ONCE, "--cash", "lots"), "BAD_OPTION"),
        ((*AT_ONCE, "--cash", "nan"), "BAD_OPTION"),
        ((*AT_ONCE, "--cash", "0"), "BAD_OPTION"),
        ((*AT_ONCE, "--spread-bps", "-1"), "BAD_OPTION"),
        ((*AT_ONCE, "--funding-rate", "1"), "BAD_OPTION"),
        ((*AT_ONCE, "--set", "nonsense"), "BAD_OPTION"),
        ((*AT_ONCE, "--set", "nonsense=1"), "UNKNOWN_KEY"),
        ((*AT_ONCE, "--set", "max_leverage=51"), "OUT_OF_RANGE"),
        ((*AT_ONCE, "--out", "p.csv"), "NOT_WRITABLE"),
        (("--prices", "hours.csv", "--skill", "2"), "USAGE"),
        (("--prices", "hours.csv", "--skill", "1", "--horizon", "later"), "BAD_NUMBER"),
    ],
)
def test_each_mistake_has_its_sentence_and_code(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: str
) -> None:
    done = run(capsys, "backtest", *arguments, "--json")
    told = json.loads(done.out)["error"]
    assert (done.code, told["code"]) == (2, code)
    assert "Traceback" not in done.err


def test_reports_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "NO_FILE" in run(capsys, "report", "none.json").err
    Path("x.json").write_text("{}")
    assert "BAD_RESULT" in run(capsys, "report", "x.json").err
    assert "BAD_OPTION" in run(capsys, "report", "x.json", "--from", "2026-01-01").err
    Path("not.sqlite3").write_text("no database, whatever it is called")
    assert "BAD_RESULT" in run(capsys, "report", "--database", "sqlite:///not.sqlite3").err


def test_without_the_library_that_draws_the_result_is_kept_and_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    done = run(capsys, "backtest", *AT_ONCE, "--out", "kept")
    assert (done.code, "NO_LIBRARY" in done.err, "allora-mqtt[research]" in done.err) == (0, True, True)
    assert [path.name for path in Path("kept").iterdir()] == ["result.json"]
    assert "NO_LIBRARY" in run(capsys, "report", "kept/result.json").err


def test_a_sweep_refuses_what_a_command_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert "OUT_OF_RANGE" in run(capsys, "sweep", *AT_ONCE, "--gap", "0.5,51").err
    assert "BAD_OPTION" in run(capsys, "sweep", *AT_ONCE, "--gap", "0.5,x").err
    assert "BAD_OPTION" in run(capsys, "sweep", *AT_ONCE, "--train", "0.95").err
    many = ",".join(str(1 + number / 100) for number in range(50))
    assert "BAD_OPTION" in run(capsys, "sweep", *AT_ONCE, "--gap", many, "--tp", many).err
