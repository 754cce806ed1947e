from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from allora_mqtt.protocol.commands import Envelope
from allora_mqtt.protocol.messages import Response, Status
from allora_mqtt.store import retention
from allora_mqtt.store.database import Database
from allora_mqtt.store.entries import Changes, Incoming, fingerprint
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.retention import Retention
from allora_mqtt.store.schema import events, predictions
from tests.unit.store.conftest import NOW, on_sqlite, rows, settled

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


async def run(
    journal: Journal,
    name: str,
    at: datetime,
    identifier: str | None,
    *,
    ends: bool = True,
    answered: bool = True,
    data: Any = None,
) -> int:
    """Take a command through the journal."""
    payload = f'{{"id":"{identifier}"}}'.encode()
    incoming = Incoming(
        name, f"bot/request/{name}", payload, fingerprint(payload), "mqtt", 7, retained=False, received_at=at,
        envelope=Envelope(id=identifier), fills_mailbox=False,
    )  # fmt: skip
    seq = (await journal.record(incoming)).seq
    if ends:
        moment = at.replace(microsecond=0)
        response = Response(
            id=identifier, name=name, status=Status.EXECUTED, data={"answer": data or "x"}, received_at=moment,
            executed_at=moment, duration_ms=1, revision=1,
        )  # fmt: skip
        await journal.finish(seq, response, Changes())
    if answered:
        journal.answered([seq])
    return seq


async def test_questions_go_soon_once_they_are_answered_and_nothing_else_does(
    journal: Journal, database: Database, path: Path
) -> None:
    old = NOW - 2 * HOUR
    await run(journal, "ping", old, "asked")
    await run(journal, "performance", old, None)
    await run(journal, "history", NOW - HOUR / 2, "young")
    await run(journal, "trades", old, "not-answered", answered=False)
    await run(journal, "catalog", old, "under-way", ends=False)
    await run(journal, "close", old, "an-order")
    await settled(database)
    assert await retention.forget_questions(database, Retention(), NOW) == 2
    left = rows(path, "SELECT command_id FROM bot_commands ORDER BY seq")
    assert left == [("young",), ("not-answered",), ("under-way",), ("an-order",)]
    assert await retention.forget_questions(database, Retention(questions=timedelta(0)), NOW + DAY) == 0


async def test_an_id_runs_once_for_ever_and_what_else_a_command_was_goes(
    journal: Journal, database: Database, path: Path
) -> None:
    old = NOW - 91 * DAY
    await run(journal, "close", old, "known-for-ever")
    await run(journal, "close", old, None)
    await run(journal, "close", old, "not-answered", answered=False)
    await run(journal, "close", NOW - 89 * DAY, None)
    await settled(database)
    assert await retention.tidy(database, Retention(), NOW) == 2
    assert await retention.tidy(database, Retention(), NOW) == 0
    left = rows(path, "SELECT command_id, length(payload) > 0 FROM bot_commands ORDER BY seq")
    assert left == [("known-for-ever", 0), ("not-answered", 1), (None, 1)]
    again = await journal.record(
        Incoming("close", "bot/request/close", b"{}", "h", "mqtt", 8, retained=False, received_at=NOW,
                 envelope=Envelope(id="known-for-ever"), fills_mailbox=False)
    )  # fmt: skip
    assert again.first_seq == 1
    assert again.first is not None
    assert again.first["status"] == "EXECUTED"
    assert "data" not in again.first
    assert (await journal.history(5))[-1]["id"] == "known-for-ever"


@pytest.mark.parametrize(("days", "left"), [(365, 1), (0, 2)])
async def test_events_and_predictions_go_after_their_time(database: Database, path: Path, days: int, left: int) -> None:
    for age in (366, 364):
        at = NOW - age * DAY
        event = {"type": "signal", "content": {}, "at": at}
        prediction = {
            "network": "sim", "topic_id": 14, "at": at, "symbol": "BTC", "price": 1, "mark_price": 1, "seen_at": at,
            "horizon_s": 300, "due": at,
        }  # fmt: skip
        await database.write(lambda connection, row=event: connection.execute(insert(events).values(row)))  # type: ignore[misc] # a default, not an argument
        await database.write(lambda connection, row=prediction: connection.execute(insert(predictions).values(row)))  # type: ignore[misc] # as above
    kept = replace(Retention(), events=days * DAY, predictions=days * DAY)
    assert await retention.tidy(database, kept, NOW) == 2 * (2 - left)
    assert rows(path, "SELECT count(*) FROM events") == [(left,)]
    assert rows(path, "SELECT count(*) FROM predictions") == [(left,)]


@on_sqlite
async def test_the_file_stays_as_large_as_an_hour_of_questions(
    journal: Journal, database: Database, path: Path
) -> None:
    """Freed pages are used again: a screen that asks for days makes no file that grows."""
    sizes = []
    for day in range(6):
        now = NOW + day * DAY
        for number in range(60):
            await run(
                journal, "performance", now + number * timedelta(seconds=30), f"{day}-{number}", data="x" * 20_000
            )
        await settled(database)
        assert await retention.forget_questions(database, Retention(), now + 2 * HOUR) == 60
        sizes.append(rows(path, "SELECT page_count FROM pragma_page_count")[0][0])
    assert sizes[-1] <= sizes[0] * 1.05
