"""The books: signals, orders, fills, positions, equity and the audit trail."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Column, ColumnElement, Connection, Select, func, insert, select, update

from allora_mqtt.store import booking, retention, upsert
from allora_mqtt.store.database import Database
from allora_mqtt.store.retention import Retention
from allora_mqtt.store.schema import (
    cash_flows,
    equity,
    events,
    fills,
    funding,
    orders,
    positions,
    signals,
    state,
    trades,
)

Row = Mapping[str, Any]
"""A row of a table, by column name."""

_NONCE = "nonce"
"""The key of the highest nonce of an action that was no order."""


class Ledger:
    """Durable memory of everything the bot decided and did.

    Every method that writes raises BotError `STORE_UNAVAILABLE` when nothing could be stored.

    Args:
        database: where it is.
        kept: how long what.
    """

    def __init__(self, database: Database, kept: Retention | None = None) -> None:
        self._database = database
        self._kept = kept or Retention()

    async def add_signal(self, row: Mapping[str, Any]) -> None:
        """Store what the strategy said."""
        await self._database.write(lambda connection: connection.execute(insert(signals).values(**row)))

    async def add_orders(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store orders before they leave."""
        await self._database.write(lambda connection: connection.execute(insert(orders), [dict(row) for row in rows]))

    async def update_orders(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Store what became of orders, by our id; all of it or nothing."""

        def work(connection: Connection) -> None:
            for order_id, values in changes.items():
                connection.execute(update(orders).where(orders.c.order_id == order_id).values(**values))

        await self._database.write(work)

    async def orders_in(self, statuses: Sequence[str]) -> list[Row]:
        """Return the orders with one of these statuses, oldest first."""
        query = select(orders).where(orders.c.status.in_(statuses)).order_by(orders.c.at)
        return await self._database.read(lambda connection: _rows(connection, query))

    async def orders_by_id(self, order_ids: Sequence[str]) -> list[Row]:
        """Return orders by our ids, oldest first."""
        query = select(orders).where(orders.c.order_id.in_(order_ids)).order_by(orders.c.at)
        return await self._database.read(lambda connection: _rows(connection, query))

    async def known_orders(self, order_ids: Sequence[str]) -> set[str]:
        """Return those of these ids that are of orders the bot sent."""
        query = select(orders.c.order_id).where(orders.c.order_id.in_(order_ids))
        return await self._database.read(lambda connection: set(connection.execute(query).scalars()))

    async def orders_since(self, since: datetime) -> list[datetime]:
        """Return when each order was sent, since a time."""
        query = select(orders.c.at).where(orders.c.at >= since)
        return await self._database.read(lambda connection: list(connection.execute(query).scalars()))

    async def newest_order(self) -> Row | None:
        """Return the entry or exit that was sent last."""
        query = select(orders).where(orders.c.purpose.in_(["entry", "exit"])).order_by(orders.c.at.desc()).limit(1)
        return next(iter(await self._database.read(lambda connection: _rows(connection, query))), None)

    async def keep_nonce(self, nonce: int) -> None:
        """Store the nonce of an action that is no order, before it leaves."""

        def work(connection: Connection) -> None:
            if nonce > _kept_nonce(connection):
                upsert.put(connection, state, {"key": _NONCE, "value": nonce})

        await self._database.write(work)

    async def highest_nonce(self) -> int:
        """Return the highest nonce that was stored, 0 when there is none."""

        def work(connection: Connection) -> int:
            of_orders: int | None = connection.execute(select(func.max(orders.c.nonce))).scalar_one()
            return max(of_orders or 0, _kept_nonce(connection))

        return await self._database.read(work)

    async def put_state(self, values: Mapping[str, JsonValue]) -> None:
        """Store small values by key."""

        def work(connection: Connection) -> None:
            for key, value in values.items():
                upsert.put(connection, state, {"key": key, "value": value})

        await self._database.write(work)

    async def order_ids(self, oids: Sequence[int]) -> dict[int, str]:
        """Return our id of each of the exchange's order ids that is ours."""
        query = select(orders.c.oid, orders.c.order_id).where(orders.c.oid.in_(oids))
        return await self._database.read(
            lambda connection: {row.oid: row.order_id for row in connection.execute(query)}
        )

    async def add_fills(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Store fills and return those that are new."""
        return await self._database.write(lambda connection: booking.add_fills(connection, rows))

    async def add_funding(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Store funding payments and return how many of them are new."""
        return await self._database.write(lambda connection: booking.add_funding(connection, rows))

    async def newest_funding_at(self) -> datetime | None:
        """Return when the newest stored funding payment was made."""
        return await self._first(funding.c.at, funding.c.at.desc())

    async def oldest_fill_at(self) -> datetime | None:
        """Return when the oldest stored fill happened."""
        return await self._first(fills.c.at, fills.c.at)

    async def book_fills(self) -> None:
        """Make round trips of fills that are in none, as those of an older version's database."""
        for symbol in await self._database.read(booking.unbooked_symbols):
            await self._database.write(partial(booking.book_symbol, symbol=symbol))

    async def trade_of(self, position_id: str) -> Row | None:
        """Return the round trip of a position of ours, as far as it is known."""
        query = select(trades).where(trades.c.position_id == position_id).limit(1)
        return next(iter(await self._database.read(lambda connection: _rows(connection, query))), None)

    async def newest_fill_at(self) -> datetime | None:
        """Return when the newest stored fill happened."""
        return await self._first(fills.c.at, fills.c.at.desc())

    async def fills(self, limit: int, symbol: str | None, since: datetime | None) -> list[Row]:
        """Return the newest fills, newest first."""
        query = select(fills).order_by(fills.c.at.desc()).limit(limit)
        if symbol is not None:
            query = query.where(fills.c.symbol == symbol)
        if since is not None:
            query = query.where(fills.c.at >= since)
        return await self._database.read(lambda connection: _rows(connection, query))

    async def put_position(self, row: Mapping[str, Any]) -> None:
        """Store a position of ours, or what changed of it."""
        await self._database.write(lambda connection: upsert.put(connection, positions, row))

    async def adopt_position(self, row: Mapping[str, Any]) -> None:
        """Store a position that somebody else opened as ours, and the trade that it is as well."""
        await self._database.write(lambda connection: booking.adopt(connection, row))

    async def close_position(self, position_id: str, at: datetime, reason: str, closed_pnl_usd: Decimal) -> None:
        """Store that a position of ours is gone, and why."""
        closed = {"closed_at": at, "close_reason": reason, "closed_pnl_usd": closed_pnl_usd}

        def work(connection: Connection) -> None:
            connection.execute(update(positions).where(positions.c.position_id == position_id).values(**closed))
            ended = trades.c.position_id == position_id, trades.c.closed_at.is_not(None)
            connection.execute(update(trades).where(*ended).values(reason=reason))

        await self._database.write(work)

    async def open_positions(self) -> list[Row]:
        """Return the positions of ours that are open."""
        query = select(positions).where(positions.c.closed_at.is_(None))
        return await self._database.read(lambda connection: _rows(connection, query))

    async def last_stopped_at(self) -> dict[str, datetime]:
        """Return, by symbol, when a stop or a liquidation last closed a position."""
        last = func.max(positions.c.closed_at, type_=positions.c.closed_at.type).label("at")
        hurt = positions.c.close_reason.in_(["stop", "liquidation"])
        query = select(positions.c.symbol, last).where(hurt).group_by(positions.c.symbol)
        return await self._database.read(lambda connection: {row.symbol: row.at for row in connection.execute(query)})

    async def entered_predictions(self, since: datetime) -> set[tuple[int, datetime]]:
        """Return topic and time of the predictions that were traded on."""
        query = select(signals.c.topic_id, signals.c.prediction_at).where(
            signals.c.acted.is_(True), signals.c.at >= since
        )
        return await self._database.read(
            lambda connection: {(row.topic_id, row.prediction_at) for row in connection.execute(query)}
        )

    async def count_cash_flows(self, rows: Sequence[Mapping[str, Any]], values: Mapping[str, JsonValue]) -> None:
        """Store money that was moved together with what follows from it; both or nothing."""

        def work(connection: Connection) -> None:
            for row in rows:
                upsert.put(connection, cash_flows, row)
            for key, value in values.items():
                upsert.put(connection, state, {"key": key, "value": value})

        await self._database.write(work)

    async def known_cash_flows(self, flow_ids: Sequence[str]) -> set[str]:
        """Return those of these ids that are of movements of money that were counted."""
        query = select(cash_flows.c.flow_id).where(cash_flows.c.flow_id.in_(flow_ids))
        return await self._database.read(lambda connection: set(connection.execute(query).scalars()))

    async def newest_cash_flow_at(self) -> datetime | None:
        """Return when money was last moved, of what was counted."""
        return await self._first(cash_flows.c.at, cash_flows.c.at.desc())

    async def add_equity(
        self, at: datetime, equity_usd: Decimal, exposure_usd: Decimal, steady_usd: Decimal | None = None
    ) -> None:
        """Store a point of the equity curve; `steady_usd` is the equity as it would be had no money been moved."""
        row = {"at": at, "equity_usd": equity_usd, "exposure_usd": exposure_usd, "steady_usd": steady_usd}
        await self._database.write(lambda connection: upsert.put(connection, equity, row))

    async def tidy(self, now: datetime) -> int:
        """Remove what nobody needs any more and return how many rows that were."""
        return await retention.tidy(self._database, self._kept, now)

    async def forget_questions(self, now: datetime) -> int:
        """Remove commands that only asked, once they are answered, and return how many that were."""
        return await retention.forget_questions(self._database, self._kept, now)

    def note(self, kind: str, content: Mapping[str, JsonValue], at: datetime) -> None:
        """Add to the audit trail, some time soon."""
        row = {"type": kind, "content": dict(content), "at": at}
        self._database.submit(lambda connection: connection.execute(insert(events).values(row)))

    async def _first(self, moment: Column[datetime], order: ColumnElement[datetime]) -> datetime | None:
        query = select(moment).order_by(order).limit(1)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())


def _kept_nonce(connection: Connection) -> int:
    kept = connection.execute(select(state.c.value).where(state.c.key == _NONCE)).scalar_one_or_none()
    return int(kept or 0)


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]
