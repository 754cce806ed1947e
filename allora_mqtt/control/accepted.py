"""A command that is in the journal, who knows how it is done, and what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import JsonValue

from allora_mqtt.control import ordering
from allora_mqtt.control.desired import Desired
from allora_mqtt.protocol.commands import Body
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.protocol.messages import Warn
from allora_mqtt.protocol.reading import Parsed
from allora_mqtt.store.entries import Incoming


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where an MQTT 5 sender wants the answer as well."""

    topic: str
    correlation: bytes | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command that is in the journal.

    Attributes:
        duplicate_of: the earlier command with the same id.
        first: how that one ended.
        waited: whether it waited while the bot was away.
        was_running: whether the bot died while it ran.
        refusal: decided already, against another command that waited.
        restored_at: when the bot's books were taken from a backup, if this command was there by then and may have run
            after that was made.
    """

    seq: int
    incoming: Incoming
    parsed: Parsed
    duplicate_of: int | None = None
    first: dict[str, JsonValue] | None = None
    waited: bool = False
    was_running: bool = False
    refusal: ordering.Refusal | None = None
    reply_to: ReplyTo | None = None
    restored_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a handler made of a command.

    Attributes:
        change: how what holds is changed; only what this command is about, for others may change the rest meanwhile.
        failure: what went wrong, where the change is to be stored all the same; the answer is FAILED then.
        after: done once the outcome is stored and answered.
    """

    data: dict[str, JsonValue]
    warnings: tuple[Warn, ...] = ()
    change: Callable[[Desired], Desired] | None = None
    failure: BotError | None = None
    after: Callable[[], None] | None = None


class Handlers(Protocol):
    """Who knows how each command is done."""

    async def run(self, body: Body, seq: int, desired: Desired) -> Outcome:
        """Do it.

        Raises:
            Rejected: it was not tried.
            BotError: it was tried and failed.
        """

    async def prepare(self, body: Body) -> BotError | None:
        """Take away at once the risk that this command is there to take away, before anything else is waited for.

        Returns:
            What could not be taken away in time, if anything.
        """

    def apply(self, old: Desired, new: Desired, *, may_trade: bool, command_seq: int | None = None) -> None:
        """Make the rest of the bot follow what has been stored.

        Args:
            old: what held before.
            new: what holds now.
            may_trade: whether entries may leave.
            command_seq: the command that asked for it; None where none did.
        """
