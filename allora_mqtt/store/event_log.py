"""What happened, newest first: events, signals and commands, each read from where it is kept for good."""

import re
from collections.abc import Collection, Iterator
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, Final, NamedTuple

from pydantic import JsonValue
from sqlalchemy import Column, ColumnElement, Connection, RowMapping, Select, false, or_, select, true

from allora_mqtt.protocol import spool
from allora_mqtt.protocol.books import EventsPage, LoggedEvent
from allora_mqtt.protocol.commands import QUESTIONS, brief
from allora_mqtt.protocol.cursor import cursor, read_cursor
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import CommandEvent, SignalView
from allora_mqtt.protocol.reading import read
from allora_mqtt.protocol.topics import Address, Event, Slot
from allora_mqtt.store.entries import SPOOL
from allora_mqtt.store.schema import bot_commands, events, signals

_COMMANDS, _EVENTS, _SIGNALS = "c", "e", "s"
"""Where a row is from; among rows of the same moment this is their order."""
_COMMAND_COLUMNS: Final = (
    "seq",
    "command_id",
    "name",
    "topic",
    "payload",
    "channel",
    "source",
    "response",
    "status",
    "received_at",
    "executed_at",
)


class _Found(NamedTuple):
    """A row with its place: its time, where it is from, and its id there."""

    at: datetime
    source: str
    row_id: int | str
    event: LoggedEvent

    @property
    def place(self) -> tuple[datetime, str, int | str]:
        return self.at, self.source, self.row_id


class _End(NamedTuple):
    """Where the page before has ended."""

    at: datetime
    source: str
    row_id: str


def read_events(
    connection: Connection, limit: int, types: Collection[Event], since: datetime | None, before: str | None
) -> EventsPage:
    """Return the newest events, newest first.

    Args:
        connection: to the database.
        limit: how many at most.
        types: of these types only; of all where none is named. Commands that only ask are always left out.
        since: from this time on.
        before: the rows after those of an earlier answer, by its `next`.

    Raises:
        Rejected: `before` is of no answer to `events`.
    """
    wanted = set(types or Event)
    end = None if before is None else _end(before)
    found = merge(
        _from_events(connection, wanted, since, end, limit + 1),
        _from_signals(connection, since, end, limit + 1) if Event.SIGNAL in wanted else iter(()),
        _from_commands(connection, since, end, limit + 1) if Event.COMMAND in wanted else iter(()),
        key=lambda one: one.place,
        reverse=True,
    )
    page = list(islice(found, limit + 1))
    last = page[limit - 1] if len(page) > limit else None
    following = None if last is None else cursor(last.at, f"{last.source}{last.row_id}")
    return EventsPage(events=[one.event for one in page[:limit]], next=following)


def _end(before: str) -> _End:
    moment, row_id = read_cursor(before)
    if not re.fullmatch(rf"[{_COMMANDS}{_EVENTS}][0-9]{{1,18}}|{_SIGNALS}[0-9A-Za-z]{{1,32}}", row_id):
        raise Rejected(ErrorCode.BAD_VALUE, "`before` is to be what an earlier answer to `events` called `next`.")
    return _End(moment, row_id[:1], row_id[1:])


def _from_events(
    connection: Connection, types: Collection[Event], since: datetime | None, end: _End | None, limit: int
) -> Iterator[_Found]:
    query = _narrowed(select(events), events.c.at, events.c.seq, _EVENTS, since, end)
    query = query.where(events.c.type.in_(sorted(types))).order_by(events.c.at.desc(), events.c.seq.desc())
    for row in connection.execute(query.limit(limit)).mappings():
        event = LoggedEvent(type=Event(row["type"]), at=row["at"], content=row["content"])
        yield _Found(row["at"], _EVENTS, row["seq"], event)


def _from_signals(connection: Connection, since: datetime | None, end: _End | None, limit: int) -> Iterator[_Found]:
    query = _narrowed(select(signals), signals.c.at, signals.c.signal_id, _SIGNALS, since, end)
    query = query.order_by(signals.c.at.desc(), signals.c.signal_id.desc()).limit(limit)
    for row in connection.execute(query).mappings():
        content: dict[str, JsonValue] = SignalView(**row).model_dump(mode="json")
        event = LoggedEvent(type=Event.SIGNAL, at=row["at"], content=content)
        yield _Found(row["at"], _SIGNALS, row["signal_id"], event)


def _from_commands(connection: Connection, since: datetime | None, end: _End | None, limit: int) -> Iterator[_Found]:
    columns = select(*(bot_commands.c[name] for name in _COMMAND_COLUMNS))
    query = _narrowed(columns, bot_commands.c.received_at, bot_commands.c.seq, _COMMANDS, since, end)
    ended = bot_commands.c.executed_at.is_not(None), bot_commands.c.name.not_in(QUESTIONS)
    # They are numbered in the order in which they came in, and there is no index on the time.
    query = query.where(*ended).order_by(bot_commands.c.seq.desc()).limit(limit)
    for row in connection.execute(query).mappings():
        content: dict[str, JsonValue] = _command(row).model_dump(mode="json")
        event = LoggedEvent(type=Event.COMMAND, at=row["received_at"], content=content)
        yield _Found(row["received_at"], _COMMANDS, row["seq"], event)


def _narrowed(
    query: Select[Any],
    at: Column[datetime],
    row_id: Column[Any],
    source: str,
    since: datetime | None,
    end: _End | None,
) -> Select[Any]:
    if since is not None:
        query = query.where(at >= since)
    if end is None:
        return query
    same_moment: ColumnElement[bool] = true() if source < end.source else false()
    if source == end.source:
        same_moment = row_id < (end.row_id if source == _SIGNALS else int(end.row_id))
    return query.where(at <= end.at, or_(at < end.at, same_moment))


def _command(row: RowMapping) -> CommandEvent:
    response = row["response"] or {}
    return CommandEvent(
        status=row["status"],
        name=row["name"],
        id=row["command_id"],
        source=row["source"],
        error=response.get("error"),
        at=row["executed_at"],
        seq=row["seq"],
        asked=_asked(row),
    )


def _asked(row: RowMapping) -> str | None:
    if row["channel"] == SPOOL:
        body = spool.read(row["payload"]).body
    else:
        body = read(_address(row["topic"]), row["payload"]).body
    return None if body is None else brief(body)


def _address(topic: str) -> Address:
    """Read the kind of topic off its end: the base topic may have been another one then."""
    match topic.split("/"):
        case [*_, "cryptos", symbol, "set"]:
            return Address(Slot.CRYPTO, symbol)
        case [*_, "config", key, "set"]:
            return Address(Slot.CONFIG_KEY, key)
        case [*_, ("mode" | "cryptos" | "config") as slot, "set"]:
            return Address(Slot(slot))
        case [*_, action]:
            return Address(Slot.REQUEST, action)
    raise ValueError("a split text has no parts")
