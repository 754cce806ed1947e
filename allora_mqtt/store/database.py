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
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from allora_mqtt.protocol.errors import BotError, ErrorCode

_MAX_BATCH: Final = 256
_SAMPLES: Final = 200
_UNWELL_S: Final = 3.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    done: Future[Any]


def open_engine(url: str) -> Engine:
    """Return an engine for this URL with the durability the journal needs.

    SQLite: WAL, `synchronous=FULL` (a commit is on disk when it returns), and transactions that begin where we say so
    (Python's driver would otherwise begin them late and break savepoints).
    """
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
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
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
    def is_writing(self) -> bool:
        """Whether there is a writer: without one nothing is stored any more, and nothing is refused either."""
        return self._writer.is_alive()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run some work in the next transaction and return its result once that is committed.

        Raises:
            BotError: `STORE_UNAVAILABLE`, when the database refuses (a full disk, for example); nothing of the work
                is stored then.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Hand over some work without waiting for it; once the database is closed it is refused."""
        done: Future[T] = Future()
        with self._gate:
            if self._closing:
                done.set_exception(BotError(ErrorCode.STORE_UNAVAILABLE, "The database is closed; the bot is ending."))
            else:
                self._jobs.put(_Job(work, done))
        return done

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a query beside the writer, on what is committed.

        Raises:
            BotError: `STORE_UNAVAILABLE`, when the database cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self._unavailable(error) from error

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
        with self._connection.begin():
            results = [job.work(self._connection) for job in jobs]
        self.commit_ms.append((time.perf_counter() - started) * 1000)
        self.last_commit_at = time.time()
        self._succeeded_since = True
        return results

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
        reason = str(getattr(error, "orig", None) or error)
        self._error, self._failed_at, self._succeeded_since = reason, time.monotonic(), False
        return BotError(
            ErrorCode.STORE_UNAVAILABLE,
            f"The database refused: {reason}. Nothing was changed; look at the disk of BOT_DATA_DIR.",
        )
