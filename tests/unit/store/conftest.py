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

import pytest
from sqlalchemy import Connection, event

from allora_mqtt.store.database import Database
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.migrate import migrate

NOW = datetime(2026, 11, 20, 10, 0, 0, 123456, UTC)


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def rows(path: Path, query: str) -> list[Any]:
    """What another process would see in the database."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def put(key: str, value: object = 1) -> Callable[[Connection], str]:
    """A write of one row into `state`, which returns the key."""

    def work(connection: Connection) -> str:
        connection.exec_driver_sql("INSERT INTO state (key, value) VALUES (?, ?)", (key, f'"{value}"'))
        return key

    return work


def keys(path: Path) -> set[str]:
    return {key for (key,) in rows(path, "SELECT key FROM state")}


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


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "bot.sqlite3"))


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = Database(url_of(path))
    yield database
    await asyncio.wait_for(database.close(), 10)


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)
