"""The books: signals, orders, fills, positions, equity and the audit trail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Connection, Select, func, insert, select, update

from allora_mqtt.store import upsert
from allora_mqtt.store.database import Database
from allora_mqtt.store.schema import equity, events, fills, orders, positions, signals, state

Row = Mapping[str, Any]
"""A row of a table, by column name."""


@dataclass(frozen=True, slots=True)
class DayResult:
    """What one day, or one coin, brought: realised profit and loss and fees, in USD."""

    key: str
    closed_pnl_usd: Decimal
    fees_usd: Decimal
    fills: int
    wins: int
    losses: int


class Ledger:
    """Durable memory of everything the bot decided and did.

    Every method that writes raises BotError `STORE_UNAVAILABLE` when nothing could be stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_signal(self, row: Mapping[str, Any]) -> None:
        """Store what the strategy said."""
        await self._database.write(lambda connection: connection.execute(insert(signals).values(**row)))

    async def add_orders(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store orders before they leave."""
        await self._database.write(lambda connection: connection.execute(insert(orders), [dict(row) for row in rows]))

    async def update_order(self, order_id: str, values: Mapping[str, Any]) -> None:
        """Store what became of an order."""
        await self._database.write(
            lambda connection: connection.execute(update(orders).where(orders.c.order_id == order_id).values(**values))
        )

    async def orders_by_id(self, order_ids: Sequence[str]) -> list[Row]:
        """Return orders by our ids, oldest first."""
        query = select(orders).where(orders.c.order_id.in_(order_ids)).order_by(orders.c.at)
        return await self._database.read(lambda connection: _rows(connection, query))

    async def known_orders(self, order_ids: Sequence[str]) -> set[str]:
        """Return those of these ids that are of orders the bot sent."""
        query = select(orders.c.order_id).where(orders.c.order_id.in_(order_ids))
        return await self._database.read(lambda connection: set(connection.execute(query).scalars()))

    async def purpose(self, order_id: str) -> str | None:
        """Return what an order was for, or None when it is not ours."""
        query = select(orders.c.purpose).where(orders.c.order_id == order_id)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())

    async def orders_since(self, since: datetime) -> list[datetime]:
        """Return when each order was sent, since a time."""
        query = select(orders.c.at).where(orders.c.at >= since)
        return await self._database.read(lambda connection: list(connection.execute(query).scalars()))

    async def newest_order(self) -> Row | None:
        """Return the order that was sent last."""
        query = select(orders).order_by(orders.c.at.desc()).limit(1)
        return next(iter(await self._database.read(lambda connection: _rows(connection, query))), None)

    async def highest_nonce(self) -> int:
        """Return the highest nonce that was stored, 0 when there is none."""
        query = select(func.max(orders.c.nonce))
        return await self._database.read(lambda connection: connection.execute(query).scalar_one()) or 0

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

        def work(connection: Connection) -> list[Mapping[str, Any]]:
            return [row for row in rows if upsert.add_if_new(connection, fills, row)]

        return await self._database.write(work)

    async def newest_fill_at(self) -> datetime | None:
        """Return when the newest stored fill happened."""
        query = select(fills.c.at).order_by(fills.c.at.desc()).limit(1)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())

    async def trades(self, limit: int, symbol: str | None, since: datetime | None) -> list[Row]:
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

    async def close_position(self, position_id: str, at: datetime, reason: str, closed_pnl_usd: Decimal) -> None:
        """Store that a position of ours is gone, and why."""
        await self._database.write(
            lambda connection: connection.execute(
                update(positions)
                .where(positions.c.position_id == position_id)
                .values(closed_at=at, close_reason=reason, closed_pnl_usd=closed_pnl_usd)
            )
        )

    async def open_positions(self) -> list[Row]:
        """Return the positions of ours that are open."""
        query = select(positions).where(positions.c.closed_at.is_(None))
        return await self._database.read(lambda connection: _rows(connection, query))

    async def last_stopped_at(self) -> dict[str, datetime]:
        """Return, by symbol, when a stop, or the exchange for want of margin, last closed a position."""
        query = select(positions.c.symbol, positions.c.closed_at).where(
            positions.c.close_reason.in_(("stop", "liquidation"))
        )
        return await self._database.read(
            lambda connection: {
                row.symbol: row.closed_at for row in connection.execute(query.order_by(positions.c.closed_at))
            }
        )

    async def entered_predictions(self, since: datetime) -> set[tuple[int, datetime]]:
        """Return topic and time of the predictions that were traded on."""
        query = select(signals.c.topic_id, signals.c.prediction_at).where(
            signals.c.acted.is_(True), signals.c.at >= since
        )
        return await self._database.read(
            lambda connection: {(row.topic_id, row.prediction_at) for row in connection.execute(query)}
        )

    async def add_equity(self, at: datetime, equity_usd: Decimal, exposure_usd: Decimal) -> None:
        """Store a point of the equity curve."""
        row = {"at": at, "equity_usd": equity_usd, "exposure_usd": exposure_usd}
        await self._database.write(lambda connection: upsert.put(connection, equity, row))

    async def equity_since(self, since: datetime) -> list[Row]:
        """Return the equity curve from a time on."""
        query = select(equity).where(equity.c.at >= since).order_by(equity.c.at)
        return await self._database.read(lambda connection: _rows(connection, query))

    def note(self, kind: str, content: Mapping[str, JsonValue], at: datetime) -> None:
        """Add to the audit trail, some time soon."""
        row = {"type": kind, "content": dict(content), "at": at}
        self._database.submit(lambda connection: connection.execute(insert(events).values(row)))

    async def results(self, since: datetime) -> tuple[list[DayResult], list[DayResult]]:
        """Return realised results by day and by coin, since a time."""
        query = select(fills).where(fills.c.at >= since).order_by(fills.c.at)
        rows = await self._database.read(lambda connection: _rows(connection, query))
        return (
            _summed(rows, lambda row: str(row["at"].date())),
            _summed(rows, lambda row: str(row["symbol"])),
        )


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _summed(rows: Sequence[Row], key: Callable[[Row], str]) -> list[DayResult]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [
        DayResult(
            key=name,
            closed_pnl_usd=sum((row["closed_pnl_usd"] for row in group), Decimal(0)),
            fees_usd=sum((row["fee_usd"] for row in group), Decimal(0)),
            fills=len(group),
            wins=sum(1 for row in group if row["closed_pnl_usd"] > 0),
            losses=sum(1 for row in group if row["closed_pnl_usd"] < 0),
        )
        for name, group in groups.items()
    ]
