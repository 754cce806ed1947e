"""The lease on the real PostgreSQL: who may write, from when and until when."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text

from allora_mqtt.database_url import in_schema
from allora_mqtt.protocol.errors import ErrorCode
from allora_mqtt.store.database import Database
from allora_mqtt.store.lease import Lease, LeaseLost, holder_name, steady_s
from allora_mqtt.store.migrate import migrate
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.unit.store.conftest import NOW, hold, keys, put

LEASE_S = 1.0


class Clock:
    """A clock that is ahead by what a test says."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return steady_s() + self.ahead_s


@pytest.fixture
def url(postgres: Postgres, tmp_path: Path) -> str:
    """A schema with all its tables."""
    url = in_schema(postgres.url(), f"lease/{uuid.uuid4().hex}")
    migrate(url, tmp_path, NOW)
    return url


@asynccontextmanager
async def lease(
    url: str, holder: str, lease_s: float = LEASE_S, clock: Callable[[], float] = steady_s
) -> AsyncIterator[Lease]:
    made = Lease(url, holder, lease_s, clock)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def kept(held: Lease) -> AsyncIterator[asyncio.Task[None]]:
    """Renew a lease meanwhile."""
    keeping = asyncio.create_task(held.keep())
    try:
        yield keeping
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})


async def test_the_first_has_it_and_a_second_waits_as_long_as_it_is_renewed(url: str) -> None:
    async with lease(url, "a") as first, lease(url, "b") as second:
        assert await first.take(0)
        assert (first.number, first.is_held()) == (1, True)
        async with kept(first):
            assert not await second.take(2 * LEASE_S)
            assert (second.number, second.is_held(), first.is_held()) == (0, False, True)


async def test_one_that_is_not_renewed_goes_to_the_next_and_not_before_its_time(url: str) -> None:
    async with lease(url, "a") as first, lease(url, "b") as second:
        assert await first.take(0)
        taken_at = time.monotonic()
        assert await second.take(30)
        assert time.monotonic() - taken_at >= LEASE_S
        assert (second.number, second.is_held(), first.is_held()) == (2, True, False)
        with pytest.raises(LeaseLost):
            await asyncio.wait_for(first.keep(), 10)


async def test_its_holder_stops_before_its_end_by_its_own_clock(url: str) -> None:
    clock = Clock()
    async with lease(url, "a", 60, clock) as held:
        assert await held.take(0)
        clock.ahead_s = 0.8 * 60
        assert held.is_held()
        clock.ahead_s = 0.95 * 60
        assert not held.is_held()


async def test_who_waits_with_a_shorter_lease_waits_for_the_whole_of_the_longer_one(url: str) -> None:
    clock = Clock()
    async with lease(url, "a", 60) as first, lease(url, "b", 1, clock) as second:
        assert await first.take(0)
        assert not await second.take(0.2)
        clock.ahead_s = 30
        assert not await second.take(0.2)


async def test_one_that_was_given_back_is_taken_at_once(url: str) -> None:
    async with lease(url, "a", 60) as first:
        assert await first.take(0)
    async with lease(url, "b", 60) as second:
        assert await second.take(0)
        assert second.number == 2


async def test_the_next_bot_in_the_same_folder_does_not_wait_for_one_that_is_dead(url: str, tmp_path: Path) -> None:
    lock = tmp_path / "bot.lock"
    lock.touch()
    dead = Lease(url, holder_name(lock), 60)
    assert await dead.take(0)
    # What the kernel does with the lines of a process that is killed.
    dead._disconnect()
    async with lease(url, holder_name(lock), 60) as next_one:
        assert await next_one.take(5)
        assert next_one.number == 2
    (tmp_path / "other.lock").touch()
    assert holder_name(tmp_path / "other.lock") != holder_name(lock)


async def test_of_many_that_wait_one_gets_it(url: str) -> None:
    leases = [Lease(url, f"bot-{number}", LEASE_S) for number in range(6)]
    took = await asyncio.gather(*(each.take(0.5) for each in leases))
    assert sum(took) == 1
    assert sum(each.is_held() for each in leases) == 1
    for each in leases:
        await each.close()


async def test_nothing_is_written_by_one_that_has_lost_it(url: str) -> None:
    async with lease(url, "a") as first, lease(url, "b") as second:
        assert await first.take(0)
        mine, others = Database(url, first), Database(url, second)
        await mine.write(put("before"))
        assert await second.take(30)
        with pytest.raises(LeaseLost) as lost:
            await mine.write(put("after"))
        assert lost.value.code is ErrorCode.STORE_UNAVAILABLE
        assert not first.is_held()
        await others.write(put("others"))
        assert keys(url) == {"before", "others"}
        for each in (mine, others):
            await each.close()


async def test_a_write_that_is_under_way_ends_before_the_lease_is_taken(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lease(url, "a") as first, lease(url, "b", 30) as second:
        assert await first.take(0)
        database = Database(url, first)
        monkeypatch.setattr(second, "_is_over", lambda _seen: True)
        first._disconnect()
        with hold(database) as held:
            late = database.submit(put("late"))
            taking = asyncio.create_task(second.take(30))
            await asyncio.sleep(0.5)
            assert not taking.done()
            held.release()
            assert await taking
        await asyncio.wait([asyncio.wrap_future(late)])
        # Either it came before the lease was taken, or it was not written.
        assert late.exception(0) is None or isinstance(late.exception(0), LeaseLost)
        assert ("late" in keys(url)) is (late.exception(0) is None)
        await database.close()


async def test_a_long_write_does_not_hold_up_the_renewal(url: str) -> None:
    async with lease(url, "a") as held:
        assert await held.take(0)
        database = Database(url, held)
        async with kept(held):
            with hold(database):
                for _ in range(20):
                    await asyncio.sleep(LEASE_S / 10)
                    assert held.is_held()
        await database.close()


async def test_a_frozen_holder_is_put_out_by_the_server_in_the_middle_of_a_write(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.store.postgres._IDLE_IN_TRANSACTION_MS", 500)
    async with lease(url, "a") as first, lease(url, "b") as second:
        assert await first.take(0)
        database = Database(url, first)
        with hold(database):
            assert await second.take(30)
        with pytest.raises(LeaseLost):
            await database.write(put("after"))
        assert keys(url) == set()
        await database.close()


async def test_the_lease_outlives_a_server_that_ends_its_sessions(url: str, postgres: Postgres) -> None:
    async with lease(url, "a") as held:
        assert await held.take(0)
        async with kept(held) as keeping:
            for _ in range(3):
                with psycopg.connect(postgres.url().replace("+psycopg", ""), autocommit=True) as admin:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                    )
                await asyncio.sleep(LEASE_S / 2)
            await asyncio.sleep(LEASE_S)
            assert held.is_held()
            assert not keeping.done()
        assert held.number == 1


class Slow:
    """Makes each commit of a row in `state` take a while at the server."""

    def __init__(self, connection: Connection) -> None:
        for statement in (
            """CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$""",
            """CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON state DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slowly()""",
        ):
            connection.execute(text(statement))


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_commit_whose_answer_is_lost_is_asked_after(
    url: str, postgres: Postgres, *, is_committed: bool
) -> None:
    """The line breaks while the server commits; it goes on with it, or is told to end."""
    with Proxy(postgres.port) as line:
        database = Database(url.replace(str(postgres.port), str(line.port)))
        await database.write(Slow)
        writing = database.submit(put("doubtful"))
        await asyncio.sleep(0.5)
        waiting = database.submit(lambda connection: connection.execute(text("SELECT count(*) FROM state")).scalar())
        if not is_committed:
            end_writers(postgres)
        line.cut()
        await asyncio.sleep(0.5)
        assert writing.done() is False
        assert database.last_error is not None
        line.mend()
        await asyncio.wait([asyncio.wrap_future(waiting)], timeout=20)
        if is_committed:
            assert writing.result(0) == "doubtful"
        else:
            assert getattr(writing.exception(0), "code", None) is ErrorCode.STORE_UNAVAILABLE
        assert waiting.result(0) == is_committed
        assert keys(url) == ({"doubtful"} if is_committed else set())
        await database.close()


def end_writers(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url().replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT'")
