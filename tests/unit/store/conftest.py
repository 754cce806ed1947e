import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.string import TextLoader
from sqlalchemy import Connection, event, insert, text

from allora_mqtt.database_url import in_schema
from allora_mqtt.store.database import Database, open_engine
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.migrate import migrate
from allora_mqtt.store.schema import metadata, state
from tests.support.postgres import Postgres

NOW = datetime(2026, 11, 20, 10, 0, 0, 123456, UTC)


Place = Path | str
"""Where a database is: a file of SQLite's, or the address of PostgreSQL's."""

on_sqlite = pytest.mark.parametrize("path", ["SQLite"], indirect=True)
on_postgresql = pytest.mark.parametrize("path", ["PostgreSQL"], indirect=True)


def url_of(place: Place) -> str:
    return f"sqlite:///{place}" if isinstance(place, Path) else place


def rows(place: Place, query: str) -> list[Any]:
    """What another process would see in the database."""
    if isinstance(place, Path):
        with closing(sqlite3.connect(place)) as connection:
            return connection.execute(query).fetchall()
    with psycopg.connect(place.replace("+psycopg", "")) as server:
        # As SQLite has it, the text.
        server.adapters.register_loader("json", TextLoader)
        return server.execute(query).fetchall()


def put(key: str, value: object = 1) -> Callable[[Connection], str]:
    """A write of one row into `state`, which returns the key."""

    def work(connection: Connection) -> str:
        connection.execute(insert(state).values(key=key, value=str(value)))
        return key

    return work


def as_written(place: Place) -> list[str]:
    """The keys in `state`, in the order in which they were written."""
    order = "rowid" if isinstance(place, Path) else "ctid"
    return [key for (key,) in rows(place, f"SELECT key FROM state ORDER BY {order}")]  # noqa: S608 - one of two words


def keys(place: Place) -> set[str]:
    return {key for (key,) in rows(place, "SELECT key FROM state")}


@dataclass(frozen=True, slots=True)
class Held:
    """The writer, held up inside a write."""

    entered: threading.Event
    released: threading.Event

    def release(self) -> None:
        self.released.set()


@contextmanager
def hold(database: Database) -> Iterator[Held]:
    """Keep the writer busy, so that what is handed over meanwhile waits."""
    held = Held(threading.Event(), threading.Event())

    def wait(_: Connection) -> None:
        held.entered.set()
        held.released.wait(10)

    database.submit(wait)
    assert held.entered.wait(10)
    try:
        yield held
    finally:
        held.release()


def count_commits(database: Database) -> list[Connection]:
    """A list that grows with every commit of the writer."""
    commits: list[Connection] = []
    event.listen(database._engine, "commit", commits.append)
    return commits


async def settled(database: Database) -> None:
    """Wait until everything that was handed over is stored."""
    await asyncio.wait_for(database.write(lambda _: None), 10)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of the present schema."""
    folder = tmp_path_factory.mktemp("template")
    migrate(url_of(folder / "bot.sqlite3"), folder / "backups", NOW)
    return folder / "bot.sqlite3"


@pytest.fixture(scope="session")
def schema(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a schema of the present version in PostgreSQL."""
    url = in_schema(postgres.url(), "store")
    migrate(url, tmp_path_factory.mktemp("backups"), NOW)
    return url


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database of the present schema, on each engine."""
    if request.param == "SQLite":
        return Path(shutil.copy(request.getfixturevalue("template"), tmp_path / "bot.sqlite3"))
    url: str = request.getfixturevalue("schema")
    with open_engine(url).begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY"))
    return url


@pytest.fixture
async def database(path: Place) -> AsyncIterator[Database]:
    database = Database(url_of(path))
    yield database
    await asyncio.wait_for(database.close(), 10)


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)
