"""One database, one writer thread, many commands to one fsync; the event loop never waits for a disk.

Every write is a function of a connection. The writer takes all that are waiting, runs them in one transaction,
commits, and only then tells their senders. When one of them fails the transaction is undone and each runs again in one
of its own, so that nobody fails for another's sake: a write may therefore run twice, and must do nothing but write.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from allora_mqtt.database_url import is_postgresql
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.store import postgres

_MAX_BATCH: Final = 256
_SAMPLES: Final = 200
_UNWELL_S: Final = 3.0
_ASK_AGAIN_S: Final = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    done: Future[Any]


class Fence(Protocol):
    """Whether this bot is still the one that may write."""

    def check(self, connection: Connection) -> None:
        """See to it, within a transaction, that no other bot writes before its end, or raise `BotError`."""


class NoDriver(Exception):  # noqa: N818 - it names what happened
    """What the database of this URL needs is not installed; the message says how to install it."""


def open_engine(url: str, *, read_only: bool = False) -> Engine:
    """Return an engine for this URL with the durability the journal needs.

    SQLite: WAL, `synchronous=FULL` (a commit is on disk when it returns), and transactions that begin where we say so
    (Python's driver would otherwise begin them late and break savepoints). PostgreSQL: `postgres` has what it needs.

    Args:
        url: SQLAlchemy's.
        read_only: whether PostgreSQL is to refuse every write.

    Raises:
        NoDriver: it is PostgreSQL's, and psycopg is not installed.
    """
    if is_postgresql(url):
        line = postgres.line_settings(make_url(url))
        options = {"postgresql_readonly": read_only}
        try:
            engine = create_engine(url, poolclass=NullPool, connect_args=line, execution_options=options)
        except ImportError as error:
            raise NoDriver(
                "BOT_DATABASE_URL is PostgreSQL's, which needs psycopg: install it with "
                "`pip install 'allora-mqtt[postgres]'`."
            ) from error
        event.listen(engine, "connect", postgres.prepare)
        return engine
    engine = create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _closed() -> BotError:
    return BotError(ErrorCode.STORE_UNAVAILABLE, "The database is closed; the bot is ending.")


def sqlite_path(url: str) -> Path | None:
    """Return the file a SQLite URL points to, or None for another engine or a database in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


class Database:
    """The journal's and the ledger's way to the disk.

    Args:
        url: SQLAlchemy URL of a database whose schema is up to date.
        fence: asked in each transaction, where other bots may write to this database too.
    """

    def __init__(self, url: str, fence: Fence | None = None) -> None:
        self._engine = open_engine(url)
        self._fence = fence
        self._where = "the PostgreSQL server" if is_postgresql(url) else "the disk of BOT_DATA_DIR"
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = False
        self._gate = threading.Lock()
        """Held while a job is handed over, so that none comes after the end of the queue."""
        self._readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="store-read")
        self._connection: Connection | None = None
        self.commit_ms: deque[float] = deque(maxlen=_SAMPLES)
        """How long the newest commits took."""
        self.last_commit_at: float | None = None
        """When the newest commit ended, unix seconds."""
        self.on_commit: Callable[[float], None] = _nobody_measures
        """Told, on the writer's thread, how many seconds a commit took."""
        self._error: str | None = None
        self._failed_at = 0.0
        self._succeeded_since = False
        self._writer = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        self._writer.start()

    @property
    def last_error(self) -> str | None:
        """Why a write failed, until writes have succeeded for a few seconds: on a full disk some still do."""
        is_over = self._succeeded_since and time.monotonic() - self._failed_at > _UNWELL_S
        return None if is_over else self._error

    @property
    def waiting(self) -> int:
        """How many writes wait for the writer."""
        return self._jobs.qsize()

    @property
    def is_writing(self) -> bool:
        """Whether there is a writer: without one nothing is stored any more, and nothing is refused either."""
        return self._writer.is_alive()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run some work in the next transaction and return its result once that is committed.

        Raises:
            BotError: `STORE_UNAVAILABLE`, when the database refuses (a full disk, for example), or another bot has
                taken this one's place; nothing of the work is stored then.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Hand over some work without waiting for it; once the database is closed it is refused."""
        done: Future[T] = Future()
        with self._gate:
            if self._closing:
                done.set_exception(_closed())
            else:
                self._jobs.put(_Job(work, done))
        return done

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a query beside the writer, on what is committed; a server that is away is waited for.

        Raises:
            BotError: `STORE_UNAVAILABLE`, when the database cannot be read.
        """
        loop = asyncio.get_running_loop()
        while True:
            if self._closing:
                raise _closed()
            try:
                return await loop.run_in_executor(self._readers, self._read, work)
            except (SQLAlchemyError, sqlite3.Error) as error:
                unavailable = self._unavailable(error)
                if not (isinstance(error, DBAPIError) and postgres.is_gone(error)):
                    raise unavailable from error
            await asyncio.sleep(_ASK_AGAIN_S)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)

    async def close(self) -> None:
        """Write what is waiting, then end the threads."""
        with self._gate:
            self._closing = True
            self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown()
        self._engine.dispose()

    def _write_loop(self) -> None:
        while (batch := self._next_batch()) is not None:
            running = [job for job in batch if job.done.set_running_or_notify_cancel()]
            try:
                results = self._commit(running)
            except Exception as error:  # noqa: BLE001 - whatever a write raises belongs to its sender, not to this thread
                self._commit_each(running, error)
            else:
                for job, result in zip(running, results, strict=True):
                    job.done.set_result(result)
        self._disconnect()

    def _commit(self, jobs: list[_Job]) -> list[Any]:
        if self._connection is None:
            self._connection = self._engine.connect()
        started = time.perf_counter()
        with self._connection.begin() as transaction:
            name = self._enter(self._connection)
            results = [job.work(self._connection) for job in jobs]
            try:
                transaction.commit()
            except DBAPIError as error:
                if name is None or not postgres.is_gone(error) or not self._is_stored(name, error):
                    raise
        if self._connection.invalidated:
            self._disconnect()
        took_s = time.perf_counter() - started
        self.commit_ms.append(took_s * 1000)
        self.on_commit(took_s)
        self.last_commit_at = time.time()
        self._succeeded_since = True
        return results

    def _enter(self, connection: Connection) -> str | None:
        """Return what the transaction is called, where it may be that its end is not told."""
        if self._fence is not None:
            self._fence.check(connection)
        return postgres.transaction_id(connection) if connection.dialect.name == "postgresql" else None

    def _is_stored(self, transaction: str, error: DBAPIError) -> bool:
        """Find out whether a commit to which there was no answer is in the database, however long that takes.

        Until then nothing else is written: who takes it for failed, and writes again, would write twice.
        """
        self._unavailable(error)
        while (found := postgres.has_committed(self._engine, transaction)) is None:
            if self._closing:
                return False
            time.sleep(_ASK_AGAIN_S)
        return found

    def _commit_each(self, jobs: list[_Job], first_error: Exception) -> None:
        for job in jobs:
            error = first_error
            if len(jobs) > 1:
                try:
                    job.done.set_result(self._commit([job])[0])
                    continue
                except Exception as own_error:  # noqa: BLE001 - as above
                    error = own_error
            if isinstance(error, (SQLAlchemyError, sqlite3.Error)):
                self._disconnect()
                error = self._unavailable(error)
            job.done.set_exception(error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _next_batch(self) -> list[_Job] | None:
        first = self._jobs.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < _MAX_BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            batch.append(job)
        return batch

    def _unavailable(self, error: Exception) -> BotError:
        reason = " ".join(str(getattr(error, "orig", None) or error).split()).removesuffix(".")
        self._error, self._failed_at, self._succeeded_since = reason, time.monotonic(), False
        return BotError(
            ErrorCode.STORE_UNAVAILABLE, f"The database refused: {reason}. Nothing was changed; look at {self._where}."
        )


def _nobody_measures(_took_s: float) -> None:
    pass
