"""Its SQLite database, and the folder of commands that a later version had: coins, commands, thoughts on trades."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy import Column, Text

from allora_mqtt.export.writers import CsvWriter
from allora_mqtt.protocol.topics import SYMBOL_PATTERN

_TABLES: Final = ("crypto_configs", "bot_commands", "trade_logs")
_WAITS: Final = "PENDING"
_PENDING_FOLDER: Final = "tmp/commands/pending"
_LONGEST: Final = 200
_PART: Final = 1000

Row = Mapping[str, Any]


class NotTheEarlierBot(Exception):  # noqa: N818 - it names what was found
    """There is nothing of the earlier bot; the message says where."""


@dataclass(frozen=True, slots=True)
class Coin:
    """A coin that was active.

    Attributes:
        topic_id: what the earlier bot had written down, which may mean anything.
    """

    symbol: str
    topic_id: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command that was never executed.

    Attributes:
        source: the database or the file that it is in.
    """

    kind: str
    data: str
    created_at: str
    source: str


@dataclass(frozen=True, slots=True)
class Found:
    """What there is.

    Attributes:
        database: the file, where there is one.
        unreadable: symbols that cannot be any.
        commands: how many there are by status.
        trade_logs: how many there are.
    """

    database: Path | None = None
    coins: tuple[Coin, ...] = ()
    unreadable: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    commands: Mapping[str, int] = field(default_factory=dict)
    trade_logs: int = 0


def look(path: Path) -> Found:
    """Read a database, or the one in a folder and the commands that lie there as files.

    Raises:
        NotTheEarlierBot: there is neither.
    """
    files = tuple(_commands_in(path / _PENDING_FOLDER)) if path.is_dir() else ()
    database = _database_in(path) if path.is_dir() else path
    if database is None:
        if files or (path / ".env").is_file():
            return Found(waiting=files)
        raise NotTheEarlierBot(f"In {path} there is no database of the earlier bot and no .env.")
    try:
        with closing(_open(database)) as connection:
            tables = _tables(connection)
            if not tables:
                raise NotTheEarlierBot(f"{database} has none of the tables {', '.join(_TABLES)}.")
            rows = list(_rows(connection, "crypto_configs")) if "crypto_configs" in tables else []
            commands = list(_rows(connection, "bot_commands")) if "bot_commands" in tables else []
            logs = connection.execute("SELECT count(*) FROM trade_logs").fetchone()[0] if "trade_logs" in tables else 0
    except sqlite3.Error as error:
        raise NotTheEarlierBot(f"{database} cannot be read: {error}.") from error
    coins = [row for row in rows if row.get("is_active")]
    counts: dict[str, int] = {}
    for row in commands:
        counts[str(row.get("status"))] = counts.get(str(row.get("status")), 0) + 1
    pending = [_waiting(row, database) for row in commands if str(row.get("status")).upper() == _WAITS]
    return Found(
        database=database,
        coins=tuple(_coin(row) for row in coins if _is_symbol(row)),
        unreadable=tuple(str(row.get("symbol"))[:_LONGEST] for row in coins if not _is_symbol(row)),
        waiting=(*pending, *files),
        commands=counts,
        trade_logs=logs,
    )


def write_trade_logs(database: Path, out: BinaryIO) -> int:
    """Write what the earlier bot thought of trades as CSV, oldest first, and return how many rows that are.

    Raises:
        NotTheEarlierBot: the database cannot be read.
    """
    count = 0
    try:
        with closing(_open(database)) as connection:
            cursor = connection.execute("SELECT * FROM trade_logs ORDER BY id")
            names = [column[0] for column in cursor.description]
            writer = CsvWriter(out, [Column(name, Text) for name in names])
            while rows := cursor.fetchmany(_PART):
                writer.write([dict(zip(names, row, strict=True)) for row in rows])
                count += len(rows)
    except sqlite3.Error as error:
        raise NotTheEarlierBot(f"{database} cannot be read: {error}.") from error
    return count


def _database_in(folder: Path) -> Path | None:
    """Return the file in a folder (or one level below) that has most of the tables."""
    best: tuple[int, Path] | None = None
    for path in sorted({*folder.glob("*.db"), *folder.glob("*/*.db"), *folder.glob("*.sqlite*")}):
        try:
            with closing(_open(path)) as connection:
                count = len(_tables(connection))
        except sqlite3.Error:
            continue
        if count and (best is None or count > best[0]):
            best = (count, path)
    return None if best is None else best[1]


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {str(name) for (name,) in rows} & set(_TABLES)


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[Row]:
    cursor = connection.execute(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608 - a name of ours
    names = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row, strict=True))


def _is_symbol(row: Row) -> bool:
    return SYMBOL_PATTERN.fullmatch(str(row.get("symbol"))) is not None


def _coin(row: Row) -> Coin:
    topic = row.get("topic_id")
    return Coin(str(row["symbol"]), topic if isinstance(topic, int) else None)


def _waiting(row: Row, database: Path) -> Waiting:
    data = str(row.get("command_data") or "")[:_LONGEST]
    return Waiting(str(row.get("command_type"))[:_LONGEST], data, str(row.get("created_at") or ""), database.name)


def _commands_in(folder: Path) -> Iterator[Waiting]:
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            content = None
        written = content if isinstance(content, dict) else {}
        kind = written.get("command_type") or written.get("type") or "?"
        data = written.get("command_data") or written.get("data") or ""
        said = data if isinstance(data, str) else json.dumps(data)
        yield Waiting(str(kind)[:_LONGEST], said[:_LONGEST], str(written.get("created_at") or ""), path.name)
