"""A run is the same each time, and a sweep on several processes comes to what its backtests come to one by one."""

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings
from allora_mqtt.research.case import Case, try_case
from allora_mqtt.research.predictions import Skill, synthetic
from allora_mqtt.research.prices import read_bars
from allora_mqtt.research.run import Assumptions
from allora_mqtt.research.summary import figures_of
from allora_mqtt.research.sweep import Grid, Split, try_all
from allora_mqtt.simulator.universe import Universe
from allora_mqtt_cli.main import main
from tests.conftest import ROOT

HOURS = ROOT / "examples" / "backtest" / "btc_2021-09.csv"


def case_of(path: Path) -> Case:
    series = read_bars(path, "BTC").between(None, 1_631_000_000)
    skill = Skill(0.3, 7, 28_800, 3600)
    predictions = tuple(synthetic(series, Universe.load(), skill, 5))
    return Case((series,), predictions, predictions, (), skill, 5)


def test_each_cell_is_a_backtest_of_its_own_and_the_rest_has_no_say() -> None:
    case, base, assumptions = case_of(HOURS), RuntimeSettings(), Assumptions()
    grid = Grid((Decimal("0.5"), Decimal(1)), (Decimal(1), Decimal(2)), (Decimal("0.5"),))
    combinations = grid.combinations(base, HardLimits())
    done: list[int] = []
    result = try_all(case, combinations, base, assumptions, Split(0.5, 2), "Four", done.append)
    assert done == [1, 2, 3, 4]
    assert [(cell.price_gap_pct, cell.tp_ratio) for cell in result.cells] == [
        (settings.price_gap_pct, settings.tp_ratio) for settings in combinations
    ]
    split = result.split.timestamp()
    train, test = case.between(None, split), case.between(split, None)
    assert train.end <= split <= test.start
    # What was predicted before the split is known after it; what was predicted after is not known before.
    assert all(known.known_at <= train.end for known in train.steering)
    for settings, cell in zip(combinations, result.cells, strict=True):
        for part, figures in ((train, cell.train), (test, cell.test)):
            run = try_case(part, settings, assumptions, Universe.load())
            assert figures == figures_of(part, run, assumptions)
    assert result.warnings[0].code == "OVERFITTING"
    assert {cell.train.trades for cell in result.cells} != {0}


def test_the_same_seed_gives_the_same_file_to_the_byte(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("BOT_", "TRADE_"))]:
        monkeypatch.delenv(name)
    made_up = ("--prices", f"BTC={HOURS}", "--to", "2021-09-04", "--skill", "0.3", "--json")
    for out in ("a", "b"):
        assert main(["backtest", *made_up, "--out", out]) == 0
    capsys.readouterr()
    assert main(["backtest", *made_up, "--seed", "8", "--out", "c"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["c/result.json", "c/report.html"]
    a, b, c = (Path(out, "result.json").read_bytes() for out in "abc")
    assert a == b != c
    assert Path("a/report.html").read_bytes() == Path("b/report.html").read_bytes()
    assert main(["report", "a/result.json", "--out", "again.html"]) == 0
    assert "opens offline" in capsys.readouterr().out
    assert Path("again.html").read_bytes() == Path("a/report.html").read_bytes()
