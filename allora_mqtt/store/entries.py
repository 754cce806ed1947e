"""Commands as the journal takes them in and gives them back."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import JsonValue

from allora_mqtt.protocol.commands import Envelope
from allora_mqtt.protocol.errors import Rejected
from allora_mqtt.protocol.messages import Response

MQTT: Final = "mqtt"
SPOOL: Final = "spool"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A command as it came in, before it is known whether it can be run.

    Attributes:
        topic: where it was sent.
        payload: its bytes; empty where they were too many to keep.
        payload_hash: of the bytes as they came.
        channel: the way it came in: `MQTT` or `SPOOL`.
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
    """A command of which it is not known whether its sender's side has our response.

    That is the broker, which then has our acknowledgement too, or the spool, from which the file is then gone.
    """

    seq: int
    topic: str
    packet_id: int | None
    payload_hash: str
    response: Response | None
    channel: str = MQTT


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
    restored_at: datetime | None = None
    """When all this was taken from a backup, as long as something may come that waited then."""


def fingerprint(payload: bytes) -> str:
    """Return the SHA-256 of a payload, in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()
