"""Insert or replace one row, on SQLite and PostgreSQL alike."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def put(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row, or update the one with the same primary key."""
    connection.execute(_put(connection.dialect.name, table, tuple(row)), row)


def add_if_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless its primary key is there; tell whether it was inserted."""
    # Not every driver's count outlasts an INSERT by itself.
    kept = {"preserve_rowcount": True}
    return connection.execute(_add(connection.dialect.name, table), row, execution_options=kept).rowcount > 0


# Building a statement takes longer than running it, and these run with each command.


@lru_cache
def _put(dialect: str, table: Table, columns: tuple[str, ...]) -> Any:  # noqa: ANN401 - a dialect's own insert
    statement = _insert(dialect, table)
    keys = _keys(table)
    rest = {name: statement.excluded[name] for name in columns if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


@lru_cache
def _add(dialect: str, table: Table) -> Any:  # noqa: ANN401 - a dialect's own insert
    return _insert(dialect, table).on_conflict_do_nothing(index_elements=_keys(table))


def _insert(dialect: str, table: Table) -> Any:  # noqa: ANN401 - a dialect's own insert
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def _keys(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]
