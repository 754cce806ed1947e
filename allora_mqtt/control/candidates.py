"""The commands whose order against each other is not known yet, kept until the broker has shown all that waited."""

from collections.abc import Callable

from allora_mqtt.control import ordering
from allora_mqtt.control.desired import Desired
from allora_mqtt.control.ordering import Origin, Refusal
from allora_mqtt.protocol.reading import Parsed
from allora_mqtt.store.entries import Incoming
from allora_mqtt.store.journal import Journal


class Candidates:
    """What waited in the broker, and what came as a file since the broker was last heard.

    Args:
        journal: knows them from earlier runs.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: list[ordering.Candidate] = []

    async def load(self, read_again: Callable[[Incoming], Parsed], desired: Desired) -> set[int]:
        """Take over those of an earlier run, and return the journal entries of those that waited in the broker."""
        for seq, incoming in await self._journal.unheard():
            # It has run, so that what holds now says nothing of its risk.
            self.add(seq, read_again(incoming), Origin.SPOOL, None)
        waited = await self._journal.seen_since_mailbox_was_read()
        for seq, incoming in waited:
            self.add(seq, read_again(incoming), origin_in_broker(incoming), desired)
        return {seq for seq, _ in waited}

    def add(self, seq: int, parsed: Parsed, origin: Origin, desired: Desired | None) -> None:
        """Keep a command to be ordered against others that came another way."""
        if parsed.body is None:
            return
        one = ordering.candidate(seq, parsed.body, parsed.envelope, origin, desired)
        if origin is Origin.SPOOL:
            # The line may be down for days, and files come all the while.
            self._known = ordering.with_newest(self._known, one)
        else:
            self._known.append(one)

    def heard(self, seq: int) -> None:
        """The broker holds nothing any more that is older than this command: it and those before need no ordering."""
        self._known = [each for each in self._known if each.seq > seq]
        self._journal.heard(seq)

    def settle(self) -> tuple[dict[int, Refusal], int | None]:
        """Order them all, now that the broker has shown what waited, and forget them.

        Returns:
            Those that are refused; and the newest of all, where there are any, for the journal to know that the broker
            has been heard up to there.
        """
        refused = ordering.settle(self._known)
        newest = max((each.seq for each in self._known), default=None)
        self._known.clear()
        return refused, newest


def origin_in_broker(incoming: Incoming) -> Origin:
    """Tell in which place of the broker a command waited."""
    return Origin.MAILBOX if incoming.retained else Origin.QUEUE
