"""What of the books is kept how long: docs/books.md says why."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Float, Select, Table, cast, delete, func, select

from allora_mqtt.protocol.errors import ErrorCode
from allora_mqtt.store.database import Database
from allora_mqtt.store.schema import bot_commands, equity, signals

_SIGNALS_KEPT: Final = timedelta(days=30)
_EQUITY_IN_FULL: Final = timedelta(days=30)
_STRANGERS_KEPT: Final = 10_000
"""Commands that were refused for their signature, and repetitions of others: anybody may send them without end."""
_LOOK: Final = 20_000
"""Rows that are held in memory at once."""
_BATCH: Final = 500
"""Rows in one transaction: commands wait for no more than that."""


async def tidy(database: Database, now: datetime, strangers_kept: int = _STRANGERS_KEPT) -> int:
    """Remove old signals that led to nothing, thin the old part of the equity curve, and bound what strangers sent.

    All else stays for ever: the ids of commands above all, by which a repetition is known.

    Of each hour of the curve that is older than 30 days the lowest, the highest and the newest point stay.

    Args:
        database: holds the books.
        now: the time.
        strangers_kept: how many commands stay that were refused for their signature or repeat others.

    Returns:
        How many rows were removed.

    Raises:
        BotError: `STORE_UNAVAILABLE`.
    """
    old_signals = select(signals.c.signal_id).where(signals.c.at < now - _SIGNALS_KEPT, signals.c.acted.is_(False))
    removed = await _remove(database, signals, signals.c.signal_id, old_signals)
    removed += await _remove(database, bot_commands, bot_commands.c.seq, _of_strangers(strangers_kept))
    return removed + await _remove(database, equity, equity.c.at, _thinned_out(now - _EQUITY_IN_FULL))


async def _remove(database: Database, table: Table, key: ColumnElement[Any], which: Select[Any]) -> int:
    removed = 0
    while doomed := await database.read(lambda connection: list(connection.execute(which.limit(_LOOK)).scalars())):
        for start in range(0, len(doomed), _BATCH):
            await database.write(_removal(table, key, doomed[start : start + _BATCH]))
        removed += len(doomed)
    return removed


def _removal(table: Table, key: ColumnElement[Any], ids: list[Any]) -> Callable[[Connection], Any]:
    return lambda connection: connection.execute(delete(table).where(key.in_(ids)))


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
