"""The journal of commands: each one from its arrival to its end, and what must outlive a crash besides."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection, Row, delete, insert, select, update

from allora_mqtt.protocol.commands import Envelope, Mode
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import Response
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.store import upsert
from allora_mqtt.store.database import Database
from allora_mqtt.store.schema import bot_commands, crypto_configs, mailbox, settings, state

PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A command as it came in, before it is known whether it can be run.

    Attributes:
        topic: where it was sent.
        payload: its bytes; empty where they were too many to keep.
        payload_hash: of the bytes as they came.
        channel: the way it came in (`mqtt`).
        packet_id: MQTT's packet identifier, for QoS 1.
        retained: whether it came out of the broker's mailbox rather than live.
        refusal: why it is no command, where that was seen when it came.
    """

    name: str
    topic: str
    payload: bytes
    payload_hash: str
    channel: str
    packet_id: int | None
    retained: bool
    received_at: datetime
    envelope: Envelope
    fills_mailbox: bool
    refusal: Rejected | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the journal made of a command.

    Attributes:
        seq: its place in the journal.
        first_seq: the earlier command with the same id, of which this one is a duplicate.
        first: how that one ended, where it has.
    """

    seq: int
    first_seq: int | None = None
    first: dict[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A command that was journaled and had not ended when the bot did.

    Attributes:
        seq: its place in the journal.
        was_running: whether it is an action that may have been done.
        incoming: the command as it came in.
        first_seq: the earlier command with the same id; this one is its duplicate and must not run.
        first: how that one ended, where it has.
    """

    seq: int
    was_running: bool
    incoming: Incoming
    first_seq: int | None = None
    first: dict[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A command of which it is not known whether the broker has our acknowledgement and our response."""

    seq: int
    topic: str
    packet_id: int | None
    payload_hash: str
    response: Response | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a command changes for good; stored in the same transaction as its end."""

    state: Mapping[str, JsonValue] = field(default_factory=dict)
    active: Mapping[str, int] | None = None
    settings: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """What the store knows of an earlier run."""

    state: Mapping[str, Any]
    active: Mapping[str, int] | None
    """None at a first start."""
    settings: Mapping[str, str]


def fingerprint(payload: bytes) -> str:
    """Return the SHA-256 of a payload, in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


class Journal:
    """Durable memory of commands, the mode, the active set and the settings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, incoming: Incoming) -> asyncio.Future[Recorded]:
        """Store a command; when the future is done it survives a crash.

        Its place among all writes is that of this call.

        Raises:
            BotError: `STORE_UNAVAILABLE`, from the future.
        """
        return asyncio.wrap_future(self._database.submit(lambda connection: _record(connection, incoming)))

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
        """Note, some time soon, that the broker has the responses to these commands."""
        self._database.submit(
            lambda connection: connection.execute(
                update(bot_commands).where(bot_commands.c.seq.in_(seqs)).values(answered=True)
            )
        )

    def mailbox_emptied(self, topic: str) -> None:
        """Forget what was handled on a `/set` topic up to now: the broker holds nothing there any more."""
        self._database.submit(lambda connection: connection.execute(delete(mailbox).where(mailbox.c.topic == topic)))

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
        """Return the commands whose answer the broker may not have, oldest first."""

        def query(connection: Connection) -> list[Unanswered]:
            rows = connection.execute(
                select(bot_commands).where(bot_commands.c.answered.is_(False)).order_by(bot_commands.c.seq)
            )
            return [
                Unanswered(row.seq, row.topic, row.packet_id, row.payload_hash, _response(row.response)) for row in rows
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
            return Saved(
                state={row.key: row.value for row in connection.execute(select(state))},
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
        "channel": row.channel,
        "received_at": rfc3339(row.received_at),
        "executed_at": rfc3339(row.executed_at) if row.executed_at else None,
    }
