"""The journal of commands: each one from its arrival to its end, and what must outlive a crash besides."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import JsonValue
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from allora_mqtt.protocol.commands import Envelope, Mode
from allora_mqtt.protocol.errors import BotError, ErrorCode, Rejected
from allora_mqtt.protocol.messages import ErrorInfo, Response, Status
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.store import upsert
from allora_mqtt.store.database import Database
from allora_mqtt.store.entries import (
    MQTT,
    SPOOL,
    Changes,
    Incoming,
    Recorded,
    Saved,
    Unanswered,
    Unfinished,
)
from allora_mqtt.store.schema import bot_commands, crypto_configs, mailbox, settings, state

PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"

STOOD_DOWN: Final = "stood_down"
"""The key in `state` that says that a limit on losses was reached and nobody has sent ACTIVE since."""

RESTORED: Final = "restored"
"""The key in `state` that says that the books come from a backup, and nobody has sent ACTIVE since."""

RESTORED_UNREAD: Final = "restored_unread"
"""The key in `state` that holds when that was, until all that waited then has been taken."""

UNREAD_SINCE: Final = "mailbox_unread_since"

T = TypeVar("T")

HEARD: Final = "heard_seq"


class Journal:
    """Durable memory of commands, the mode, the active set and the settings."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next_place = 0
        """Which of the writes that have a place comes next; only the writer's thread looks at it."""

    def record(self, incoming: Incoming, place: int | None = None) -> asyncio.Future[Recorded]:
        """Store a command; when the future is done it survives a crash.

        Args:
            incoming: the command.
            place: its place among what came in: it is stored after all that came before it, or not at all.

        Raises:
            BotError: `STORE_UNAVAILABLE`, from the future.
        """
        return self._in_place(lambda connection: _record(connection, incoming), place)

    def _in_place(self, work: Callable[[Connection], T], place: int | None) -> asyncio.Future[T]:
        """Write something in its place: when the disk refuses it, what has a later place is refused too."""
        if place is None:
            return asyncio.wrap_future(self._database.submit(work))

        def in_turn(connection: Connection) -> T:
            if place > self._next_place:
                raise BotError(ErrorCode.STORE_UNAVAILABLE, "What came before it could not be stored.")
            self._next_place = place + 1
            return work(connection)

        def take_back(done: Future[T]) -> None:
            if done.cancelled() or done.exception() is not None:
                self._next_place = min(self._next_place, place)

        written = self._database.submit(in_turn)
        written.add_done_callback(take_back)
        return asyncio.wrap_future(written)

    async def start(self, seq: int) -> None:
        """Note that an action, which does something each time, is about to be done."""
        await self._database.write(
            lambda connection: connection.execute(
                update(bot_commands).where(bot_commands.c.seq == seq).values(status=RUNNING)
            )
        )

    async def finish(self, seq: int, response: Response, changes: Changes) -> None:
        """Store how a command ended together with everything it changed, all or nothing.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        await self._database.write(lambda connection: _finish(connection, seq, response, changes))

    async def save(self, changes: Changes, at: datetime) -> None:
        """Store a change that no command asked for.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        await self._database.write(lambda connection: _apply(connection, changes, at))

    def answered(self, seqs: Sequence[int]) -> None:
        """Note, some time soon, that the broker (or the spool) has the responses to these commands."""
        self._database.submit(
            lambda connection: connection.execute(
                update(bot_commands).where(bot_commands.c.seq.in_(seqs)).values(answered=True)
            )
        )

    def heard(self, seq: int) -> None:
        """Note, some time soon, that the broker holds no command older than this one, which came another way."""
        self._database.submit(lambda connection: upsert.put(connection, state, {"key": HEARD, "value": seq}))

    async def unheard(self) -> list[tuple[int, Incoming]]:
        """Return the commands that were executed and came another way than by the broker, since it was last heard."""

        def query(connection: Connection) -> list[tuple[int, Incoming]]:
            heard = connection.execute(select(state.c.value).where(state.c.key == HEARD)).scalar_one_or_none()
            rows = connection.execute(
                select(bot_commands)
                .where(bot_commands.c.channel == SPOOL, bot_commands.c.status == Status.EXECUTED.value)
                .where(bot_commands.c.seq > (heard or 0))
                .order_by(bot_commands.c.seq)
            )
            return [(row.seq, _incoming(row)) for row in rows]

        return await self._database.read(query)

    def mailbox_emptied(self, topic: str, place: int | None = None) -> asyncio.Future[None]:
        """Forget what was handled on a `/set` topic up to now: the broker holds nothing there any more."""

        def work(connection: Connection) -> None:
            connection.execute(delete(mailbox).where(mailbox.c.topic == topic))

        return self._in_place(work, place)

    def mailbox_filled(self, topic: str, payload_hash: str, place: int | None = None) -> asyncio.Future[None]:
        """Remember again what was handled on a `/set` topic: the broker may hold it there."""

        def work(connection: Connection) -> None:
            upsert.add_if_new(connection, mailbox, {"topic": topic, "payload_hash": payload_hash})

        return self._in_place(work, place)

    def connected(self, place: int | None = None, *, resumed: bool) -> asyncio.Future[None]:
        """Note that the mailbox is unread from now on, and that packet identifiers of a lost session mean nothing."""

        def work(connection: Connection) -> None:
            if not resumed:
                lost = update(bot_commands).where(bot_commands.c.answered.is_(False))
                connection.execute(lost.values(packet_id=None))
            newest = connection.execute(select(func.max(bot_commands.c.seq))).scalar()
            upsert.add_if_new(connection, state, {"key": UNREAD_SINCE, "value": newest or 0})

        return self._in_place(work, place)

    def mailbox_read(
        self, refused: Mapping[int, ErrorInfo], newest: int | None = None, place: int | None = None
    ) -> asyncio.Future[None]:
        """Note that the mailbox has been read to its end.

        Args:
            refused: why commands, by their `seq`, lost against others that waited.
            newest: the newest command of those that were ordered, whichever way it came.
            place: its place among what came in.
        """

        def work(connection: Connection) -> None:
            for seq, error in refused.items():
                row = update(bot_commands).where(bot_commands.c.seq == seq, bot_commands.c.status == PENDING)
                connection.execute(row.values(error_code=error.code.value, error_message=error.message))
            connection.execute(delete(state).where(state.c.key == UNREAD_SINCE))
            if newest is not None:
                upsert.put(connection, state, {"key": HEARD, "value": newest})

        return self._in_place(work, place)

    def all_that_waited_is_taken(self, place: int | None = None) -> asyncio.Future[None]:
        """Note that what comes from now on was sent to these books, wherever they come from."""

        def work(connection: Connection) -> None:
            connection.execute(delete(state).where(state.c.key == RESTORED_UNREAD))

        return self._in_place(work, place)

    async def seen_since_mailbox_was_read(self) -> list[tuple[int, Incoming]]:
        """Return what the broker has sent, ended or not, since its mailbox was last read to its end, oldest first."""

        def query(connection: Connection) -> list[tuple[int, Incoming]]:
            since = connection.execute(select(state.c.value).where(state.c.key == UNREAD_SINCE)).scalar()
            if since is None:
                return []
            rows = select(bot_commands).where(
                bot_commands.c.seq > since, bot_commands.c.channel == MQTT, bot_commands.c.duplicate_of.is_(None)
            )
            return [(row.seq, _as_taken(row)) for row in connection.execute(rows.order_by(bot_commands.c.seq))]

        return await self._database.read(query)

    async def began(self) -> datetime | None:
        """Return since when every command's id is known here; None while there is none."""

        def query(connection: Connection) -> datetime | None:
            oldest = select(bot_commands.c.received_at).order_by(bot_commands.c.seq).limit(1)
            return connection.execute(oldest).scalar_one_or_none()

        return await self._database.read(query)

    async def outcome(self, seq: int) -> dict[str, JsonValue] | None:
        """Return how a command ended, if it has."""

        def query(connection: Connection) -> dict[str, JsonValue] | None:
            return connection.execute(select(bot_commands.c.response).where(bot_commands.c.seq == seq)).scalar()

        return await self._database.read(query)

    async def handled_in_mailbox(self) -> dict[str, set[str]]:
        """Return, by `/set` topic, the payload hashes handled since the broker last held nothing there."""

        def query(connection: Connection) -> dict[str, set[str]]:
            handled: dict[str, set[str]] = {}
            for row in connection.execute(select(mailbox)):
                handled.setdefault(row.topic, set()).add(row.payload_hash)
            return handled

        return await self._database.read(query)

    async def unfinished(self) -> list[Unfinished]:
        """Return the commands that have not ended, oldest first."""

        def query(connection: Connection) -> list[Unfinished]:
            first = bot_commands.alias("first")
            waiting = (
                select(bot_commands, first.c.response.label("first_response"))
                .outerjoin(first, bot_commands.c.duplicate_of == first.c.seq)
                .where(bot_commands.c.status.in_((PENDING, RUNNING)))
                .order_by(bot_commands.c.seq)
            )
            return [
                Unfinished(row.seq, row.status == RUNNING, _incoming(row), row.duplicate_of, row.first_response)
                for row in connection.execute(waiting)
            ]

        return await self._database.read(query)

    async def unanswered(self) -> list[Unanswered]:
        """Return the commands whose answer the broker (or the spool) may not have, oldest first."""

        def query(connection: Connection) -> list[Unanswered]:
            rows = connection.execute(
                select(bot_commands).where(bot_commands.c.answered.is_(False)).order_by(bot_commands.c.seq)
            )
            return [
                Unanswered(row.seq, row.topic, row.packet_id, row.payload_hash, _response(row.response), row.channel)
                for row in rows
            ]

        return await self._database.read(query)

    async def history(self, limit: int, before: int | None = None) -> list[dict[str, JsonValue]]:
        """Return the newest commands with their outcomes, newest first.

        Args:
            limit: how many.
            before: only those journaled before this one.
        """

        def look(connection: Connection) -> list[dict[str, JsonValue]]:
            query = select(bot_commands).order_by(bot_commands.c.seq.desc()).limit(limit)
            rows = connection.execute(query if before is None else query.where(bot_commands.c.seq < before))
            return [_history_row(row) for row in rows]

        return await self._database.read(look)

    async def saved(self) -> Saved:
        """Return the mode, the active set and the settings of the last run."""

        def query(connection: Connection) -> Saved:
            configs = list(connection.execute(select(crypto_configs)))
            kept = {row.key: row.value for row in connection.execute(select(state))}
            unread = kept.get(RESTORED_UNREAD)
            return Saved(
                state=kept,
                restored_at=None if unread is None else datetime.fromisoformat(unread),
                active={row.symbol: row.topic_id for row in configs if row.is_active} if configs else None,
                settings={row.key: row.value for row in connection.execute(select(settings))},
            )

        return await self._database.read(query)


def mode_state(mode: Mode, since: datetime, reason: str, seq: int) -> dict[str, JsonValue]:
    """Return the rows of `state` that hold the mode."""
    return {"mode": {"mode": mode.value, "since": since.isoformat(), "reason": reason, "seq": seq}}


def _record(connection: Connection, incoming: Incoming) -> Recorded:
    envelope = incoming.envelope
    first = None
    if envelope.id is not None:
        first = connection.execute(
            select(bot_commands.c.seq, bot_commands.c.response).where(
                bot_commands.c.command_id == envelope.id, bot_commands.c.duplicate_of.is_(None)
            )
        ).one_or_none()
    seq: int = connection.execute(
        insert(bot_commands)
        .values(
            command_id=envelope.id,
            duplicate_of=None if first is None else first.seq,
            name=incoming.name[:64],
            topic=incoming.topic,
            payload=incoming.payload,
            payload_hash=incoming.payload_hash,
            channel=incoming.channel,
            packet_id=incoming.packet_id,
            retained=incoming.retained,
            source=envelope.source,
            issued_at=envelope.issued_at,
            expires_at=envelope.expires_at,
            received_at=incoming.received_at,
            status=PENDING,
            error_code=None if incoming.refusal is None else incoming.refusal.code.value,
            error_message=None if incoming.refusal is None else incoming.refusal.message,
            answered=False,
        )
        .returning(bot_commands.c.seq)
    ).scalar_one()
    if incoming.fills_mailbox:
        upsert.add_if_new(connection, mailbox, {"topic": incoming.topic, "payload_hash": incoming.payload_hash})
    return Recorded(seq) if first is None else Recorded(seq, first.seq, first.response)


def _finish(connection: Connection, seq: int, response: Response, changes: Changes) -> None:
    connection.execute(
        update(bot_commands)
        .where(bot_commands.c.seq == seq)
        .values(
            status=response.status.value,
            error_code=response.error.code.value if response.error else None,
            error_message=response.error.message if response.error else None,
            response=response.model_dump(mode="json"),
            executed_at=response.executed_at,
        )
    )
    _apply(connection, changes, response.executed_at)


def _apply(connection: Connection, changes: Changes, at: datetime) -> None:
    for key, value in changes.state.items():
        upsert.put(connection, state, {"key": key, "value": value})
    if changes.active is not None:
        connection.execute(update(crypto_configs).values(is_active=False))
        for symbol, topic_id in changes.active.items():
            row = {"symbol": symbol, "topic_id": topic_id, "is_active": True, "updated_at": at}
            upsert.put(connection, crypto_configs, row)
    for key, text in (changes.settings or {}).items():
        upsert.put(connection, settings, {"key": key, "value": text, "changed_at": at})


def _incoming(row: Row[Any]) -> Incoming:
    return Incoming(
        name=row.name,
        topic=row.topic,
        payload=row.payload,
        payload_hash=row.payload_hash,
        channel=row.channel,
        packet_id=row.packet_id,
        retained=row.retained,
        received_at=row.received_at,
        envelope=Envelope(id=row.command_id, source=row.source, issued_at=row.issued_at, expires_at=row.expires_at),
        fills_mailbox=False,
        refusal=None if row.error_code is None else Rejected(ErrorCode(row.error_code), row.error_message),
    )


def _as_taken(row: Row[Any]) -> Incoming:
    """Return a command as it was taken: what is stored as the error of one that failed has not kept it from running."""
    incoming = _incoming(row)
    return replace(incoming, refusal=None) if row.status == Status.FAILED else incoming


def _response(stored: dict[str, JsonValue] | None) -> Response | None:
    return None if stored is None else Response.model_validate(stored)


def _history_row(row: Row[Any]) -> dict[str, JsonValue]:
    response = row.response or {}
    return {
        "seq": row.seq,
        "id": row.command_id,
        "name": row.name,
        "command": row.payload.decode("utf-8", errors="replace")[:200],
        "topic": row.topic,
        "status": row.status,
        "error": response.get("error"),
        "source": row.source,
        "signed_by": response.get("signed_by"),
        "channel": row.channel,
        "received_at": rfc3339(row.received_at),
        "executed_at": rfc3339(row.executed_at) if row.executed_at else None,
    }
