"""`events`: what happened, read from the bot's books, and what happens, as it is published."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from pydantic import JsonValue, ValidationError

from allora_mqtt.protocol.books import EventsPage, LoggedEvent
from allora_mqtt.protocol.commands import Events
from allora_mqtt.protocol.messages import Response
from allora_mqtt.protocol.topics import Event
from allora_mqtt_cli import happenings, session
from allora_mqtt_cli.client import Client
from allora_mqtt_cli.connection import Message
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.output import Output
from allora_mqtt_cli.watching import content_of

PAGE: Final = 500
"""Events in one answer, at most."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked for.

    Attributes:
        last: how many of the past.
        types: of these types only; of all where none is named.
        since: not older than this.
    """

    last: int
    types: Collection[Event] = ()
    since: datetime | None = None


def show_past(invocation: Invocation, wanted: Wanted) -> None:
    """Write what happened, oldest first."""
    with session.open_client(invocation) as client:
        found = _past(invocation, client, wanted)
    for event in found:
        _write(invocation.output, client.topics.event(event.type), event.type, event.content, event.at)
    if not found:
        invocation.output.note("Nothing yet.")


def follow(invocation: Invocation, wanted: Wanted, count: int | None) -> None:
    """Write the newest of what happened, and then what happens, until Ctrl-C.

    Args:
        invocation: the run's shared options.
        wanted: which events.
        count: end after so many new ones; None for never.
    """
    with session.open_client(invocation) as tail:
        prefix = f"{tail.topics.base}/event/"
        # Subscribed first: what happens while the past is read is not lost, and is written once.
        tail.connection.subscribe(f"{prefix}#")
        written: set[str] = set()
        for event in _past_if_any(invocation, wanted):
            written.add(_mark(event.type, event.content))
            _write(invocation.output, f"{prefix}{event.type}", event.type, event.content, event.at)
        messages = (message for message in tail.tail(f"{prefix}#") if message is not None)
        new = (message for message in messages if _is_wanted(message, prefix, wanted, written))
        for message in islice(new, count):
            body = content_of(message.payload)
            _write(invocation.output, message.topic, message.topic.removeprefix(prefix), body, _time_of(body))


def _past_if_any(invocation: Invocation, wanted: Wanted) -> list[LoggedEvent]:
    """Return the past, or nothing of it from a bot that is away: what it does when it is back can be followed."""
    if not wanted.last:
        return []
    try:
        with session.open_client(invocation) as client:
            return _past(invocation, client, wanted)
    except CliError as error:
        if error.exit_code is not ExitCode.NO_ANSWER:
            raise
        invocation.output.note(error.message)
        return []


def _past(invocation: Invocation, client: Client, wanted: Wanted) -> list[LoggedEvent]:
    """Return the newest events, oldest first, in as many pages as that takes."""
    found: list[LoggedEvent] = []
    before: str | None = None
    while len(found) < wanted.last:
        fields = {
            "limit": min(PAGE, wanted.last - len(found)),
            "types": [*wanted.types],
            "since": wanted.since,
            "before": before,
        }
        page = _page(session.ask(invocation, client, session.build(Events, fields)).response)
        found += page.events
        before = page.next
        if before is None:
            break
    return found[::-1]


def _page(response: Response) -> EventsPage:
    try:
        return EventsPage.model_validate(response.data)
    except ValidationError as invalid:
        message = "The bot's answer cannot be read; it may be of another version: compare `allora-mqtt version`."
        raise CliError(ExitCode.FAILED, "UNREADABLE", message) from invalid


def _is_wanted(message: Message, prefix: str, wanted: Wanted, written: Collection[str]) -> bool:
    kind, body = message.topic.removeprefix(prefix), content_of(message.payload)
    if happenings.asks_only(kind, body) or (wanted.types and kind not in wanted.types):
        return False
    return _mark(kind, body) not in written


def _mark(kind: str, body: JsonValue) -> str:
    return f"{kind} {json.dumps(body, sort_keys=True)}"


def _write(output: Output, topic: str, kind: str, body: JsonValue, at: datetime) -> None:
    if output.as_json:
        output.document({"topic": topic, "retained": False, "payload": body})
    else:
        output.say(happenings.line(kind, body, at))


def _time_of(body: JsonValue) -> datetime:
    try:
        return datetime.fromisoformat(str(body["at"] if isinstance(body, dict) else None))
    except (KeyError, ValueError):
        return datetime.now(UTC)
