"""From options to a conversation: connect as configured, send as this user, and tell how it ended."""

import getpass
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError

from allora_mqtt.configuration import Loaded
from allora_mqtt.protocol.commands import Body, Envelope
from allora_mqtt.protocol.messages import Availability, Response
from allora_mqtt.protocol.topics import Topics
from allora_mqtt.settings import Settings
from allora_mqtt_cli import outcome
from allora_mqtt_cli.broker import Broker
from allora_mqtt_cli.client import Client
from allora_mqtt_cli.connection import Connection
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation, Via
from allora_mqtt_cli.output import Output
from allora_mqtt_cli.spool import SpoolClient

Shown = Callable[[Output, Response], None]
"""Writes the data of an answer for people."""

_MAX_SOURCE_LENGTH: Final = 128


@dataclass(frozen=True, slots=True)
class Answered:
    """An executed command.

    Attributes:
        round_trip_s: from sending to the answer, measured here.
    """

    response: Response
    round_trip_s: float


@contextmanager
def open_client(invocation: Invocation, loaded: Loaded | None = None) -> Iterator[Client]:
    """Connect to the configured broker for the length of a with block.

    Raises:
        CliError: the configuration cannot be used, or the broker not be reached.
    """
    if invocation.via is Via.SPOOL:
        message = "What is shown comes from the broker; --via spool is for commands and questions to the bot itself."
        raise CliError(ExitCode.USAGE, "USAGE", message)
    settings = (loaded or invocation.load()).settings
    with Connection(broker_of(invocation, settings), invocation.timeout_s) as connection:
        yield Client(connection, Topics(settings.mqtt.base_topic), settings.mqtt.command_keys)


def broker_of(invocation: Invocation, settings: Settings) -> Broker:
    """Return the configured broker, with the password that the user is asked for where no setting holds it."""
    broker = Broker.of(settings)
    if broker.username is not None and broker.password is None:
        return replace(broker, password=invocation.password_for(broker.username))
    return broker


def envelope(invocation: Invocation, expires_s: float | None = None, program: str = "cli") -> Envelope:
    """Return what every command from here carries: an id of its own, when it was issued, and by whom.

    Args:
        invocation: the run's shared options.
        expires_s: a bot that gets the command later than this does not run it.
        program: what the user sends it with; the source is `program:user`.
    """
    issued_at = invocation.now()
    return Envelope(
        id=invocation.new_id(),
        issued_at=issued_at,
        expires_at=None if expires_s is None else issued_at + timedelta(seconds=expires_s),
        source=_source(program),
    )


def build(model: type[Body], fields: Mapping[str, Any]) -> Body:
    """Return a command.

    Raises:
        CliError: an argument has a form that the contract does not allow.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part != "value")
        message = f"{place or 'value'}: {first['msg']} (got {first['input']!r})."
        raise CliError(ExitCode.USAGE, "USAGE", message) from invalid


def command(
    invocation: Invocation,
    model: type[Body],
    fields: Mapping[str, Any] | None = None,
    *,
    expires_s: float | None = None,
    show: Shown | None = None,
) -> None:
    """Send one command and write how it ended.

    Args:
        invocation: the run's shared options.
        model: the command.
        fields: its arguments.
        expires_s: a bot that gets the command later than this does not run it.
        show: writes the answer's data; without it one sentence is written.

    Raises:
        CliError: the command was not executed, or nobody answered.
    """
    body = build(model, fields or {})
    if invocation.no_wait:
        _send_only(invocation, body, expires_s)
        return
    response = answer(invocation, body, expires_s).response
    if invocation.output.as_json:
        invocation.output.document(response.model_dump(mode="json"))
        return
    if show is None:
        invocation.output.say(outcome.sentence(response), "green")
    else:
        show(invocation.output, response)
    for warning in response.warnings:
        invocation.output.note(f"{warning.message} ({warning.code})")


def answer(invocation: Invocation, body: Body, expires_s: float | None = None) -> Answered:
    """Send one command the way that is asked for, and return the bot's answer.

    Raises:
        CliError: the command was not executed, or nobody answered.
    """
    if invocation.via is Via.SPOOL:
        client = SpoolClient(invocation.load().settings)
        started = time.monotonic()
        sent = client.send(body, envelope(invocation, expires_s))
        return _executed(client.answer_to(sent, invocation.timeout_s), time.monotonic() - started)
    with open_client(invocation) as connected:
        return ask(invocation, connected, body, expires_s)


def ask(invocation: Invocation, client: Client, body: Body, expires_s: float | None = None) -> Answered:
    """Send one command over an open connection and return the bot's answer.

    Raises:
        CliError: the command was not executed, or nobody answered.
    """
    reply = client.request(body, envelope(invocation, expires_s))
    if reply.response is None:
        raise outcome.no_answer(reply, invocation.timeout_s)
    return _executed(reply.response, reply.round_trip_s)


def _executed(response: Response, round_trip_s: float) -> Answered:
    error = outcome.problem(response)
    if error is not None:
        raise error
    return Answered(response, round_trip_s)


def note_staleness(output: Output, availability: Availability | None) -> None:
    """Say so when state comes from a bot that is not there."""
    if availability is Availability.OFFLINE:
        output.note("The bot is offline: this is the last that was heard of it.")
    elif availability is None:
        output.note("Whether the bot is online is not known: it has published no availability here.")


def no_state(topic: str) -> CliError:
    """Return the error for a state topic that holds nothing."""
    message = (
        f"The broker keeps nothing at {topic}: no bot has been here yet, or it uses another base topic. "
        "Check MQTT_BASE_TOPIC (or --base-topic), or start the bot with `allora-mqtt run`."
    )
    return CliError(ExitCode.NO_ANSWER, "NO_STATE", message)


def _send_only(invocation: Invocation, body: Body, expires_s: float | None) -> None:
    carried = envelope(invocation, expires_s)
    if invocation.via is Via.SPOOL:
        sent = SpoolClient(invocation.load().settings).send(body, carried)
        if invocation.output.as_json:
            invocation.output.document({"id": carried.id, "file": str(sent), "sent": True})
        else:
            invocation.output.say(f"Written to {sent} (id {carried.id}).", "green")
        return
    with open_client(invocation) as client:
        started = time.monotonic()
        reply = client.send(body, carried)
        took_ms = (time.monotonic() - started) * 1000
    if invocation.output.as_json:
        document = {"id": carried.id, "topic": reply.topic, "retained": reply.retained, "sent": True}
        invocation.output.document(document)
        return
    invocation.output.say(f"Sent to {reply.topic}; the broker took it in {took_ms:.1f} ms (id {carried.id}).", "green")
    if reply.has_subscriber is False and not reply.retained:
        invocation.output.note("Nobody holds a session for it, so it is gone: send it again when the bot is online.")


def _source(program: str) -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    visible = "".join(character for character in user if character.isprintable())
    return f"{program}:{visible}"[:_MAX_SOURCE_LENGTH]
