"""The newest commands that anybody sent the bot, and how they ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import BaseModel, JsonValue, ValidationError

from allora_mqtt.protocol.commands import QUESTIONS, PublishState
from allora_mqtt.protocol.messages import ErrorInfo, Response
from allora_mqtt.protocol.model import Timestamp
from allora_mqtt_cli.outcome import describe, said

QUIET: Final = QUESTIONS | {PublishState.name}
"""What changes nothing is left out."""
_KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    Attributes:
        said: what it was about.
        status: how it ended; another word while it has not.
    """

    id: str | None
    at: datetime
    name: str
    said: str
    status: str
    error: ErrorInfo | None
    source: str | None


class _Row(BaseModel):
    """A row of the answer to `history`, as far as it is shown."""

    id: str | None
    name: str
    command: str
    topic: str | None
    status: str
    error: ErrorInfo | None
    source: str | None
    received_at: Timestamp


def from_answer(data: Mapping[str, JsonValue]) -> list[Entry]:
    """Read an answer to `history`; rows of another version's form are left out."""
    rows = data.get("commands")
    return [entry for row in rows if (entry := _read(row)) is not None] if isinstance(rows, list) else []


def from_response(response: Response, said: str | None) -> Entry:
    """Return the entry for a command that has just ended; without words for it its outcome is described."""
    return Entry(
        id=response.id,
        at=response.received_at,
        name=response.name,
        said=describe(response.data) if said is None else said,
        status=response.status,
        error=response.error,
        source=response.source,
    )


def with_newest(entry: Entry, earlier: Iterable[Entry]) -> list[Entry]:
    """Put an entry before the others, in place of what was known of the same command."""
    rest = [other for other in earlier if entry.id is None or other.id != entry.id]
    return [entry, *rest][:_KEPT]


def shown(entries: Iterable[Entry]) -> list[Entry]:
    """Leave out what only asked."""
    return [entry for entry in entries if entry.name not in QUIET]


def _read(row: JsonValue) -> Entry | None:
    try:
        known = _Row.model_validate(row)
    except ValidationError:
        return None
    about = " ".join(part for part in (_about(known.topic), said(known.command)) if part)
    return Entry(known.id, known.received_at, known.name, about, known.status, known.error, known.source)


def _about(topic: str | None) -> str:
    """Return the coin or the setting that a topic names: `…/cryptos/BTC/set`."""
    match (topic or "").split("/")[-3:]:
        case [("cryptos" | "config"), part, "set"]:
            return part
    return ""
