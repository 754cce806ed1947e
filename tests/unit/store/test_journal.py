import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from allora_mqtt.protocol.commands import Envelope, Mode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.messages import ErrorInfo, Response, Status
from allora_mqtt.store.database import Database
from allora_mqtt.store.entries import Changes, Incoming, Saved, Unanswered, Unfinished, fingerprint
from allora_mqtt.store.journal import Journal, mode_state
from tests.support.refusing import allow, forbid
from tests.unit.store.conftest import NOW, Place, count_commits, hold, on_sqlite, rows, settled, url_of

ROOT = Path(__file__).parents[3]

LATER = NOW + timedelta(seconds=1)

NOTHING = Changes()


def incoming(payload: bytes = b"ACTIVE", *, topic: str = "bot/mode/set", **changes: Any) -> Incoming:
    command = Incoming(
        name="mode",
        topic=topic,
        payload=payload,
        payload_hash=fingerprint(payload),
        channel="mqtt",
        packet_id=7,
        retained=False,
        received_at=NOW,
        envelope=Envelope(),
        fills_mailbox=False,
    )
    return replace(command, **changes)


def response(status: Status = Status.EXECUTED, **changes: Any) -> Response:
    fields: dict[str, Any] = {"id": "a1", "name": "mode", "status": status, "data": {"mode": "ACTIVE"},
                              "received_at": NOW.replace(microsecond=0), "executed_at": LATER.replace(microsecond=0),
                              "duration_ms": 3.1, "revision": 42}  # fmt: skip
    return Response(**fields | changes)


def with_id(command_id: str) -> Incoming:
    return incoming(envelope=Envelope(id=command_id))


async def test_a_command_that_was_refused_is_numbered_before_those_that_came_after_it(
    journal: Journal, database: Database
) -> None:
    await forbid(database, "INSERT", "bot_commands", "WHEN (NEW.name = 'unlucky')")
    first, unlucky, after = range(3)
    tried = [
        journal.record(incoming(), first),
        journal.record(incoming(name="unlucky"), unlucky),
        journal.record(incoming(), after),
    ]
    refused = await asyncio.gather(*tried, return_exceptions=True)
    assert [isinstance(each, BotError) for each in refused] == [False, True, True]
    await allow(database, "bot_commands")
    with pytest.raises(BotError, match="before it could not be stored"):
        await journal.record(incoming(), after)
    once, again = await asyncio.gather(journal.record(incoming(), unlucky), journal.record(incoming(), after))
    # PostgreSQL leaves out the numbers of what was undone.
    assert 2 <= once.seq == again.seq - 1


async def test_commands_are_numbered_in_the_order_of_their_arrival(journal: Journal) -> None:
    seqs = [(await journal.record(incoming())).seq for _ in range(3)]
    together = await asyncio.gather(*(journal.record(incoming()) for _ in range(20)))
    seqs += [recorded.seq for recorded in together]
    assert seqs == list(range(1, 24))


async def test_a_number_is_never_used_again(journal: Journal, database: Database) -> None:
    last = (await journal.record(incoming())).seq
    await database.write(lambda connection: connection.exec_driver_sql("DELETE FROM bot_commands"))
    assert (await journal.record(incoming())).seq == last + 1


async def test_what_was_recorded_comes_back_whole(journal: Journal) -> None:
    zone = timezone(timedelta(hours=5, minutes=45))
    envelope = Envelope(id="ö1", source="cli:alice", issued_at=NOW.astimezone(zone), expires_at=LATER.astimezone(zone))
    command = incoming(
        b'{"value":"\x00\xff"}', name="close", topic="bots/alice/request/close", channel="spool", packet_id=None,
        retained=True, received_at=NOW.astimezone(zone), envelope=envelope,
    )  # fmt: skip
    recorded = await journal.record(command)
    assert recorded.first_seq is None
    (left,) = await journal.unfinished()
    assert left == Unfinished(recorded.seq, was_running=False, incoming=command)
    assert left.incoming.received_at.utcoffset() == timedelta(0)
    assert left.incoming.envelope.issued_at == NOW


async def test_a_name_that_is_too_long_for_its_column_is_cut(journal: Journal) -> None:
    await journal.record(incoming(name="x" * 1000))
    (left,) = await journal.unfinished()
    assert left.incoming.name == "x" * 64


async def test_a_command_with_a_known_id_is_a_duplicate_of_the_first(journal: Journal) -> None:
    first = await journal.record(with_id("a1"))
    again = await journal.record(with_id("a1"))
    assert (again.first_seq, again.first) == (first.seq, None)
    await journal.finish(first.seq, response(), NOTHING)
    third = await journal.record(incoming(b"STANDBY", envelope=Envelope(id="a1")))
    assert third.first_seq == first.seq
    assert third.first == response().model_dump(mode="json")
    await journal.finish(again.seq, response(Status.DUPLICATE), NOTHING)
    fourth = await journal.record(with_id("a1"))
    assert (fourth.first_seq, fourth.first) == (first.seq, third.first)


async def test_the_same_id_twice_in_one_commit_is_one_command_and_its_duplicate(
    journal: Journal, database: Database
) -> None:
    commits = count_commits(database)
    with hold(database) as held:
        waiting = [asyncio.ensure_future(journal.record(with_id("a1"))) for _ in range(3)]
        await asyncio.sleep(0)
        held.release()
        recorded = await asyncio.gather(*waiting)
    assert len(commits) == 2
    assert [one.first_seq for one in recorded] == [None, 1, 1]


async def test_commands_without_an_id_are_never_duplicates(journal: Journal) -> None:
    assert [(await journal.record(incoming())).first_seq for _ in range(3)] == [None, None, None]


async def test_a_duplicate_that_had_not_ended_is_known_as_one_after_a_restart(journal: Journal) -> None:
    first = await journal.record(with_id("a1"))
    await journal.finish(first.seq, response(), NOTHING)
    again = await journal.record(with_id("a1"))
    (left,) = await journal.unfinished()
    assert (left.seq, left.first_seq) == (again.seq, first.seq)
    assert left.first == response().model_dump(mode="json")


async def test_unfinished_are_those_that_wait_or_run_oldest_first(journal: Journal) -> None:
    seqs = [(await journal.record(incoming(str(index).encode()))).seq for index in range(4)]
    await journal.start(seqs[1])
    await journal.finish(seqs[2], response(Status.REJECTED), NOTHING)
    assert [(left.seq, left.was_running) for left in await journal.unfinished()] == [
        (seqs[0], False),
        (seqs[1], True),
        (seqs[3], False),
    ]
    for seq in seqs:
        await journal.finish(seq, response(), NOTHING)
    assert await journal.unfinished() == []


@pytest.mark.parametrize("status", list(Status))
async def test_every_way_to_end_is_an_end(journal: Journal, status: Status) -> None:
    recorded = await journal.record(incoming())
    await journal.finish(recorded.seq, response(status), NOTHING)
    assert await journal.unfinished() == []
    assert (await journal.history(1))[0]["status"] == status.value


async def test_unanswered_are_those_whose_response_the_broker_may_not_have(
    journal: Journal, database: Database
) -> None:
    seqs = [(await journal.record(incoming(packet_id=index))).seq for index in range(4)]
    await journal.finish(seqs[0], response(), NOTHING)
    await journal.finish(seqs[1], response(Status.FAILED), NOTHING)
    journal.answered([seqs[0], seqs[3]])
    await settled(database)
    assert await journal.unanswered() == [
        Unanswered(seqs[1], "bot/mode/set", 1, fingerprint(b"ACTIVE"), response(Status.FAILED)),
        Unanswered(seqs[2], "bot/mode/set", 2, fingerprint(b"ACTIVE"), None),
    ]
    journal.answered(seqs)
    await settled(database)
    assert await journal.unanswered() == []


async def test_a_response_comes_back_as_it_was_given(journal: Journal) -> None:
    error = ErrorInfo(code=ErrorCode.NO_TOPIC, message="Nothing predicts XYZ — \x00 \U0001f600.")
    given = response(Status.REJECTED, error=error, transaction={"a": [None, 1.5, "ß"]}, source="x")
    recorded = await journal.record(incoming())
    await journal.finish(recorded.seq, given, NOTHING)
    (unanswered,) = await journal.unanswered()
    assert unanswered.response == given


async def test_the_mailbox_remembers_each_payload_that_was_handled_on_a_topic(journal: Journal) -> None:
    await journal.record(incoming(b"a", fills_mailbox=True))
    await journal.record(incoming(b"b", fills_mailbox=True))
    await journal.record(incoming(b"c", topic="bot/cryptos/set", fills_mailbox=True))
    await journal.record(incoming(b"d", topic="bot/request/ping"))
    await journal.record(incoming(b"a", fills_mailbox=True))
    assert await journal.handled_in_mailbox() == {
        "bot/mode/set": {fingerprint(b"a"), fingerprint(b"b")},
        "bot/cryptos/set": {fingerprint(b"c")},
    }


async def test_an_emptied_mailbox_forgets_what_came_before_and_nothing_that_comes_after(
    journal: Journal, database: Database
) -> None:
    before = journal.record(incoming(b"a", fills_mailbox=True))
    other = journal.record(incoming(b"c", topic="bot/cryptos/set", fills_mailbox=True))
    journal.mailbox_emptied("bot/mode/set")
    after = journal.record(incoming(b"b", fills_mailbox=True))
    await asyncio.gather(before, other, after)
    await settled(database)
    assert await journal.handled_in_mailbox() == {
        "bot/mode/set": {fingerprint(b"b")},
        "bot/cryptos/set": {fingerprint(b"c")},
    }


async def test_history_can_end_before_the_command_that_asks_for_it(journal: Journal) -> None:
    first = await journal.record(incoming(b"first"))
    asking = await journal.record(incoming(b"asks"))
    assert [row["seq"] for row in await journal.history(10, before=asking.seq)] == [first.seq]


async def test_history_is_the_newest_commands_with_how_they_ended(journal: Journal) -> None:
    await journal.record(incoming(b"oldest"))
    ended = await journal.record(incoming(b"x" * 500, envelope=Envelope(id="a1", source="cli:alice")))
    error = ErrorInfo(code=ErrorCode.BAD_VALUE, message="No.")
    await journal.finish(ended.seq, response(Status.REJECTED, error=error), NOTHING)
    await journal.record(incoming(b"\xff"))
    newest, second = await journal.history(2)
    assert second == {
        "seq": 2,
        "id": "a1",
        "name": "mode",
        "command": "x" * 200,
        "topic": "bot/mode/set",
        "status": "REJECTED",
        "error": {"code": "BAD_VALUE", "message": "No."},
        "source": "cli:alice",
        "signed_by": None,
        "channel": "mqtt",
        "received_at": "2026-11-20T10:00:00.123Z",
        "executed_at": "2026-11-20T10:00:01.000Z",
    }
    assert newest["seq"] == 3
    assert newest["command"] == "\ufffd"
    assert (newest["status"], newest["error"], newest["executed_at"]) == ("PENDING", None, None)


async def test_an_empty_store_knows_of_no_earlier_run(journal: Journal) -> None:
    assert await journal.saved() == Saved(state={}, active=None, settings={})
    assert await journal.unfinished() == []
    assert await journal.unanswered() == []
    assert await journal.handled_in_mailbox() == {}
    assert await journal.history(10) == []


async def test_the_end_of_a_command_is_stored_with_everything_it_changed(journal: Journal) -> None:
    recorded = await journal.record(incoming())
    state = mode_state(Mode.ACTIVE, NOW, "because", recorded.seq) | {"revision": 42}
    await journal.finish(
        recorded.seq, response(), Changes(state=state, active={"BTC": 14, "ETH": 13}, settings={"max_leverage": "3"})
    )
    saved = await journal.saved()
    assert saved == Saved(
        state={
            "mode": {"mode": "ACTIVE", "since": NOW.isoformat(), "reason": "because", "seq": recorded.seq},
            "revision": 42,
        },
        active={"BTC": 14, "ETH": 13},
        settings={"max_leverage": "3"},
    )


async def test_a_changed_active_set_replaces_the_one_before_and_an_empty_one_is_known(journal: Journal) -> None:
    await journal.save(Changes(active={"BTC": 14, "ETH": 13}), NOW)
    await journal.save(Changes(active={"SOL": 5, "BTC": 99}), NOW)
    assert (await journal.saved()).active == {"BTC": 99, "SOL": 5}
    await journal.save(Changes(state={"revision": 1}), NOW)
    assert (await journal.saved()).active == {"BTC": 99, "SOL": 5}
    await journal.save(Changes(active={}), NOW)
    assert (await journal.saved()).active == {}


async def test_settings_and_state_change_key_by_key(journal: Journal, path: Place) -> None:
    await journal.save(Changes(state={"a": 1, "b": [None]}, settings={"amount_usd": "50", "max_leverage": "2"}), NOW)
    await journal.save(Changes(state={"a": {"x": 2}}, settings={"amount_usd": "60.10"}), LATER)
    saved = await journal.saved()
    assert saved.state == {"a": {"x": 2}, "b": [None]}
    assert saved.settings == {"amount_usd": "60.10", "max_leverage": "2"}
    changed = dict(rows(path, "SELECT key, changed_at FROM settings"))
    assert changed["amount_usd"] == LATER.isoformat()
    assert changed["max_leverage"] == NOW.isoformat()


@pytest.mark.parametrize(
    "table", ["bot_commands", "state", "crypto_configs", "settings"], ids=lambda table: f"at_{table}"
)
async def test_of_an_end_and_its_changes_all_is_stored_or_nothing(
    journal: Journal, database: Database, path: Place, table: str
) -> None:
    recorded = await journal.record(incoming())
    await journal.save(Changes(state={"revision": 1}, active={"BTC": 14}, settings={"max_leverage": "2"}), NOW)
    before = await journal.saved()
    verb = "UPDATE" if table == "bot_commands" else "INSERT"
    await forbid(database, verb, table)
    changes = Changes(state={"revision": 2}, active={"ETH": 13}, settings={"max_leverage": "3"})
    with pytest.raises(BotError, match="forbidden") as caught:
        await journal.finish(recorded.seq, response(), changes)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert await journal.saved() == before
    assert [left.seq for left in await journal.unfinished()] == [recorded.seq]
    await allow(database, table)
    await journal.finish(recorded.seq, response(), changes)
    assert (await journal.saved()).active == {"ETH": 13}
    assert await journal.unfinished() == []
    assert rows(path, "SELECT count(*) FROM bot_commands") == [(1,)]


@on_sqlite
async def test_a_command_that_cannot_be_stored_is_refused_and_leaves_no_trace(
    journal: Journal, database: Database, path: Place
) -> None:
    event.listen(database._engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(BotError, match="full"):
        await journal.record(incoming(b"x" * 1_000_000, fills_mailbox=True))
    assert rows(path, "SELECT count(*) FROM bot_commands") == [(0,)]
    assert await journal.handled_in_mailbox() == {}


KILLED = """
import asyncio, sys
from tests.unit.store.test_journal import incoming, with_id
from allora_mqtt.store.database import Database
from allora_mqtt.store.journal import Journal

async def main():
    journal = Journal(Database(sys.argv[1]))
    await asyncio.gather(*(journal.record(with_id(f"id-{index}")) for index in range(20)))
    print("recorded", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def record_and_be_killed(url: str) -> None:
    """Record twenty commands in another process, and kill that as soon as it says that it has."""
    command = [sys.executable, "-c", KILLED, url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"recorded\n"
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL


async def test_what_was_recorded_survives_the_death_of_the_process(path: Place) -> None:
    await asyncio.to_thread(record_and_be_killed, url_of(path))
    database = Database(url_of(path))
    left = await Journal(database).unfinished()
    again = await Journal(database).record(with_id("id-7"))
    await database.close()
    assert sorted(entry.incoming.envelope.id or "" for entry in left) == sorted(f"id-{index}" for index in range(20))
    assert again.first_seq in {entry.seq for entry in left}
    if isinstance(path, Path):
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_fingerprint_is_the_sha256_of_the_bytes() -> None:
    assert fingerprint(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert fingerprint(b"ACTIVE") != fingerprint(b"ACTIVE ")


def test_the_mode_is_kept_with_its_time_reason_and_command() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert mode_state(Mode.STOPPED, at, "asked", 9) == {
        "mode": {"mode": "STOPPED", "since": "2026-01-01T00:00:00+00:00", "reason": "asked", "seq": 9}
    }
