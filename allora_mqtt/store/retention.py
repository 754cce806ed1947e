"""What of the books is kept how long: docs/operate.md says why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Row,
    Select,
    Table,
    cast,
    delete,
    func,
    select,
    tuple_,
    update,
)

from allora_mqtt.protocol.commands import QUESTIONS
from allora_mqtt.protocol.errors import ErrorCode
from allora_mqtt.store.database import Database
from allora_mqtt.store.journal import PENDING, RUNNING
from allora_mqtt.store.schema import bot_commands, equity, events, predictions, signals

_STRANGERS_KEPT: Final = 10_000
"""Commands that were refused for their signature, and repetitions of others: anybody may send them without end."""
_LOOK: Final = 20_000
"""Rows that are held in memory at once."""
_BATCH: Final = 500
"""Rows in one transaction: commands wait for no more than that."""
_FOR_EVER: Final = timedelta(0)
_ANSWER: Final = ("id", "name", "status", "error", "received_at", "executed_at")
"""What stays of an old answer: enough for a duplicate to be told how the first one ended."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept; zero is for ever.

    Attributes:
        questions: commands that only asked, with their answers.
        commands: what other commands carried, and the data of their answers. Those with an id stay known for ever.
        signals: signals that led to nothing.
        equity: every point of the equity curve; of older hours the lowest, the highest and the newest stay.
        events: the audit trail.
        predictions: predictions and what came of them.
    """

    questions: timedelta = timedelta(hours=1)
    commands: timedelta = timedelta(days=90)
    signals: timedelta = timedelta(days=30)
    equity: timedelta = timedelta(days=30)
    events: timedelta = timedelta(days=365)
    predictions: timedelta = timedelta(days=365)


async def tidy(database: Database, kept: Retention, now: datetime, strangers_kept: int = _STRANGERS_KEPT) -> int:
    """Remove what is older than it is kept, for the most part once a day; all else stays for ever.

    Args:
        database: holds the books.
        kept: how long what is kept.
        now: the time.
        strangers_kept: how many commands stay that were refused for their signature or repeat others.

    Returns:
        How many rows were removed, or emptied of what they carried.

    Raises:
        BotError: `STORE_UNAVAILABLE`.
    """
    changed = await forget_questions(database, kept, now)
    changed += await _remove(database, bot_commands, (bot_commands.c.seq,), _of_strangers(strangers_kept))
    if kept.commands != _FOR_EVER:
        changed += await _shrink_commands(database, now - kept.commands)
    if kept.signals != _FOR_EVER:
        old = select(signals.c.signal_id).where(signals.c.at < now - kept.signals, signals.c.acted.is_(False))
        changed += await _remove(database, signals, (signals.c.signal_id,), old)
    if kept.equity != _FOR_EVER:
        changed += await _remove(database, equity, (equity.c.at,), _thinned_out(now - kept.equity))
    if kept.events != _FOR_EVER:
        changed += await _remove(
            database, events, (events.c.seq,), select(events.c.seq).where(events.c.at < now - kept.events)
        )
    if kept.predictions != _FOR_EVER:
        key = tuple(predictions.primary_key)
        old_ones = select(*key).where(predictions.c.at < now - kept.predictions)
        changed += await _remove(database, predictions, key, old_ones)
    return changed


async def forget_questions(database: Database, kept: Retention, now: datetime) -> int:
    """Remove questions that were answered: a screen asks one every few seconds, and answers are long.

    Raises:
        BotError: `STORE_UNAVAILABLE`.
    """
    if kept.questions == _FOR_EVER:
        return 0
    asked = _ended(now - kept.questions).where(bot_commands.c.name.in_(QUESTIONS))
    return await _remove(database, bot_commands, (bot_commands.c.seq,), asked)


async def _shrink_commands(database: Database, before: datetime) -> int:
    """Leave of old commands what makes an id run once, and how it ended; those without an id go."""
    nameless = _ended(before).where(bot_commands.c.command_id.is_(None))
    changed = await _remove(database, bot_commands, (bot_commands.c.seq,), nameless)
    full = _ended(before).add_columns(bot_commands.c.response).where(func.length(bot_commands.c.payload) > 0)
    while rows := await database.read(lambda connection: connection.execute(full.limit(_BATCH)).all()):
        await database.write(_emptying(rows))
        changed += len(rows)
    return changed


def _ended(before: datetime) -> Select[Any]:
    """Select commands whose answer has long been taken."""
    return select(bot_commands.c.seq).where(
        bot_commands.c.received_at < before,
        bot_commands.c.answered.is_(True),
        bot_commands.c.status.not_in((PENDING, RUNNING)),
    )


def _emptying(rows: Sequence[Row[Any]]) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        for row in rows:
            emptied = update(bot_commands).where(bot_commands.c.seq == row.seq)
            connection.execute(emptied.values(payload=b"", response=_brief(row.response)))

    return work


def _brief(response: dict[str, JsonValue] | None) -> dict[str, JsonValue]:
    return {key: (response or {}).get(key) for key in _ANSWER}


async def _remove(database: Database, table: Table, key: tuple[ColumnElement[Any], ...], which: Select[Any]) -> int:
    removed = 0
    while doomed := await database.read(
        lambda connection: [tuple(row) for row in connection.execute(which.limit(_LOOK))]
    ):
        for start in range(0, len(doomed), _BATCH):
            await database.write(_removal(table, key, doomed[start : start + _BATCH]))
        removed += len(doomed)
    return removed


def _removal(
    table: Table, key: tuple[ColumnElement[Any], ...], ids: list[tuple[Any, ...]]
) -> Callable[[Connection], Any]:
    if len(key) == 1:
        return lambda connection: connection.execute(delete(table).where(key[0].in_([one for (one,) in ids])))
    return lambda connection: connection.execute(delete(table).where(tuple_(*key).in_(ids)))


def _thinned_out(before: datetime) -> Select[Any]:
    """Select the points that go: those that are neither lowest nor highest nor newest of their hour."""
    hour = func.substr(equity.c.at, 1, 13)
    value = cast(func.coalesce(equity.c.steady_usd, equity.c.equity_usd), Float)
    points = select(
        equity.c.at,
        func.row_number().over(partition_by=hour, order_by=(value, equity.c.at)).label("lowest"),
        func.row_number().over(partition_by=hour, order_by=(value.desc(), equity.c.at)).label("highest"),
        func.row_number().over(partition_by=hour, order_by=equity.c.at.desc()).label("newest"),
    ).where(equity.c.at < before)
    inner = points.subquery()
    return select(inner.c.at).where(inner.c.lowest > 1, inner.c.highest > 1, inner.c.newest > 1)


def _of_strangers(kept: int) -> Select[Any]:
    """Select the commands that go: answered, of no effect, with no id of their own, and not among the newest."""
    codes = (ErrorCode.NOT_SIGNED.value, ErrorCode.BAD_SIGNATURE.value, ErrorCode.STALE_SIGNATURE.value)
    which = select(bot_commands.c.seq).where(
        bot_commands.c.answered.is_(True),
        bot_commands.c.duplicate_of.is_not(None) | bot_commands.c.error_code.in_(codes),
    )
    return which.order_by(bot_commands.c.seq.desc()).offset(kept)
