"""Rows out of the database, a part at a time, read-only.

Each part is a read of its own: a reader that is slow (a pipe into a pager) holds no snapshot open, and the bot's
write-ahead log does not grow behind it. Rows are asked for by what they are in order of, so none comes twice and none
is left out that was there when the export began.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Select, create_engine, func, literal, select, tuple_
from sqlalchemy.pool import NullPool

from allora_mqtt.export.records import Record
from allora_mqtt.store.database import open_engine, sqlite_path

_PART: Final = 5_000
_BUSY_S: Final = 10.0

Rows = list[Mapping[str, Any]]


def open_read_only(url: str) -> Engine:
    """Return an engine that cannot write.

    Raises:
        FileNotFoundError: there is no such SQLite file.
        NoDriver: it is PostgreSQL's, and psycopg is not installed.
    """
    path = sqlite_path(url)
    if path is None:
        return open_engine(url, read_only=True)
    if not path.is_file():
        raise FileNotFoundError(path)
    return create_engine("sqlite://", creator=lambda: _connect(path), poolclass=NullPool)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
    connection.execute("PRAGMA query_only = ON")
    return connection


def count(engine: Engine, record: Record, since: datetime | None, until: datetime | None) -> int:
    """Return how many rows there are."""
    query = _window(select(func.count()).select_from(record.table), record, since, until)
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def parts(
    engine: Engine, record: Record, since: datetime | None, until: datetime | None, *, with_raw: bool
) -> Iterator[Rows]:
    """Read all rows from a time on and before another, oldest first."""
    columns = record.columns(with_raw=with_raw)
    query = _window(select(*columns), record, since, until).order_by(*record.order).limit(_PART)
    last: tuple[Any, ...] | None = None
    while True:
        # SQLite and PostgreSQL compare rows as one value, and use the index for it.
        following = query if last is None else query.where(tuple_(*record.order) > tuple_(*_bound(record, last)))
        with engine.connect() as connection:
            rows: Rows = [dict(row) for row in connection.execute(following).mappings()]
        if rows:
            yield rows
        if len(rows) < _PART:
            return
        last = tuple(rows[-1][column.name] for column in record.order)


def _bound(record: Record, values: tuple[Any, ...]) -> list[Any]:
    """Return values as the columns that they are compared with would be stored."""
    return [literal(value, column.type) for column, value in zip(record.order, values, strict=True)]


def _window(
    query: "Select[*tuple[Any, ...]]", record: Record, since: datetime | None, until: datetime | None
) -> "Select[*tuple[Any, ...]]":
    if since is not None:
        query = query.where(record.at >= since)
    return query if until is None else query.where(record.at < until)
