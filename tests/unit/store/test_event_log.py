"""The event log: commands, events and signals as one list, in pages that lose nothing and say nothing twice."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert

from allora_mqtt.protocol.books import EventsPage, LoggedEvent
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.topics import Event
from allora_mqtt.store.books import Books
from allora_mqtt.store.database import Database
from allora_mqtt.store.event_log import read_events
from allora_mqtt.store.schema import bot_commands, events, signals
from tests.unit.store.conftest import NOW
from tests.unit.store.test_ledger import signal


def command(seq: int, at: datetime = NOW, **changes: Any) -> dict[str, Any]:
    return {
        "seq": seq, "command_id": f"id{seq}", "name": "mode", "topic": "bots/alice/mode/set", "payload": b"ACTIVE",
        "payload_hash": "h", "channel": "mqtt", "packet_id": None, "retained": False, "source": "cli:alice",
        "received_at": at, "status": "EXECUTED", "response": {"error": None}, "executed_at": at,
    } | changes  # fmt: skip


def event(seq: int, at: datetime = NOW, kind: Event = Event.FILL) -> dict[str, Any]:
    return {"seq": seq, "type": kind.value, "content": {"number": seq}, "at": at}


async def put(database: Database, table: Any, *rows: dict[str, Any]) -> None:
    await database.write(lambda connection: connection.execute(insert(table), list(rows)))


async def everything(database: Database, limit: int, types: Sequence[Event] = ()) -> list[LoggedEvent]:
    """Read page after page to the end."""
    found: list[LoggedEvent] = []
    before = None
    while True:
        page: EventsPage = await Books(database).events(limit, types, None, before)
        assert len(page.events) <= limit
        found += page.events
        before = page.next
        if before is None:
            return found


async def test_a_command_stands_before_what_it_brought_about(database: Database) -> None:
    await put(database, bot_commands, command(1, executed_at=NOW + timedelta(seconds=5)))
    await put(database, events, event(1, NOW + timedelta(seconds=1), Event.MODE_CHANGED))
    await put(database, signals, signal(at=NOW + timedelta(seconds=2)))
    found = await everything(database, 10)
    assert [one.type for one in found[::-1]] == [Event.COMMAND, Event.MODE_CHANGED, Event.SIGNAL]
    assert found[-1].content["seq"] == 1
    assert found[-1].content["asked"] == "ACTIVE"
    assert found[-1].content["source"] == "cli:alice"


async def test_only_what_is_asked_for_is_there(database: Database) -> None:
    await put(database, bot_commands, command(1))
    await put(database, events, event(1), event(2, kind=Event.ORDER), event(3, NOW - timedelta(hours=2)))
    await put(database, signals, signal())
    books = Books(database)
    assert {one.type for one in (await books.events(10, [Event.ORDER], None, None)).events} == {Event.ORDER}
    assert {one.type for one in (await books.events(10, [Event.SIGNAL], None, None)).events} == {Event.SIGNAL}
    recent = await books.events(10, [], NOW - timedelta(hours=1), None)
    assert len(recent.events) == 4


async def test_what_has_not_ended_and_what_only_asked_is_left_out(database: Database) -> None:
    pending = command(1, status="PENDING", response=None, executed_at=None)
    await put(database, bot_commands, pending, command(2, name="ping"), command(3, name="events"), command(4))
    assert [one.content["seq"] for one in await everything(database, 10)] == [4]


@pytest.mark.parametrize(
    ("topic", "payload", "channel", "asked"),
    [
        ("a/b/cryptos/BTC/set", b'{"value":"ON","topic_id":14}', "mqtt", "BTC ON 14"),
        ("bot/config/max_leverage/set", b"3", "mqtt", "max_leverage 3"),
        ("bot/request/close", b'{"symbol":"BTC","id":"x"}', "mqtt", "BTC"),
        ("bot/request/flatten", b"", "mqtt", None),
        ("bot/mode/set", b"NONSENSE", "mqtt", None),
        ("spool", b'{"name":"mode","value":"STANDBY"}', "spool", "STANDBY"),
        ("bot/mode/set", b"\xff\x00", "mqtt", None),
    ],
)
async def test_a_command_says_what_it_asked_for(
    database: Database, topic: str, payload: bytes, channel: str, asked: str | None
) -> None:
    await put(database, bot_commands, command(1, topic=topic, payload=payload, channel=channel))
    assert [one.content["asked"] for one in await everything(database, 10)] == [asked]


@pytest.mark.parametrize("before", ["1_x1", "1_e", "1_ex", "1_e9999999999999999999", "1_1", f"1_s{'a' * 40}"])
async def test_a_page_begins_where_another_has_ended_and_nowhere_else(database: Database, before: str) -> None:
    with pytest.raises(Rejected) as caught:
        await Books(database).events(10, [], None, before)
    assert caught.value.code is ErrorCode.BAD_VALUE


_seconds = st.lists(st.integers(0, 3), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=_seconds, others=_seconds, thoughts=_seconds, limit=st.integers(1, 5))
async def test_pages_hold_everything_once_and_in_order(
    database: Database, commands: list[int], others: list[int], thoughts: list[int], limit: int
) -> None:
    def at(second: int) -> datetime:
        return NOW + timedelta(seconds=second)

    def fill(connection: Connection) -> None:
        rows = {
            bot_commands: [command(seq, at(second)) for seq, second in enumerate(sorted(commands), 1)],
            events: [event(seq, at(second)) for seq, second in enumerate(others, 1)],
            signals: [signal(f"{number:032x}", at=at(second)) for number, second in enumerate(thoughts)],
        }
        for table, found in rows.items():
            connection.execute(delete(table))
            if found:
                connection.execute(insert(table), found)

    await database.write(fill)
    paged = await everything(database, limit)
    whole = await database.read(lambda connection: read_events(connection, 500, (), None, None))
    assert paged == whole.events
    assert len(paged) == len(commands) + len(others) + len(thoughts)
    assert [one.at for one in paged] == sorted((one.at for one in paged), reverse=True)
