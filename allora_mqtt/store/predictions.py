"""Predictions and what came of them: the bot's own measure of how far a topic can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, select, update

from allora_mqtt.store import upsert
from allora_mqtt.store.database import Database
from allora_mqtt.store.schema import predictions

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often a topic foresaw the direction.

    Attributes:
        horizon_s: how far ahead it looks.
        samples: predictions that were resolved.
        right: those whose direction came true.
        unresolved: predictions whose time is not over yet, or of which it cannot be known any more.
    """

    topic_id: int
    symbol: str
    horizon_s: int
    samples: int
    right: int
    unresolved: int


class PredictionBook:
    """The table `predictions`.

    Args:
        database: where it is.
        network: whose topics these are: `sim`, or Allora's chain. A topic's number means something else on another.

    Every method that writes raises BotError `STORE_UNAVAILABLE` when nothing could be stored.
    """

    def __init__(self, database: Database, network: str) -> None:
        self._database = database
        self._network = network

    async def add(self, row: Row) -> None:
        """Store a prediction, unless it is there."""
        whole = {**row, "network": self._network}
        await self._database.write(lambda connection: upsert.add_if_new(connection, predictions, whole))

    async def change(self, topic_id: int, at: datetime, values: Row) -> None:
        """Store what came of a prediction, or what the reviewers said of it."""
        statement = (
            update(predictions)
            .where(
                predictions.c.network == self._network,
                predictions.c.topic_id == topic_id,
                predictions.c.at == at,
            )
            .values(**values)
        )
        await self._database.write(lambda connection: connection.execute(statement))

    async def unresolved(self) -> list[Row]:
        """Return the predictions whose outcome is still to be found out, oldest first."""
        query = (
            select(predictions)
            .where(predictions.c.network == self._network, predictions.c.resolved_at.is_(None))
            .order_by(predictions.c.due)
        )
        return await self._database.read(lambda connection: [dict(row) for row in connection.execute(query).mappings()])

    async def outcomes(self, limit: int) -> list[tuple[int, bool]]:
        """Return topic and right or wrong of the newest resolved predictions, oldest first."""
        query = (
            select(predictions.c.topic_id, predictions.c.is_right)
            .where(predictions.c.network == self._network, predictions.c.is_right.is_not(None))
            .order_by(predictions.c.due.desc())
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [(row.topic_id, row.is_right) for row in reversed(rows)]

    async def reviews(self, since: datetime) -> Sequence[Row]:
        """Return topic, symbol, time and review of the predictions that reviewers were asked about since a time."""
        query = select(predictions.c.topic_id, predictions.c.symbol, predictions.c.at, predictions.c.review).where(
            predictions.c.network == self._network, predictions.c.at >= since
        )
        rows = await self._database.read(lambda connection: [dict(row) for row in connection.execute(query).mappings()])
        return [row for row in rows if row["review"] is not None]

    async def hit_rates(self, since: datetime) -> list[HitRate]:
        """Return how often each topic was right, of the predictions made since a time, by topic."""
        right = func.sum(case((predictions.c.is_right.is_(True), 1), else_=0))
        resolved = func.count(predictions.c.is_right)
        query = (
            select(
                predictions.c.topic_id,
                predictions.c.symbol,
                predictions.c.horizon_s,
                resolved.label("samples"),
                right.label("right"),
                (func.count() - resolved).label("unresolved"),
            )
            .where(predictions.c.network == self._network, predictions.c.at >= since)
            .group_by(predictions.c.topic_id, predictions.c.symbol, predictions.c.horizon_s)
            .order_by(predictions.c.topic_id)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [HitRate(*row) for row in rows]
