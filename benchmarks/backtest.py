"""Bars in a second: the backtest of the bot beside engines that others keep, the same rule on the same bars."""

import csv
import json
import random
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.research.case import Case, Request, open_case, try_case
from allora_mqtt.research.predictions import Skill
from allora_mqtt.research.run import Assumptions
from allora_mqtt.simulator.universe import Universe
from allora_mqtt.trading.risk import MIN_STOP_PCT, MIN_TARGET_PCT
from benchmarks.bench import Bench
from benchmarks.environments import peer
from benchmarks.figures import Bar, Chart, Goal, Section, Spread, Table, ratios, spread

OURS: Final = "allora-mqtt"
_EVENT_DRIVEN: Final = ("backtesting.py", "backtrader")
_PEERS: Final = (*_EVENT_DRIVEN, "vectorbt")
_SKILL: Final = Skill(skill=0.2, seed=7, horizon_s=8 * 3600, every_s=3600)
_DELAY_S: Final = 5.0
_HOUR_S: Final = 3600
_FASTER: Final = 10.0
_SETTINGS: Final = RuntimeSettings(
    price_gap_pct=Decimal(1),
    amount_usd=Decimal(100),
    max_leverage=1,
    cooldown_s=0,
    max_daily_loss_pct=Decimal(100),
    max_drawdown_pct=Decimal(100),
    max_orders_per_minute=1200,
)
_ASSUMPTIONS: Final = Assumptions(
    cash_usd=Decimal(1_000_000), spread_bps=Decimal(0), slippage_bps=Decimal(0), funding_rate=Decimal(0)
)


@dataclass(frozen=True, slots=True)
class _Run:
    """One engine on one file: how long it ran, its trades as (entry, exit, side), and what they brought with fees."""

    seconds: float
    trades: frozenset[tuple[int, int, int]]
    pnl_usd: float


def run(bench: Bench) -> Section:
    """Measure it on real hours, and ours on made-up ones too."""
    folder = bench.folder
    bench.say("reading the real hours")
    real = _case(bench.bars)
    bars = len(real.series[0].bars)
    table = _with_predictions(real, folder / "real.csv")
    runs: dict[str, list[_Run]] = {name: [] for name in (OURS, *_PEERS)}
    for number in range(min(5, bench.scale.rounds)):
        bench.say(f"{bars} real hours, round {number + 1}")
        runs[OURS].append(_ours(real))
        for name in _PEERS:
            runs[name].append(_theirs(name, table))
    bench.say(f"{bench.scale.bars} made-up bars")
    many_s, many_read_s = _made_up(bench.scale.bars, folder / "made-up.csv")
    rows = [
        (name, spread([bars / each.seconds for each in rounds]), *_agreement(rounds[0], runs[OURS][0]))
        for name, rounds in runs.items()
    ]
    fastest = min(_EVENT_DRIVEN, key=lambda name: spread([each.seconds for each in runs[name]]).median)
    faster = ratios([each.seconds for each in runs[fastest]], [each.seconds for each in runs[OURS]])
    return Section(
        key="backtest",
        title="Backtest",
        about=(
            f"{bars} real hours of BTC ({bench.bars.name}; see examples/backtest/README.md for their source), a "
            "made-up prediction each hour, and the bot's own rule, without costs but the fee of 0.045 %. Timed is the "
            "engine alone, not the reading. The bot's backtest runs the live rules on an exchange with margin, tick "
            "and size steps, resting stops and liquidation, in exact decimals; the others fill orders in floating "
            "point. backtrader sees a stop that runs in the bar of its entry one bar later. vectorbt has the rule as "
            "one compiled function; its compiling is not counted."
        ),
        tables=(
            Table(
                title="The same rule, the same bars",
                head=("engine", "bars/s", "trades", "the same entry, exit and side", "PnL with fees, USD"),
                rows=tuple(rows),
            ),
            Table(
                title="Made-up bars, allora-mqtt",
                head=("bars", "bars/s", "reading and predictions, s"),
                rows=((f"{bench.scale.bars:,}", spread([bench.scale.bars / many_s]), spread([many_read_s])),),
            ),
        ),
        charts=(
            Chart(
                name="backtest",
                title="Bars in a second, real hours of BTC, the same rule",
                unit="bars/s",
                is_log=True,
                bars=tuple(
                    Bar(label=name, value=spread([bars / each.seconds for each in rounds]), is_ours=name == OURS)
                    for name, rounds in runs.items()
                ),
            ),
        ),
        goals=(
            Goal(
                what=f"Backtest, against the fastest event-driven peer ({fastest})",
                limit=_FASTER,
                measured=faster,
                unit="x",
                is_least=True,
                why="it computes in exact decimals on a whole exchange, at every open, high, low and close",
            ),
        ),
    )


def _case(prices: Path) -> Case:
    request = Request(
        bars={"BTC": prices},
        recording=None,
        predictions=(),
        skill=_SKILL,
        topics={},
        delay_s=_DELAY_S,
        start=None,
        end=None,
        allow_gaps=True,
    )
    return open_case(request, Universe.load())


def _ours(case: Case) -> _Run:
    universe = Universe.load()
    started = time.perf_counter()
    done = try_case(case, _SETTINGS, _ASSUMPTIONS, universe)
    seconds = time.perf_counter() - started
    # The peers leave open what is open at the end of the data.
    ended = [each for each in done.trades if each.reason != "end_of_data"]
    trades = frozenset((int(each.opened_at), _bar_of(each.closed_at), _sign(each.side)) for each in ended)
    return _Run(seconds, trades, float(sum((each.pnl_usd for each in ended), Decimal(0))))


def _theirs(name: str, table: Path) -> _Run:
    rule = {
        key: float(getattr(_SETTINGS, key))
        for key in ("price_gap_pct", "amount_usd", "tp_ratio", "sl_ratio", "exit_buffer_pct")
    }
    rule |= {"min_stop_pct": float(MIN_STOP_PCT), "min_target_pct": float(MIN_TARGET_PCT)}
    words = peer("engines", "engines.py", name, str(table), json.dumps(rule))
    answer: dict[str, Any] = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    trades = frozenset((opened, closed, side) for opened, closed, side in answer["trades"])
    return _Run(answer["seconds"], trades, answer["pnl_usd"])


def _agreement(run: _Run, ours: _Run) -> tuple[str, str, Spread]:
    same = len(run.trades & ours.trades)
    share = f"{same} of {len(ours.trades)}"
    return str(len(run.trades)), share, spread([run.pnl_usd])


def _with_predictions(case: Case, path: Path) -> Path:
    """Write the bars with the prediction that is known at each open."""
    known: Mapping[int, Decimal] = {
        int(each.known_at) // _HOUR_S * _HOUR_S: each.prediction.price for each in case.steering
    }
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("time", "open", "high", "low", "close", "prediction"))
        for bar in case.series[0].bars:
            writer.writerow((int(bar.at), bar.open, bar.high, bar.low, bar.close, known.get(int(bar.at), "")))
    return path


def _made_up(count: int, path: Path) -> tuple[float, float]:
    """Return how long a run over that many made-up hours took, and their reading, s."""
    rng, price = random.Random(11), 30_000.0  # noqa: S311 - prices, no secret
    start = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("time", "open", "high", "low", "close"))
        for number in range(count):
            close = min(90_000.0, max(10_000.0, price * (1 + rng.gauss(0, 0.006))))
            high, low = max(price, close) * (1 + abs(rng.gauss(0, 0.002))), min(price, close) * 0.998
            writer.writerow((start + number * _HOUR_S, *(f"{each:.1f}" for each in (price, high, low, close))))
            price = float(f"{close:.1f}")
    started = time.perf_counter()
    case = _case(path)
    read_s = time.perf_counter() - started
    return _ours(case).seconds, read_s


def _bar_of(at: float) -> int:
    return int(at) // _HOUR_S * _HOUR_S


def _sign(side: str) -> int:
    return 1 if side == "LONG" else -1
