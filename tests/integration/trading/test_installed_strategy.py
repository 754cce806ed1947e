"""The example strategy, built into a wheel as anybody would, found by its entry point, and traded with."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from allora_mqtt.trading.strategy import BUILT_IN, GROUP, Strategies, installed
from tests.integration.trading.bench import ETH, Bench, until

EXAMPLE = Path(__file__).parents[3] / "examples" / "strategy"


@pytest.fixture
def strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Strategies]:
    """Every strategy, once the example's wheel lies on the path."""
    built, site = tmp_path / "dist", tmp_path / "site"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    monkeypatch.syspath_prepend(str(site))
    (found,) = distributions(path=[str(site)])
    strategies, problems = installed(found.entry_points.select(group=GROUP))
    assert problems == ()
    yield strategies
    sys.modules.pop("momentum_gap", None)


async def test_a_strategy_from_a_wheel_trades(bench: Bench, strategies: Strategies) -> None:
    assert set(strategies) == {*BUILT_IN, "momentum_gap"}
    bench.signal(ETH=0.02)
    bot = await bench.start({"ETH": ETH}, strategies=strategies, strategy="momentum_gap")
    signals, history = bot.engine.signals, bot.engine._thoughts._history
    await until(lambda: "ETH" in signals and "samples of the price" in signals["ETH"].reasons[0], "it wants samples")
    for number in range(4):
        await until(lambda at=number: len(history.of("ETH")) > at, "a sample")  # type: ignore[misc] # a default, not an argument
        assert bench.sent() == []
        await bench.shift("ETH", 1.001)
        bench.clock.advance(300)
    await bench.holding("ETH")
    assert bench.positions()["ETH"] > 0
    assert next(one for one in bot.seen.signals if one.acted).reasons[0].endswith("and the price rises")
