"""The books as people ask for them: fills, round trips and performance; every answer is bounded.

Sums are made by the database, in whole numbers, while the event loop goes on; docs/books.md has the formulas.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any, Final

from sqlalchemy import Column, Connection, Float, Select, and_, case, cast, func, or_, select

from allora_mqtt.protocol.books import (
    EquityPoint,
    EventsPage,
    Foreign,
    Performance,
    Result,
    TopicResult,
    TradesPage,
    TradeView,
)
from allora_mqtt.protocol.cursor import cursor, read_cursor
from allora_mqtt.protocol.messages import FillView, Side
from allora_mqtt.protocol.topics import Event
from allora_mqtt.store.database import Database
from allora_mqtt.store.event_log import read_events
from allora_mqtt.store.schema import NanoUsd, day_results, equity, fills, trades

_ZERO: Final = Decimal(0)
_WIDE: Final = Context(prec=60)
_MAX_DAYS: Final = 400
"""Days in one answer, the newest; totals are of all."""
_MAX_POINTS: Final = 500

Row = Mapping[Any, Any]


@dataclass(slots=True)
class _Tally:
    """What was counted in one group of trades that ended, or of days."""

    trades: int = 0
    wins: int = 0
    losses: int = 0
    profit_usd: Decimal = _ZERO
    loss_usd: Decimal = _ZERO
    """Below zero."""
    holding_ms: int = 0
    fills: int = 0
    closed_pnl_usd: Decimal = _ZERO
    fees_usd: Decimal = _ZERO
    funding_usd: Decimal = _ZERO

    def add_trades(self, row: Row) -> None:
        self.trades += row["trades"]
        self.wins += row["wins"]
        self.losses += row["losses"]
        self.profit_usd += row["profit_usd"]
        self.loss_usd += row["loss_usd"]
        self.holding_ms += int(row["holding_ms"])

    def add_day(self, row: Row) -> None:
        self.fills += row["fills"]
        self.closed_pnl_usd += row["closed_pnl_nano_usd"]
        self.fees_usd += row["fees_nano_usd"]
        self.funding_usd += row["funding_nano_usd"]


class Books:
    """Reads what the ledger has stored.

    Every method raises BotError `STORE_UNAVAILABLE` when the database cannot be read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fills(self, limit: int, symbol: str | None, since: datetime | None, before: str | None) -> TradesPage:
        """Return the newest fills, newest first.

        Args:
            limit: how many at most.
            symbol: of this coin only.
            since: from this time on.
            before: the rows after those of an earlier answer, by its `next`.
        """

        def read(connection: Connection) -> TradesPage:
            query = _page(select(fills), fills.c.at, fills.c.fill_id, before).limit(limit + 1)
            query = _narrowed(query, fills.c.symbol, symbol, fills.c.at, since)
            found = connection.execute(query).mappings().all()
            views = [_fill_view(row) for row in found[:limit]]
            following = cursor(views[-1].at, views[-1].fill_id) if len(found) > limit else None
            return TradesPage(fills=views, next=following)

        return await self._database.read(read)

    async def trades(self, limit: int, symbol: str | None, since: datetime | None, before: str | None) -> TradesPage:
        """Return the round trips with the newest fills, newest first; see `fills` for the arguments."""

        def read(connection: Connection) -> TradesPage:
            query = _page(select(trades), trades.c.last_at, trades.c.trade_id, before).limit(limit + 1)
            query = _narrowed(query, trades.c.symbol, symbol, trades.c.last_at, since)
            found = connection.execute(query).mappings().all()
            following = (
                cursor(found[limit - 1]["last_at"], found[limit - 1]["trade_id"]) if len(found) > limit else None
            )
            return TradesPage(trades=[_trade_view(row) for row in found[:limit]], next=following)

        return await self._database.read(read)

    async def events(
        self, limit: int, types: Collection[Event], since: datetime | None, before: str | None
    ) -> EventsPage:
        """Return the newest events, newest first; see `event_log.read_events`."""
        return await self._database.read(lambda connection: read_events(connection, limit, types, since, before))

    async def performance(self, since: datetime, until: datetime) -> Performance:
        """Return what the account and the bot's trades brought from the beginning of a UTC day on.

        Args:
            since: any time of that day.
            until: now.
        """
        midnight = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return await self._database.read(lambda connection: _performance(connection, midnight, until))


def _page(query: Select[Any], at: Column[Any], row_id: Column[Any], before: str | None) -> Select[Any]:
    query = query.order_by(at.desc(), row_id.desc())
    if before is None:
        return query
    moment, last_id = read_cursor(before)
    return query.where(at <= moment, or_(at < moment, row_id < last_id))


def _narrowed(
    query: Select[Any], symbol_column: Column[Any], symbol: str | None, at: Column[Any], since: datetime | None
) -> Select[Any]:
    if symbol is not None:
        query = query.where(symbol_column == symbol)
    return query if since is None else query.where(at >= since)


def _fill_view(row: Row) -> FillView:
    return FillView(**{name: row[name] for name in FillView.model_fields})


def _trade_view(row: Row) -> TradeView:
    pnl, entry_value = row["pnl_nano_usd"], row["entry_value_usd"]
    is_known = row["is_whole"] and row["entry_size"]
    return TradeView(
        trade_id=row["trade_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        ours=row["position_id"] is not None,
        size=row["entry_size"],
        open_size=row["open_size"],
        entry_price=_WIDE.divide(entry_value, row["entry_size"]) if is_known else None,
        exit_price=_WIDE.divide(row["exit_value_usd"], row["exit_size"]) if row["exit_size"] else None,
        closed_pnl_usd=row["closed_pnl_nano_usd"],
        fees_usd=row["fees_nano_usd"],
        funding_usd=row["funding_nano_usd"],
        pnl_usd=pnl,
        pnl_pct=_share_pct(pnl, entry_value) if is_known else None,
        reason=row["reason"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        holding_s=None if row["holding_ms"] is None else row["holding_ms"] / 1000,
        topic_id=row["topic_id"],
        signal_id=row["signal_id"],
        fills=row["fills"],
    )


def _performance(connection: Connection, since: datetime, until: datetime) -> Performance:
    total = _Tally()
    days: defaultdict[str, _Tally] = defaultdict(_Tally)
    coins: defaultdict[str, _Tally] = defaultdict(_Tally)
    topics: defaultdict[int, _Tally] = defaultdict(_Tally)
    first_day = since.date().isoformat()
    for row in connection.execute(select(day_results).where(day_results.c.day >= first_day)).mappings():
        for tally in (total, days[row["day"]], coins[row["symbol"]]):
            tally.add_day(row)
    for row in connection.execute(_ended(since)).mappings():
        for tally in (total, days[row["day"]], coins[row["symbol"]], topics[row["topic_id"]]):
            tally.add_trades(row)
    net = total.profit_usd + total.loss_usd
    drawdown_usd, drawdown_pct = _drawdown(connection, since)
    return Performance(
        since=since,
        until=until,
        closed_pnl_usd=total.closed_pnl_usd,
        fees_usd=total.fees_usd,
        funding_usd=total.funding_usd,
        pnl_usd=total.closed_pnl_usd - total.fees_usd + total.funding_usd,
        trades=total.trades,
        wins=total.wins,
        losses=total.losses,
        win_rate_pct=_share_pct(Decimal(total.wins), Decimal(total.trades)),
        profit_factor=total.profit_usd / -total.loss_usd if total.loss_usd else None,
        expectancy_usd=net / total.trades if total.trades else None,
        average_holding_s=total.holding_ms / total.trades / 1000 if total.trades else None,
        best=_extreme(connection, since, trades.c.pnl_nano_usd.desc()),
        worst=_extreme(connection, since, trades.c.pnl_nano_usd.asc()),
        max_drawdown_usd=drawdown_usd,
        max_drawdown_pct=drawdown_pct,
        days=_results(days)[-_MAX_DAYS:],
        coins=_results(coins),
        topics=[_topic(topic_id, tally) for topic_id, tally in sorted(topics.items())],
        foreign=_foreign(connection, since),
        equity=_curve(connection, since),
    )


def _ended(since: datetime) -> Select[Any]:
    """Group the bot's trades that ended by day, coin and topic."""
    pnl, none = trades.c.pnl_nano_usd, 0
    day = func.substr(trades.c.closed_at, 1, 10, type_=day_results.c.day.type)

    def usd(condition: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's expressions
        return func.sum(case((condition, pnl), else_=none), type_=NanoUsd())

    return (
        select(
            day.label("day"),
            trades.c.symbol,
            trades.c.topic_id,
            func.count().label("trades"),
            func.sum(case((pnl > _ZERO, 1), else_=none)).label("wins"),
            func.sum(case((pnl < _ZERO, 1), else_=none)).label("losses"),
            usd(pnl > _ZERO).label("profit_usd"),
            usd(pnl < _ZERO).label("loss_usd"),
            func.sum(trades.c.holding_ms).label("holding_ms"),
        )
        .where(trades.c.closed_at >= since, trades.c.position_id.is_not(None))
        .group_by(day, trades.c.symbol, trades.c.topic_id)
    )


def _extreme(connection: Connection, since: datetime, order: Any) -> TradeView | None:  # noqa: ANN401 - as above
    ours = and_(trades.c.closed_at >= since, trades.c.position_id.is_not(None))
    row = connection.execute(select(trades).where(ours).order_by(order).limit(1)).mappings().one_or_none()
    return None if row is None else _trade_view(row)


def _foreign(connection: Connection, since: datetime) -> Foreign:
    pnl = func.coalesce(func.sum(trades.c.pnl_nano_usd, type_=NanoUsd()), 0, type_=NanoUsd())
    query = select(func.count(), pnl).where(trades.c.closed_at >= since, trades.c.position_id.is_(None))
    count, pnl_usd = connection.execute(query).one()
    return Foreign(trades=count, pnl_usd=pnl_usd)


def _drawdown(connection: Connection, since: datetime) -> tuple[Decimal, Decimal]:
    """Return the deepest fall from a peak, in USD and in percent of that peak; money that was moved is no fall.

    The database finds the place by floats; the amounts are exact. A peak from before a deposit or a withdrawal counts
    in proportion: as what it would be of the money that was there at the fall.
    """
    steady = func.coalesce(equity.c.steady_usd, equity.c.equity_usd, type_=equity.c.equity_usd.type)
    value = cast(steady, Float)
    peak = func.max(value).over(order_by=equity.c.at)
    points = select(equity.c.at, equity.c.equity_usd, steady.label("steady"), value.label("value"), peak.label("peak"))
    inner = points.where(equity.c.at >= since).subquery()
    falls = select(inner.c.at, inner.c.equity_usd, inner.c.steady).where(inner.c.peak > 0)
    low = connection.execute(
        falls.order_by(((inner.c.peak - inner.c.value) / inner.c.peak).desc()).limit(1)
    ).one_or_none()
    if low is None:
        return _ZERO, _ZERO
    until = select(steady).where(equity.c.at >= since, equity.c.at <= low.at)
    high: Decimal = connection.execute(until.order_by(value.desc()).limit(1)).scalar_one()
    fall = max(high - low.steady, _ZERO)
    if low.equity_usd != low.steady and low.steady > 0:
        fall_usd = _WIDE.divide(fall * low.equity_usd, low.steady)
    else:
        fall_usd = fall
    return fall_usd, _share_pct(fall, high) or _ZERO


def _curve(connection: Connection, since: datetime) -> list[EquityPoint]:
    """Return the equity curve, thinned to what a chart can show; the newest point is always there."""
    window = equity.c.at >= since
    count: int = connection.execute(select(func.count()).select_from(equity).where(window)).scalar_one()
    step = -(-count // _MAX_POINTS) or 1
    number = func.row_number().over(order_by=equity.c.at.desc())
    numbered = select(equity.c.at, equity.c.equity_usd, number.label("number")).where(window).subquery()
    thinned = select(numbered.c.at, numbered.c.equity_usd).where(numbered.c.number % step == 1 % step)
    return [
        EquityPoint(at=row.at, equity_usd=row.equity_usd) for row in connection.execute(thinned.order_by(numbered.c.at))
    ]


def _results(tallies: Mapping[str, _Tally]) -> list[Result]:
    return [
        Result(
            key=key,
            closed_pnl_usd=tally.closed_pnl_usd,
            fees_usd=tally.fees_usd,
            funding_usd=tally.funding_usd,
            pnl_usd=tally.closed_pnl_usd - tally.fees_usd + tally.funding_usd,
            fills=tally.fills,
            trades=tally.trades,
            wins=tally.wins,
            losses=tally.losses,
        )
        for key, tally in sorted(tallies.items())
    ]


def _topic(topic_id: int, tally: _Tally) -> TopicResult:
    return TopicResult(
        topic_id=topic_id,
        trades=tally.trades,
        wins=tally.wins,
        losses=tally.losses,
        trade_hit_rate_pct=_share_pct(Decimal(tally.wins), Decimal(tally.trades)),
        pnl_usd=tally.profit_usd + tally.loss_usd,
    )


def _share_pct(part: Decimal, whole: Decimal) -> Decimal | None:
    return _WIDE.divide(part * 100, whole) if whole else None
