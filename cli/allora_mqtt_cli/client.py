"""The conversation with the bot: a command and its answer, retained state, and a tail of messages."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from paho.mqtt.client import topic_matches_sub
from pydantic import BaseModel, ValidationError

from allora_mqtt.protocol.commands import Body, Envelope, write
from allora_mqtt.protocol.messages import Availability, Response, Status
from allora_mqtt.protocol.signed import Keys
from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli.connection import Connection, Message
from allora_mqtt_cli.errors import CliError, ExitCode

_M = TypeVar("_M", bound=BaseModel)

OFFLINE_GRACE_S: Final = 1.0
"""How long an answer is waited for from a bot that is said to be offline."""
_SETTLE_S: Final = 1.0
"""Retained messages come right after the subscription; after this long without one, the rest does not exist."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a command that the broker has taken.

    Attributes:
        topic: where it was sent.
        retained: whether the broker keeps it until the bot has run it.
        has_subscriber: whether anybody is subscribed there, also by a waiting session; None where that is unknown.
        availability: what the bot's availability topic says.
        response: the bot's answer, if it came.
        round_trip_s: from sending to the answer.
    """

    topic: str
    retained: bool
    has_subscriber: bool | None
    availability: Availability | None
    response: Response | None
    round_trip_s: float


class Client:
    """Talks to one bot over an open connection.

    Args:
        connection: to the broker.
        topics: the bot's.
        keys: what commands are signed with; None where they are not.
    """

    def __init__(self, connection: Connection, topics: Topics, keys: Keys | None) -> None:
        self.connection = connection
        self.topics = topics
        self.keys = keys
        self._availability: Availability | None = None

    def send(self, body: Body, envelope: Envelope) -> Reply:
        """Send a command and wait for nothing but the broker's acknowledgement."""
        address, payload = write(body, envelope)
        topic = self.topics.command(address)
        if self.keys is not None:
            payload = self.keys.sign(topic, payload)
        has_subscriber = self.connection.publish(topic, payload, retain=address.is_desired_state)
        return Reply(topic, address.is_desired_state, has_subscriber, None, None, 0)

    def request(self, body: Body, envelope: Envelope) -> Reply:
        """Send a command and wait for its response.

        Desired state is published retained, so that it waits for a bot that has never been there; actions never are.

        Raises:
            CliError: the broker does not answer or forbids a topic, or the answer cannot be read.
        """
        self.connection.subscribe(self.topics.response(body.name), self.topics.availability)
        started = time.monotonic()
        sent = self.send(body, envelope)
        patience_ends = started + self.connection.timeout_s
        response = self._answer_to(envelope.id, started + OFFLINE_GRACE_S)
        if response is None and self._availability is not Availability.OFFLINE:
            response = self._answer_to(envelope.id, patience_ends)
        return Reply(
            sent.topic, sent.retained, sent.has_subscriber, self._availability, response, time.monotonic() - started
        )

    def read_retained(self, *topics: str) -> dict[str, bytes]:
        """Return what the broker keeps at these topics; those where it keeps nothing are left out."""
        found: dict[str, bytes] = {}
        inbox = self.connection.inbox
        self.connection.subscribe(*topics)
        give_up = time.monotonic() + self.connection.timeout_s
        arrived = True
        while arrived and len(found) < len(topics):
            while inbox:
                message = inbox.popleft()
                if message.topic in topics and message.payload:
                    found[message.topic] = message.payload
            settled = min(give_up, time.monotonic() + _SETTLE_S)
            arrived = len(found) == len(topics) or self.connection.pump(lambda: bool(inbox), settled)
        return found

    def read_retained_under(self, *filters: str) -> dict[str, bytes]:
        """Return everything that the broker keeps under these filters, by topic."""
        found: dict[str, bytes] = {}
        inbox = self.connection.inbox
        self.connection.subscribe(*filters)
        settled = time.monotonic() + _SETTLE_S
        while self.connection.pump(lambda: bool(inbox), settled):
            message = inbox.popleft()
            if message.retained and message.payload and any(topic_matches_sub(each, message.topic) for each in filters):
                found[message.topic] = message.payload
                settled = time.monotonic() + _SETTLE_S
        return found

    def tail(self, *topics: str, beat_s: float | None = None) -> Iterator[Message | None]:
        """Yield messages as they come, for ever.

        Args:
            topics: what to subscribe to.
            beat_s: yield None when nothing came for this long.
        """
        inbox = self.connection.inbox
        self.connection.subscribe(*topics)
        while True:
            deadline = None if beat_s is None else time.monotonic() + beat_s
            arrived = self.connection.pump(lambda: bool(inbox), deadline)
            yield inbox.popleft() if arrived else None

    def _answer_to(self, command_id: str | None, deadline: float) -> Response | None:
        response: Response | None = None

        def answered() -> bool:
            nonlocal response
            while response is None and self.connection.inbox:
                message = self.connection.inbox.popleft()
                if message.topic == self.topics.availability:
                    self._availability = availability_of(message.payload)
                else:
                    response = response_to(command_id, message)
            return response is not None

        self.connection.pump(answered, deadline)
        return response


def response_to(command_id: str | None, message: Message) -> Response | None:
    """Read a response; None where it answers somebody else, or says only that the same command is still under way.

    A bot that comes back finds a retained command twice, queued and kept: the second is a duplicate of one that may
    not have ended yet, and the answer to that one follows.
    """
    try:
        answer = json.loads(message.payload)
    except ValueError:
        return None
    if not isinstance(answer, dict) or answer.get("id") != command_id:
        return None
    response = understand(Response, message.payload, message.topic)
    return response if is_final(response) else None


def is_final(response: Response) -> bool:
    """Whether the command has ended; a duplicate of one that is still under way says only that."""
    first = response.data.get("first")
    is_pending = isinstance(first, dict) and first.get("status") == "PENDING"
    return not (is_pending and response.status is Status.DUPLICATE)


def availability_of(payload: bytes | None) -> Availability | None:
    """Read `<base>/availability`."""
    text = (payload or b"").decode(errors="replace")
    return Availability(text) if text in set(Availability) else None


def understand(model: type[_M], payload: bytes, topic: str) -> _M:
    """Read a message of the contract.

    Raises:
        CliError: it is not what this version of the contract says.
    """
    try:
        return model.model_validate_json(payload)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the message"
        raise CliError(
            ExitCode.FAILED,
            "UNREADABLE",
            f"{topic} holds something this version does not understand ({place}: {first['msg']}). "
            "The bot may be of another version: compare `allora-mqtt version` on both machines.",
        ) from invalid
