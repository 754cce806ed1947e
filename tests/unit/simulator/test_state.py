from pathlib import Path

import pytest

from allora_mqtt.simulator.account import Leverage
from allora_mqtt.simulator.state import Snapshot, StateError, StateFile
from tests.unit.simulator.bench import BTC, ETH, Bench, exit_order, limit, market_order


def test_everything_comes_back_as_it_was(tmp_path: Path, bench: Bench) -> None:
    bench.exchange.set_leverage(bench.account, BTC, Leverage(3, is_cross=False), bench.now_s)
    bench.place(market_order(BTC, "0.01", cloid="0x" + "1" * 32))
    bench.place(market_order(ETH, "-1"), exit_order(ETH, "1", "2100", "sl"), grouping="normalTpsl")
    bench.place(limit(ETH, "1", "1900"), exit_order(ETH, "-1", "1800", "sl"), grouping="normalTpsl")
    bench.go(2 * 3_600)
    bench.market.shift("BTC", 1.5, bench.now_s)
    bench.exchange.state.nonces["0x1"] = [1, 2, 3]
    bench.exchange.state.agents["0x2"] = "0x3"
    file = StateFile(tmp_path / "deep" / "state.json")
    snapshot = Snapshot(bench.market.clock, bench.market.shifts, bench.exchange.state)
    file.save(snapshot)
    assert file.load() == snapshot
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.json"]


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "none").load() is None
    assert StateFile(None).load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"clock": 1}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(StateError, match=r"state\.json"):
        StateFile(path).load()
