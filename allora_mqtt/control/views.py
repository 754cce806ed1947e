"""What dashboards see, made of what trading knows. Values in, values out."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Context, Decimal
from typing import Final

from allora_mqtt.market.account import PositionState
from allora_mqtt.market.budget import Figures
from allora_mqtt.market.predictions import Prediction
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.books import Performance, TopicResult
from allora_mqtt.protocol.commands import Switch
from allora_mqtt.protocol.errors import WarningCode
from allora_mqtt.protocol.messages import Account, CryptoState, Position, Requests, Side, SignalView, Warn
from allora_mqtt.store.predictions import HitRate
from allora_mqtt.trading.portfolio import Portfolio
from allora_mqtt.trading.skill import Skill
from allora_mqtt.trading.strategy import gap_pct

_WIDE: Final = Context(prec=100)


def with_hit_rates(performance: Performance, rates: Iterable[HitRate]) -> Performance:
    """Add to each topic how often its predictions were right; topics that were predicted and not traded come too."""
    traded = {topic.topic_id: topic for topic in performance.topics}
    for rate in rates:
        topic = traded.get(rate.topic_id) or TopicResult(
            topic_id=rate.topic_id, trades=0, wins=0, losses=0, trade_hit_rate_pct=None, pnl_usd=Decimal(0)
        )
        accuracy_pct = Skill(rate.samples, rate.right).accuracy_pct
        known = {"predictions": rate.samples, "prediction_hit_rate_pct": accuracy_pct}
        traded[rate.topic_id] = topic.model_copy(update=known)
    return performance.model_copy(update={"topics": [traded[topic_id] for topic_id in sorted(traded)]})


def position(state: PositionState, portfolio: Portfolio, quote: Quote | None) -> Position:
    """Return one position as the exchange has it, with the stop and target that rest there."""
    holding = portfolio.holdings.get(state.symbol)
    stop, target = (portfolio.exit_order(state.symbol, kind) for kind in ("sl", "tp"))
    return Position(
        symbol=state.symbol,
        side=Side.LONG if state.size > 0 else Side.SHORT,
        size=abs(state.size),
        entry_price=state.entry_price,
        mark_price=None if quote is None else quote.mark,
        notional_usd=abs(state.position_value_usd),
        unrealized_pnl_usd=state.unrealized_pnl_usd,
        margin_usd=state.margin_usd,
        leverage=state.leverage,
        liquidation_price=state.liquidation_price,
        stop_price=None if stop is None else stop.trigger_price,
        target_price=None if target is None else target.trigger_price,
        opened_at=None if holding is None else holding.opened_at,
        # An entry is on the exchange a moment before the answer to it is here.
        ours=state.symbol in portfolio.holdings or state.symbol in portfolio.pending,
    )


def position_warnings(portfolio: Portfolio, refused: Mapping[str, str]) -> list[Warn]:
    """Return what `status` points out about positions that somebody else opened.

    Args:
        portfolio: says whose they are.
        refused: why one was not adopted, by symbol.
    """
    found = []
    if foreign := portfolio.foreign():
        named = [f"{symbol} ({refused[symbol]})" if symbol in refused else symbol for symbol in foreign]
        message = f"Positions that the bot did not open are left alone: {', '.join(named)}."
        found.append(Warn(code=WarningCode.FOREIGN_POSITION, message=message))
    if adopted := [symbol for symbol, holding in portfolio.holdings.items() if holding.is_adopted]:
        message = f"Positions that somebody else opened are the bot's own now: {', '.join(adopted)}."
        found.append(Warn(code=WarningCode.ADOPTED_POSITION, message=message))
    return found


def cash_warning(unclear: Collection[str]) -> list[Warn]:
    """Return what `status` points out about lines of the exchange's ledger that nobody can read."""
    if not unclear:
        return []
    message = f"Whether these moved money is not clear, so they count as results: {', '.join(unclear)}."
    return [Warn(code=WarningCode.CASH_FLOW_UNKNOWN, message=message)]


def account(portfolio: Portfolio, now: datetime) -> Account | None:
    """Return how the account is doing, or None while it is not known."""
    state, results = portfolio.account, portfolio.results
    if state is None or results is None:
        return None
    counted_usd = state.equity_usd if portfolio.counted_usd is None else portfolio.counted_usd
    return Account(
        equity_usd=_cents(state.equity_usd),
        withdrawable_usd=_cents(state.withdrawable_usd),
        margin_used_usd=_cents(state.margin_used_usd),
        exposure_usd=_cents(portfolio.exposure_usd()),
        unrealized_pnl_usd=_cents(sum((each.unrealized_pnl_usd for each in state.positions.values()), Decimal(0))),
        daily_pnl_usd=_cents(results.daily_usd(counted_usd)),
        daily_pnl_pct=_cents(results.daily_pct(counted_usd)),
        drawdown_pct=_cents(results.drawdown_pct(counted_usd)),
        updated_at=now,
    )


def requests(figures: Figures) -> Requests:
    """Return how much of the exchange's limits is used."""
    interval_s = figures.quote_interval_s
    return Requests(
        weight_used=figures.weight_used,
        weight_limit=figures.weight_limit,
        quote_interval_s=None if interval_s is None else round(interval_s, 2),
        paused_s=figures.paused_s,
        actions_used=figures.actions_used,
        actions_limit=figures.actions_limit,
    )


def crypto(
    topic_id: int | None,
    quote: Quote | None,
    prediction: Prediction | None,
    signal: SignalView | None,
    held: Position | None,
    now: datetime,
    skill: Skill | None = None,
) -> CryptoState:
    """Return what is known of one symbol.

    Args:
        topic_id: its topic while it is active; None for one that only has a position.
        quote: its newest price.
        prediction: its newest prediction.
        signal: what the strategy said of it last.
        held: its position.
        now: the time of the message.
        skill: of its topic.
    """
    gap = None if quote is None or prediction is None else _rounded(gap_pct(prediction.price, quote.mark), 3)
    return CryptoState(
        state=Switch.OFF if topic_id is None else Switch.ON,
        topic_id=topic_id,
        price=None if quote is None else quote.mark,
        volume_24h=None if quote is None or quote.volume_24h_usd is None else _cents(quote.volume_24h_usd),
        prediction=None if prediction is None else significant(prediction.price),
        gap_pct=gap,
        signal=None if signal is None else signal.direction,
        confidence=None if prediction is None else _half_width_pct(prediction),
        skill_pct=None if skill is None else skill.accuracy_pct,
        skill_samples=0 if skill is None else skill.samples,
        position=held,
        updated_at=now,
    )


def significant(price: Decimal, digits: int = 7) -> Decimal:
    """Round a price to what a person can use."""
    return Decimal(f"{price:.{digits}g}")


def worst(latencies: Iterable[float]) -> float:
    """Return the largest of some latencies in ms, 0 when there are none."""
    return round(max(latencies, default=0.0), 2)


def _half_width_pct(prediction: Prediction) -> Decimal | None:
    if prediction.interval_68 is None:
        return None
    low, high = prediction.interval_68
    return _rounded((high - low) / 2 / prediction.price * 100, 3)


def _cents(value: Decimal) -> Decimal:
    return _rounded(value, 2) + 0  # no minus before a zero


def _rounded(value: Decimal, places: int) -> Decimal:
    """Round a number of any size; `round` fails on one with more digits than the usual precision."""
    return value.quantize(Decimal(1).scaleb(-places), context=_WIDE)
