import asyncio
import sqlite3
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select

from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.store.database import Database, sqlite_path
from allora_mqtt.store.migrate import migrate
from allora_mqtt.store.schema import state
from tests.unit.store.conftest import (
    NOW,
    Place,
    as_written,
    count_commits,
    hold,
    keys,
    on_postgresql,
    on_sqlite,
    put,
    rows,
    settled,
    url_of,
)


def fail(_: Connection) -> None:
    raise KeyError("mine")


def violate(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO state (key, value) VALUES ('orphan', NULL)")


class Disk:
    """A disk without room for the database to grow, until there is."""

    def __init__(self, database: Database) -> None:
        self.is_full = True
        event.listen(database._engine, "connect", self._limit)

    def _limit(self, connection: sqlite3.Connection, _record: object) -> None:
        if self.is_full:
            connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present number of pages for it


async def test_a_write_returns_what_its_work_returns(database: Database, path: Place) -> None:
    assert await database.write(put("a")) == "a"
    assert keys(path) == {"a"}


async def test_writes_that_are_in_flight_together_share_one_commit(database: Database, path: Place) -> None:
    commits = count_commits(database)
    with hold(database) as held:
        waiting = [asyncio.ensure_future(database.write(put(f"k{index}"))) for index in range(200)]
        await asyncio.sleep(0)
        held.release()
        assert await asyncio.gather(*waiting) == [f"k{index}" for index in range(200)]
    assert len(commits) == 2
    assert len(keys(path)) == 200


async def test_a_flood_is_committed_in_batches_of_bounded_size(database: Database, path: Place) -> None:
    commits = count_commits(database)
    with hold(database) as held:
        waiting = [database.submit(put(f"k{index}")) for index in range(600)]
        held.release()
        await settled(database)
    assert all(done.done() for done in waiting)
    assert 3 <= len(commits) <= 5
    assert len(keys(path)) == 600


async def test_writes_run_in_the_order_in_which_they_were_handed_over(database: Database, path: Place) -> None:
    with hold(database) as held:
        for index in range(50):
            database.submit(put(f"k{index}"))
        held.release()
        await settled(database)
    assert as_written(path) == [f"k{index}" for index in range(50)]


@pytest.mark.parametrize("faulty", [fail, violate])
async def test_one_write_that_fails_does_not_fail_the_others(database: Database, path: Place, faulty: object) -> None:
    assert callable(faulty)
    with hold(database) as held:
        before = database.submit(put("before"))
        failing: Future[None] = database.submit(faulty)
        after = database.submit(put("after"))
        held.release()
        await settled(database)
    assert (before.result(1), after.result(1)) == ("before", "after")
    error = failing.exception(1)
    if faulty is fail:
        assert isinstance(error, KeyError)
    else:
        assert isinstance(error, BotError)
        assert error.code is ErrorCode.STORE_UNAVAILABLE
    assert keys(path) == {"before", "after"}


async def test_what_a_failing_write_did_before_it_failed_is_undone(database: Database, path: Place) -> None:
    def half(connection: Connection) -> None:
        put("half")(connection)
        fail(connection)

    with pytest.raises(KeyError, match="mine"):
        await database.write(half)
    with hold(database) as held:
        half_again = database.submit(half)
        other = database.submit(put("other"))
        held.release()
        await settled(database)
    assert isinstance(half_again.exception(1), KeyError)
    assert other.result(1) == "other"
    assert keys(path) == {"other"}


async def test_a_failing_write_leaves_the_next_one_alone(
    database: Database, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for faulty in (fail, violate):
        with pytest.raises((KeyError, BotError)):
            await database.write(faulty)
        await database.write(put(faulty.__name__))
        monkeypatch.setattr("allora_mqtt.store.database._UNWELL_S", 0.0)
        assert database.last_error is None
    assert keys(path) == {"fail", "violate"}


async def test_a_result_is_told_only_when_every_other_connection_sees_it(database: Database, path: Place) -> None:
    seen_inside: list[set[str]] = []
    seen_when_told: list[set[str]] = []

    def work(connection: Connection) -> None:
        put("a")(connection)
        seen_inside.append(keys(path))

    done = database.submit(work)
    done.add_done_callback(lambda _: seen_when_told.append(keys(path)))
    await settled(database)
    assert seen_inside == [set()]
    assert seen_when_told == [{"a"}]


async def test_reads_wait_for_no_write_and_see_what_is_committed(database: Database) -> None:
    def query(connection: Connection) -> list[str]:
        return [row.key for row in connection.exec_driver_sql("SELECT key FROM state")]

    await database.write(put("a"))
    with hold(database):
        database.submit(put("b"))
        assert await asyncio.wait_for(database.read(query), 5) == ["a"]
    await settled(database)
    assert sorted(await database.read(query)) == ["a", "b"]


@on_sqlite
async def test_a_commit_is_on_the_disk_when_it_returns(database: Database) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert await database.read(pragmas) == ["wal", 2, 1, 5000]
    assert await database.write(pragmas) == ["wal", 2, 1, 5000]


@on_postgresql
async def test_a_commit_is_on_the_disk_of_the_server_when_it_returns(database: Database) -> None:
    def setting(connection: Connection) -> object:
        return connection.exec_driver_sql("SHOW synchronous_commit").scalar()

    await database.write(lambda connection: connection.exec_driver_sql("ALTER ROLE bot SET synchronous_commit = off"))
    try:
        assert await database.read(setting) == "on"
    finally:
        await database.write(lambda connection: connection.exec_driver_sql("ALTER ROLE bot RESET synchronous_commit"))


@on_postgresql
async def test_text_that_postgresql_cannot_hold_is_stored_as_far_as_it_can(database: Database, path: Place) -> None:
    await database.write(put("a\0b", "c\0d"))
    assert keys(path) == {"a\N{SYMBOL FOR NULL}b"}
    assert await database.read(lambda connection: connection.execute(select(state.c.value)).scalar()) == "c\0d"


@on_sqlite
async def test_a_full_disk_refuses_the_write_and_stores_nothing_until_there_is_room(
    database: Database, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(database)
    for attempt in ("first", "second"):
        with pytest.raises(BotError, match="disk is full") as caught:
            await database.write(put(attempt, "x" * 1_000_000))
        assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
        assert "BOT_DATA_DIR" in caught.value.message
        assert database.last_error is not None
        assert "full" in database.last_error
    assert keys(path) == set()
    disk.is_full = False
    await database.write(put("third", "x" * 1_000_000))
    assert keys(path) == {"third"}
    just_after = database.last_error
    assert just_after is not None, "one write that succeeds is not a disk that is well"
    monkeypatch.setattr("allora_mqtt.store.database._UNWELL_S", 0.0)
    assert database.last_error is None
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@on_sqlite
async def test_a_full_disk_refuses_of_many_writes_only_those_it_has_no_room_for(
    database: Database, path: Place
) -> None:
    Disk(database)
    with hold(database) as held:
        small = database.submit(put("small"))
        large = database.submit(put("large", "x" * 1_000_000))
        held.release()
        await settled(database)
    assert small.result(1) == "small"
    assert isinstance(large.exception(1), BotError)
    assert keys(path) == {"small"}


async def test_a_database_that_cannot_be_opened_is_unavailable_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "unmounted" / "bot.sqlite3"
    database = Database(url_of(path))
    for doing in (database.write, database.read):
        with pytest.raises(BotError, match="unable to open") as caught:
            await doing(put("a"))
        assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    migrate(url_of(path), tmp_path / "backups", NOW)
    await database.write(put("b"))
    assert keys(path) == {"b"}
    await database.close()


async def test_a_query_that_fails_tells_its_sender(database: Database) -> None:
    with pytest.raises(BotError) as caught:
        await database.read(lambda connection: connection.exec_driver_sql("SELECT * FROM nowhere"))
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    with pytest.raises(KeyError):
        await database.read(fail)


async def test_a_waiter_that_gives_up_before_its_turn_harms_nobody(database: Database, path: Place) -> None:
    with hold(database) as held:
        first = asyncio.ensure_future(database.write(put("first")))
        leaving = asyncio.ensure_future(database.write(put("leaving")))
        last = asyncio.ensure_future(database.write(put("last")))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        held.release()
        assert list(await asyncio.gather(first, last)) == ["first", "last"]
    assert leaving.cancelled()
    assert keys(path) == {"first", "last"}


async def test_a_waiter_that_gives_up_while_its_write_runs_changes_nothing_of_it(
    database: Database, path: Place
) -> None:
    entered, released = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        put("slow")(connection)
        entered.set()
        released.wait(10)

    waiter = asyncio.ensure_future(database.write(slow))
    await asyncio.to_thread(entered.wait, 10)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    released.set()
    await settled(database)
    assert keys(path) == {"slow"}


async def test_when_all_waiters_have_given_up_the_writer_goes_on(database: Database, path: Place) -> None:
    with hold(database) as held:
        leaving = database.submit(put("leaving"))
        assert leaving.cancel()
        held.release()
    await database.write(put("next"))
    assert keys(path) == {"next"}


async def test_closing_writes_what_waits_and_refuses_what_comes_later(path: Place) -> None:
    database = Database(url_of(path))
    with hold(database) as held:
        waiting = [database.submit(put(f"k{index}")) for index in range(300)]
        closing = asyncio.ensure_future(database.close())
        await asyncio.sleep(0)
        late = database.submit(put("late"))
        held.release()
        await asyncio.wait_for(closing, 10)
    assert [done.result(0) for done in waiting] == [f"k{index}" for index in range(300)]
    assert keys(path) == {f"k{index}" for index in range(300)}
    with pytest.raises(BotError, match="closed"):
        late.result(0)
    with pytest.raises(BotError, match="closed"):
        await asyncio.wait_for(database.write(put("later")), 1)
    await asyncio.wait_for(database.close(), 1)


@on_sqlite
async def test_closing_leaves_one_file_behind(path: Path) -> None:
    database = Database(url_of(path))
    await database.write(put("a"))
    await database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
    await database.close()
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////data/bot.sqlite3", Path("/data/bot.sqlite3")),
        ("sqlite:///bot.sqlite3", Path("bot.sqlite3")),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql+psycopg://db/bot", None),
    ],
)
def test_a_url_of_sqlite_names_a_file(url: str, path: Path | None) -> None:
    assert sqlite_path(url) == path


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the death that is wanted
async def test_a_writer_that_has_died_is_noticed(database: Database) -> None:
    def die(_: Connection) -> None:
        sys.exit()

    await database.write(put("a"))
    seen = [database.is_writing]
    database.submit(die)
    async with asyncio.timeout(5):
        while database.is_writing:
            await asyncio.sleep(0.01)
    assert seen == [True]
