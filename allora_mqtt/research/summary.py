"""From a run to its result: figures, hit rates, thinned curves, and what to be careful about."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Final, TypeVar

from allora_mqtt import __version__
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.research.case import Case
from allora_mqtt.research.figures import Outcome, by_day, figures
from allora_mqtt.research.predictions import Known
from allora_mqtt.research.prices import Bar, Series
from allora_mqtt.research.result import (
    AssumptionsView,
    EquityPoint,
    Figures,
    PredictionSource,
    PriceBar,
    Result,
    Source,
    TopicResult,
    TradeResult,
    TripResult,
    Warned,
)
from allora_mqtt.research.rows import digest, utc
from allora_mqtt.research.run import Assumptions, Moment, Run
from allora_mqtt.research.trades import Trade
from allora_mqtt.simulator.ledger import TAKER_FEE

_T = TypeVar("_T")

MAX_POINTS: Final = 3_000
"""A curve of more points is thinned: a screen shows no more."""
FEW_TRADES: Final = 100
"""Fewer than this are called few."""
_FEW_DAYS: Final = 90
_COARSE_S: Final = 3_600


def result_of(case: Case, run: Run, settings: RuntimeSettings, assumptions: Assumptions, title: str) -> Result:
    """Sum a run up."""
    days = by_day(run.equity, assumptions.cash_usd)
    return Result(
        kind="backtest",
        version=__version__,
        title=title,
        start=utc(case.start),
        end=utc(case.end),
        settings=settings.model_dump(mode="json"),
        assumptions=assumptions_view(assumptions),
        prices=sources(case),
        predictions=prediction_source(case, len(run.used)),
        figures=figures_of(case, run, assumptions),
        warnings=cautions(case, run),
        days=days,
        topics=topic_results(case, run.trades),
        refusals=dict(sorted(run.refusals.items(), key=lambda item: (-item[1], item[0]))),
        tripped=[TripResult(at=utc(trip.at), name=trip.name, reason=trip.reason) for trip in run.tripped],
        trades=[trade_result(trade) for trade in run.trades],
        equity=thinned(run.equity),
        price_bars={series.symbol: joined(series.bars) for series in case.series},
    )


def figures_of(case: Case, run: Run, assumptions: Assumptions) -> Figures:
    """Compute the figures of a run."""
    outcome = Outcome(run.equity, run.trades, hold_return_pct=hold_return_pct(case.series))
    return figures(outcome, assumptions.cash_usd, by_day(run.equity, assumptions.cash_usd))


def assumptions_view(assumptions: Assumptions) -> AssumptionsView:
    """Return what was assumed, as it is shown."""
    return AssumptionsView(
        cash_usd=assumptions.cash_usd,
        fee_pct=TAKER_FEE * 100,
        spread_bps=assumptions.spread_bps,
        slippage_bps=assumptions.slippage_bps,
        funding_rate=assumptions.funding_rate,
        resume_after_h=assumptions.resume_after_h,
    )


def sources(case: Case) -> list[Source]:
    """Return where the prices come from: one entry for files that were read together."""
    grouped = groupby(case.series, key=lambda series: series.sha256)
    return [_source(list(group)) for _, group in grouped]


def _source(group: Sequence[Series]) -> Source:
    return Source(
        files=[path.name for path in group[0].files],
        sha256=group[0].sha256,
        symbols=[series.symbol for series in group],
        rows=sum(len(series.bars) for series in group),
        start=utc(min(series.start for series in group)),
        end=utc(max(series.end for series in group)),
        gaps=sum(len(series.gaps) for series in group),
    )


def prediction_source(case: Case, used: int) -> PredictionSource:
    """Return where the predictions come from."""
    skill = case.skill
    return PredictionSource(
        kind="recorded" if skill is None else "synthetic",
        files=[path.name for path in case.files],
        sha256=digest(case.files) if case.files else None,
        count=len(case.steering),
        used=used,
        skill=None if skill is None else skill.skill,
        seed=None if skill is None else skill.seed,
        horizon_s=None if skill is None else skill.horizon_s,
        every_s=None if skill is None else skill.every_s,
        delay_s=case.delay_s,
    )


def cautions(case: Case, run: Run) -> list[Warned]:
    """Return why this result is to be read with care, the weightiest first."""
    found: list[Warned] = []
    if case.skill is not None:
        found.append(
            Warned(
                code="SYNTHETIC_PREDICTIONS",
                message=f"The predictions are made up, with a skill of {case.skill.skill} and knowledge of the future. "
                "The result says how the rules use such predictions, and nothing about those of the Allora Network.",
            )
        )
    found += few_trades(len(run.trades))
    days = (case.end - case.start) / 86_400
    if days < _FEW_DAYS:
        message = f"{days:.1f} days are one stretch of one market; another may turn the result around."
        found.append(Warned(code="SHORT_PERIOD", message=message))
    if len(case.series) == 1:
        message = f"All of it is {case.series[0].symbol}: nothing says that another coin behaves alike."
        found.append(Warned(code="ONE_COIN", message=message))
    for trip in run.tripped[:3]:
        message = f"On {utc(trip.at):%Y-%m-%d %H:%M} UTC the bot stopped entering: {trip.reason}."
        found.append(Warned(code="LIMIT_REACHED", message=message))
    unused = len(case.steering) - len(run.used)
    if unused > len(case.steering) / 10:
        message = (
            f"{unused} of {len(case.steering)} predictions were never fresh at a price: too old by then, "
            "or a newer one had come. Finer prices show more of them."
        )
        found.append(Warned(code="UNUSED_PREDICTIONS", message=message))
    gaps = sum(len(series.gaps) for series in case.series)
    if gaps:
        message = f"The prices have {gaps} gaps; stops inside them run at the first price after."
        found.append(Warned(code="DATA_GAPS", message=message))
    if any(series.bars[0].span_s >= _COARSE_S for series in case.series):
        message = (
            "Within a bar nobody knows which price came first: the stop is assumed to, and entries happen "
            "at opens only."
        )
        found.append(Warned(code="COARSE_BARS", message=message))
    return found


def few_trades(count: int) -> list[Warned]:
    """Return the warning that there are too few trades to tell, where there are."""
    message = f"{count} trades are few: with fewer than {FEW_TRADES} luck decides."
    return [Warned(code="FEW_TRADES", message=message)] if count < FEW_TRADES else []


def topic_results(case: Case, trades: Sequence[Trade]) -> list[TopicResult]:
    """Return how good each topic's directions and trades were.

    A prediction is right when the price moved, from when it was known until its horizon had passed, towards it.
    """
    by_symbol = {series.symbol: series for series in case.series}
    key = _topic_of
    known = sorted((known for known in case.predictions if known.prediction.symbol in by_symbol), key=key)
    return [
        topic_result(topic, [_was_right(each, by_symbol[topic[0]]) for each in group], trades)
        for topic, group in groupby(known, key=key)
    ]


def topic_result(topic: tuple[str, int], outcomes: Sequence[bool | None], trades: Sequence[Trade]) -> TopicResult:
    """Return how good a topic was.

    Args:
        topic: symbol and topic id.
        outcomes: of its predictions: whether each was right, None where that is not known.
        trades: those of other topics are left out.
    """
    symbol, topic_id = topic
    own = [trade for trade in trades if (trade.symbol, trade.topic_id) == topic]
    return TopicResult(
        symbol=symbol,
        topic_id=topic_id,
        predictions=len(outcomes),
        resolved=sum(1 for outcome in outcomes if outcome is not None),
        hits=sum(1 for outcome in outcomes if outcome),
        trades=len(own),
        wins=sum(1 for trade in own if trade.pnl_usd > 0),
        pnl_usd=sum((trade.pnl_usd for trade in own), Decimal(0)),
    )


def _topic_of(known: Known) -> tuple[str, int]:
    return known.prediction.symbol, known.prediction.topic_id


def _was_right(known: Known, series: Series) -> bool | None:
    """Whether a prediction had the direction right; None where its outcome is not in the data."""
    prediction = known.prediction
    spot = series.first_price_from(known.known_at)
    outcome = series.first_price_from(prediction.at + prediction.horizon_s)
    if spot is None or outcome is None or known.known_at < series.start:
        return None
    return (prediction.price > spot) is (outcome > spot) and outcome != spot


def hold_return_pct(series: Sequence[Series]) -> float:
    """Return what buying every coin at the start, in equal parts, would have brought, in percent."""
    returns = [each.bars[-1].close / each.bars[0].open - 1 for each in series]
    return float(sum(returns, Decimal(0)) / len(returns) * 100)


def trade_result(trade: Trade) -> TradeResult:
    """Return a trade as it is shown."""
    return TradeResult(
        symbol=trade.symbol,
        side=trade.side,
        size=trade.size,
        topic_id=trade.topic_id,
        gap_pct=round(trade.gap_pct, 4),
        entry_price=_average(trade.entry_price),
        exit_price=_average(trade.exit_price),
        stop_price=trade.stop_price,
        target_price=trade.target_price,
        opened_at=utc(trade.opened_at),
        closed_at=utc(trade.closed_at),
        fees_usd=trade.fees_usd,
        funding_usd=trade.funding_usd,
        pnl_usd=trade.pnl_usd,
        reason=trade.reason,
    )


def _average(price: Decimal) -> Decimal:
    """Round the average price of several fills to what a reader can use."""
    return Decimal(f"{price:.8g}")


def thinned(equity: Sequence[Moment]) -> list[EquityPoint]:
    """Return at most a few thousand points of the curve, each with the lowest equity since the one before."""
    return [
        EquityPoint(
            at=utc(group[-1].at), equity_usd=group[-1].equity_usd, low_usd=min(moment.low_usd for moment in group)
        )
        for group in _groups(equity)
    ]


def joined(bars: Sequence[Bar]) -> list[PriceBar]:
    """Join bars until they are at most a few thousand."""
    return [
        PriceBar(
            at=utc(group[0].at),
            open=group[0].open,
            high=max(bar.high for bar in group),
            low=min(bar.low for bar in group),
            close=group[-1].close,
        )
        for group in _groups(bars)
    ]


def _groups(items: Sequence[_T]) -> Iterable[Sequence[_T]]:
    size = -(-len(items) // MAX_POINTS)
    return (items[start : start + size] for start in range(0, len(items), size or 1))
