"""Who may act: of all bots on one schema of PostgreSQL, the one that holds its lease.

The lease is a row with a number that rises with each holder, and a count that rises with each renewal. Who holds it has
its session's advisory lock too, asks for the number in every transaction that writes, and knows by a clock of its own
until when it may act: for less than a lease from when it began to ask for its last renewal. Who waits takes the lease
when it has seen the count stand still for a lease, by its own clock, so that clocks need not agree. docs/postgresql.md
has the argument.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.store import postgres
from allora_mqtt.store.database import open_engine

log = logging.getLogger(__name__)

_RENEWALS_PER_LEASE: Final = 5
_LOOKS_PER_LEASE: Final = 10
_USED: Final = 0.9
"""The share of a lease that its holder uses: clocks do not run alike to the last digit."""
_SAY_AGAIN_S: Final = 60.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_MAKE: Final = (
    """CREATE TABLE IF NOT EXISTS lease (number bigint PRIMARY KEY, renewals bigint NOT NULL, holder text NOT NULL,
    lease_s double precision NOT NULL, is_free boolean NOT NULL)""",
    "INSERT INTO lease SELECT 0, 0, '', 0, true WHERE NOT EXISTS (SELECT FROM lease)",
)
_LOOK: Final = text("SELECT number, renewals, holder, lease_s, is_free FROM lease")
# The number is the key: the lock of `_CHECK` keeps it from being changed, and lets renewals through.
_CHECK: Final = text("SELECT 1 FROM lease WHERE number = :number FOR KEY SHARE")
_TAKE: Final = text(
    "UPDATE lease SET number = number + 1, renewals = 0, holder = :holder, lease_s = :lease_s, is_free = false "
    "WHERE number = :number AND renewals = :renewals"
)
_RENEW: Final = text("UPDATE lease SET renewals = renewals + 1 WHERE number = :number")
_FREE: Final = text("UPDATE lease SET is_free = true WHERE number = :number")
_LOCK: Final = text("SELECT pg_try_advisory_lock(hashtextextended(current_schema(), 0))")
_UNLOCK: Final = text("SELECT pg_advisory_unlock_all()")

T = TypeVar("T")


class LeaseLost(BotError):  # noqa: N818 - it names a state, as its siblings in the contract do
    """Another bot has taken this one's place, and nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STORE_UNAVAILABLE,
            "Another bot with this database and this base topic has taken over; nothing was written.",
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The lease as it was seen, and when it was first seen so."""

    number: int
    renewals: int
    holder: str
    lease_s: float
    is_free: bool
    since: float


def holder_name(lock: Path) -> str:
    """Return who this bot is, so that the next one in its data folder knows that it is gone.

    Args:
        lock: the file that one bot at a time holds a lock on as long as it lives. No two are the same file as long as
            the kernel runs; where the kernel does not say which it is, the name is one of its own each time.
    """
    try:
        kernel = _BOOT_ID.read_text(encoding="ascii").strip()
        file = lock.stat()
    except OSError:
        return os.urandom(16).hex()
    return f"{kernel}:{file.st_dev}:{file.st_ino}"


def steady_s() -> float:
    """Return seconds of a clock that is never set, and goes on while the machine sleeps where there is such a one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """The right to write to a schema and to send orders; a `Fence`.

    Args:
        url: SQLAlchemy URL of a PostgreSQL database; its schema is made where it is missing.
        holder: who asks, as `holder_name` has it.
        lease_s: how long the right lasts without a renewal.
        clock: seconds of a clock that is never set.
    """

    def __init__(self, url: str, holder: str, lease_s: float, clock: Callable[[], float] = steady_s) -> None:
        self._url = url
        self._engine = self._open(url, lease_s)
        self._holder = holder
        self._lease_s = lease_s
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lease")
        """For all that waits for the server; the event loop must turn for the lease to be renewed."""
        self._connection: Connection | None = None
        self._has_lock = False
        self._is_prepared = False
        self._is_down = False
        self._seen: _Seen | None = None
        self._until = 0.0
        self.number = 0
        """Which holder this is; 0 when it has never been one."""

    @staticmethod
    def _open(url: str, lease_s: float) -> Engine:
        engine = open_engine(url)
        milliseconds = int(lease_s * 1000)

        def limit(connection: object, _record: object) -> None:
            # A holder that is frozen loses its lock as one that is gone does; and nobody waits longer for a row.
            for name in ("idle_session_timeout", "statement_timeout"):
                connection.execute(f"SET {name} = {milliseconds}")  # type: ignore[attr-defined]  # psycopg's connection
            connection.commit()  # type: ignore[attr-defined]  # the same

        event.listen(engine, "connect", limit)
        return engine

    def is_held(self) -> bool:
        """Tell whether this bot may act now: nobody else does. From any thread."""
        return self._clock() < self._until

    def check(self, connection: Connection) -> None:
        """Keep the lease from being taken until this transaction ends.

        Raises:
            LeaseLost: it has been taken.
        """
        if connection.execute(_CHECK, {"number": self.number}).scalar() is None:
            self._until = 0.0
            raise LeaseLost

    async def take(self, patience_s: float | None) -> bool:
        """Wait until the lease is this bot's.

        Args:
            patience_s: how long to wait for another bot's end; None for ever. The server is waited for in any case.

        Returns:
            Whether it is.
        """
        started, said_at = self._clock(), -_SAY_AGAIN_S
        while not await self._in_thread(self._try_to_take):
            waited_s = self._clock() - started
            if self._seen is None:
                # Only a server that answers tells whether there is another bot.
                started = self._clock()
            elif patience_s is not None and waited_s > patience_s:
                return False
            if self._seen is not None and self._clock() - said_at >= _SAY_AGAIN_S:
                log.info("Another bot has the lease of this database and base topic; waiting for it to end")
                said_at = self._clock()
            await asyncio.sleep(self._lease_s / _LOOKS_PER_LEASE)
        log.info("This bot has the lease of its database, as holder %d", self.number)
        return True

    async def keep(self) -> None:
        """Renew the lease until it is lost.

        Raises:
            LeaseLost: another bot has taken it.
        """
        while await self._in_thread(self._renew):  # noqa: ASYNC110 - time runs, and nothing else happens
            await asyncio.sleep(self._lease_s / _RENEWALS_PER_LEASE)
        raise LeaseLost

    async def close(self) -> None:
        """Give the lease to whoever waits, if it is still this bot's: nothing may be written any more."""
        self._until = 0.0
        await self._in_thread(self._give_up)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _try_to_take(self) -> bool:
        asked_at = self._clock()
        try:
            connection = self._connected()
            seen = self._look(connection)
            is_taken = False
            if self._is_over(seen) and self._is_locked(connection):
                asked_at = self._clock()
                mine = {"holder": self._holder, "lease_s": self._lease_s}
                was = {"number": seen.number, "renewals": seen.renewals}
                is_taken = connection.execute(_TAKE, {**mine, **was}).rowcount == 1
                if not is_taken:
                    connection.execute(_UNLOCK)
                    self._has_lock = False
            connection.commit()
            self._answered()
        except SQLAlchemyError as error:
            self._failed(error)
            return False
        if is_taken:
            self.number, self._until = seen.number + 1, asked_at + _USED * self._lease_s
        return is_taken

    def _is_over(self, seen: _Seen) -> bool:
        """Tell whether whoever had the lease can do nothing with it any more."""
        stands_still_s = self._clock() - seen.since
        return seen.is_free or seen.holder == self._holder or stands_still_s >= max(self._lease_s, seen.lease_s)

    def _is_locked(self, connection: Connection) -> bool:
        """Have the advisory lock, which is the session's, and gone with it; tell whether it could be had."""
        self._has_lock = self._has_lock or bool(connection.execute(_LOCK).scalar_one())
        return self._has_lock

    def _look(self, connection: Connection) -> _Seen:
        row = connection.execute(_LOOK).one()
        before, now = self._seen, self._clock()
        is_same = before is not None and (before.number, before.renewals) == (row.number, row.renewals)
        since = before.since if is_same and before is not None else now
        self._seen = _Seen(row.number, row.renewals, row.holder, row.lease_s, row.is_free, since)
        return self._seen

    def _renew(self) -> bool:
        asked_at = self._clock()
        try:
            connection = self._connected()
            is_locked = self._is_locked(connection)
            is_mine = connection.execute(_RENEW, {"number": self.number}).rowcount == 1
            connection.commit()
            self._answered()
        except SQLAlchemyError as error:
            self._failed(error)
            return True
        if is_mine and is_locked:
            self._until = asked_at + _USED * self._lease_s
        return is_mine

    def _give_up(self) -> None:
        if self._connection is not None and self.number:
            try:
                self._connection.execute(_FREE, {"number": self.number})
                self._connection.commit()
            except SQLAlchemyError as error:
                log.warning("The lease of the database could not be given back and runs out by itself: %s", _why(error))
        self._disconnect()
        self._engine.dispose()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._prepare()
            self._connection = self._engine.connect()
        return self._connection

    def _prepare(self) -> None:
        """Make the schema and the table, which are older than all others: who migrates must hold the lease."""
        if self._is_prepared:
            return
        schema = postgres.schema_of(self._url)
        if schema is not None:
            postgres.make_schema(self._engine, schema)
        with self._engine.begin() as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(current_schema(), 1))")
            for statement in _MAKE:
                connection.exec_driver_sql(statement)
        self._is_prepared = True

    def _failed(self, error: SQLAlchemyError) -> None:
        self._disconnect()
        level = logging.DEBUG if self._is_down else logging.WARNING
        log.log(level, "PostgreSQL could not be asked for the lease: %s; trying again", _why(error))
        self._is_down = True

    def _answered(self) -> None:
        if self._is_down:
            log.info("PostgreSQL answers again")
        self._is_down = False

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._has_lock = False
        if connection is not None:
            connection.close()


def _why(error: SQLAlchemyError) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())
