"""The figures of a run: return, drawdown, ratios, days. Values in, values out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, stdev
from typing import Final

from allora_mqtt.research.result import DayResult, Figures
from allora_mqtt.research.rows import utc
from allora_mqtt.research.run import Moment
from allora_mqtt.research.trades import Trade

DAYS_PER_YEAR: Final = 365
"""Coins trade every day."""
MIN_DAYS: Final = 30
"""Fewer days say nothing of a year: no figure per year is given then."""
_DAY_S: Final = 86_400

FORMULAS: Final = {
    "CAGR": "(end / start) ^ (365 / days) - 1",
    "Max drawdown": "largest fall from the highest equity so far, worst prices within bars included",
    "Sharpe": "mean of daily returns / their standard deviation (n - 1) x sqrt(365), without a riskless rate",
    "Sortino": "mean of daily returns / sqrt(mean of min(return, 0)^2) x sqrt(365)",
    "Profit factor": "sum of profits / sum of losses, after fees and funding",
    "Expectancy": "mean profit of a trade, after fees and funding",
    "Exposure": "share of the time with a position",
}
"""How the figures are computed; shown with them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What figures are computed from.

    Attributes:
        equity: in order of time.
        hold_return_pct: of buying at the start, where prices are known.
    """

    equity: Sequence[Moment]
    trades: Sequence[Trade]
    hold_return_pct: float | None


def figures(outcome: Outcome, start_usd: Decimal, days: Sequence[DayResult]) -> Figures:
    """Compute the figures of a run.

    Args:
        outcome: the run.
        start_usd: the equity before the first moment.
        days: from `by_day`.
    """
    equity, trades = outcome.equity, outcome.trades
    end_usd = equity[-1].equity_usd
    span_s = equity[-1].at - equity[0].at
    profits = [trade.pnl_usd for trade in trades if trade.pnl_usd > 0]
    losses = [-trade.pnl_usd for trade in trades if trade.pnl_usd < 0]
    worst = min(days, key=lambda day: day.pnl_usd, default=None)
    sharpe, sortino = _ratios([float(day.return_pct) / 100 for day in days])
    held_s = [trade.closed_at - trade.opened_at for trade in trades]
    return Figures(
        start_usd=start_usd,
        end_usd=end_usd,
        return_pct=_pct(end_usd - start_usd, start_usd),
        cagr_pct=_cagr_pct(start_usd, end_usd, span_s / _DAY_S),
        max_drawdown_pct=max_drawdown_pct(equity, start_usd),
        sharpe=sharpe,
        sortino=sortino,
        trades=len(trades),
        win_rate_pct=len(profits) / len(trades) * 100 if trades else None,
        profit_factor=float(sum(profits) / sum(losses)) if losses else None,
        expectancy_usd=_mean([trade.pnl_usd for trade in trades]),
        exposure_pct=_covered_s(trades) / span_s * 100 if span_s else 0.0,
        fees_usd=sum((trade.fees_usd for trade in trades), Decimal(0)),
        funding_usd=sum((trade.funding_usd for trade in trades), Decimal(0)),
        average_holding_h=fmean(held_s) / 3600 if held_s else None,
        worst_day_usd=None if worst is None else worst.pnl_usd,
        worst_day_on=None if worst is None else worst.day,
        hold_return_pct=outcome.hold_return_pct,
    )


def by_day(equity: Sequence[Moment], start_usd: Decimal) -> list[DayResult]:
    """Return what each UTC day brought, by the equity at its end."""
    last: dict[str, Decimal] = {}
    for moment in equity[1:]:
        # The equity at midnight is what the day before has come to.
        last[f"{utc(moment.at - 0.001):%Y-%m-%d}"] = moment.equity_usd
    days = []
    before = start_usd
    for day, end_usd in last.items():
        days.append(DayResult(day=day, pnl_usd=end_usd - before, return_pct=_pct(end_usd - before, before)))
        before = end_usd
    return days


def max_drawdown_pct(equity: Sequence[Moment], start_usd: Decimal) -> Decimal:
    """Return the largest fall from the highest equity so far, in percent of it."""
    peak, worst = start_usd, Decimal(0)
    for moment in equity:
        worst = max(worst, _pct(peak - moment.low_usd, peak))
        peak = max(peak, moment.equity_usd)
    return worst


def _ratios(returns: Sequence[float]) -> tuple[float | None, float | None]:
    """Return Sharpe and Sortino ratio of daily returns, by the year; None where there are too few days."""
    if len(returns) < MIN_DAYS:
        return None, None
    mean, deviation = fmean(returns), stdev(returns)
    downside = math.sqrt(fmean(min(each, 0.0) ** 2 for each in returns))
    year = math.sqrt(DAYS_PER_YEAR)
    return (mean / deviation * year if deviation else None, mean / downside * year if downside else None)


def _cagr_pct(start_usd: Decimal, end_usd: Decimal, days: float) -> float | None:
    if days < MIN_DAYS or start_usd <= 0 or end_usd <= 0:
        return None
    return (math.pow(end_usd / start_usd, DAYS_PER_YEAR / days) - 1) * 100


def _covered_s(trades: Sequence[Trade]) -> float:
    """Return for how long at least one position was open."""
    total, until = 0.0, -math.inf
    for trade in sorted(trades, key=lambda trade: trade.opened_at):
        total += max(0.0, trade.closed_at - max(trade.opened_at, until))
        until = max(until, trade.closed_at)
    return total


def _mean(amounts: Sequence[Decimal]) -> Decimal | None:
    return sum(amounts, Decimal(0)) / len(amounts) if amounts else None


def _pct(part: Decimal, whole: Decimal) -> Decimal:
    return part / whole * 100 if whole > 0 else Decimal(0)
