"""The figures against ones computed by hand."""

import math
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from allora_mqtt.protocol.messages import Side
from allora_mqtt.research.figures import Outcome, by_day, figures, max_drawdown_pct
from allora_mqtt.research.run import Moment
from allora_mqtt.research.trades import Trade
from tests.unit.research.things import START, hour

DAY_S = 86_400


def trade(opened_h: float, closed_h: float, pnl: str, **other: Any) -> Trade:
    fields: dict[str, Any] = {
        "symbol": "BTC",
        "side": Side.LONG,
        "size": Decimal(1),
        "topic_id": 14,
        "gap_pct": Decimal(1),
        "entry_price": Decimal(100),
        "exit_price": Decimal(101),
        "stop_price": Decimal(99),
        "target_price": Decimal(102),
        "opened_at": hour(opened_h),
        "closed_at": hour(closed_h),
        "fees_usd": Decimal("0.5"),
        "funding_usd": Decimal("0.25"),
        "pnl_usd": Decimal(pnl),
        "reason": "target",
    }
    return Trade(**fields | other)


def curve(*equity: int) -> list[Moment]:
    return [Moment(START + day * DAY_S, Decimal(usd), Decimal(usd)) for day, usd in enumerate(equity)]


def test_each_day_is_counted_to_its_midnight() -> None:
    days = by_day(curve(100, 110, 99, 121), Decimal(100))
    assert [day.day for day in days] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert [int(day.pnl_usd) for day in days] == [10, -11, 22]
    assert [round(day.return_pct, 4) for day in days] == [10, -10, Decimal("22.2222")]


def test_drawdown_counts_the_lowest_within_a_bar() -> None:
    moments = [
        Moment(START, Decimal(100), Decimal(100)),
        Moment(START + 1, Decimal(120), Decimal(90)),
        Moment(START + 2, Decimal(110), Decimal(108)),
    ]
    # 90 came before the peak of 120 was known to be one: it is 10 % below 100, and 108 is 10 % below 120.
    assert max_drawdown_pct(moments, Decimal(100)) == 10


def test_trades_in_figures() -> None:
    trades = [trade(0, 2, "6"), trade(1, 4, "-2"), trade(10, 11, "-1")]
    found = figures(Outcome(curve(100, 103), trades, hold_return_pct=1.5), Decimal(100), [])
    assert found.trades == 3
    assert found.win_rate_pct == pytest.approx(100 / 3)
    assert found.profit_factor == 2
    assert found.expectancy_usd == 1
    assert found.exposure_pct == pytest.approx(5 / 24 * 100)  # two overlap: from hour 0 to 4, and one more
    assert (found.fees_usd, found.funding_usd) == (Decimal("1.5"), Decimal("0.75"))
    assert found.average_holding_h == pytest.approx(2)
    assert found.return_pct == 3
    assert (found.cagr_pct, found.sharpe, found.sortino) == (None, None, None)


def test_ratios_by_the_year() -> None:
    equity = [1000]
    for number in range(60):
        equity.append(equity[-1] + (30 if number % 3 else -40))
    days = by_day(curve(*equity), Decimal(1000))
    found = figures(Outcome(curve(*equity), [], hold_return_pct=None), Decimal(1000), days)
    returns = [b / a - 1 for a, b in pairwise(equity)]
    mean = sum(returns) / 60
    deviation = math.sqrt(sum((each - mean) ** 2 for each in returns) / 59)
    downside = math.sqrt(sum(min(each, 0) ** 2 for each in returns) / 60)
    assert found.sharpe == pytest.approx(mean / deviation * math.sqrt(365))
    assert found.sortino == pytest.approx(mean / downside * math.sqrt(365))
    assert found.cagr_pct == pytest.approx(((equity[-1] / 1000) ** (365 / 60) - 1) * 100)
    assert (found.worst_day_usd, found.worst_day_on) == (Decimal(-40), "2026-01-01")


def test_a_run_without_trades_has_figures_too() -> None:
    found = figures(Outcome(curve(100), [], hold_return_pct=None), Decimal(100), [])
    assert (found.trades, found.win_rate_pct, found.profit_factor, found.funding_usd) == (0, None, None, Decimal(0))
