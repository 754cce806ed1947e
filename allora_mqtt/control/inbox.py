"""Commands on their way in: bytes → read → journal (on disk) → acknowledged → handed to the dispatcher, in order.

While the connection is young the inbox cannot know whether a command waited in the broker's queue, in its mailbox (a
retained message) or was sent just now. It journals and acknowledges them all, but keeps those that raise risk until
the mailbox has been read to its end, when it can see which contradict each other.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from allora_mqtt.control.accepted import Accepted, ReplyTo
from allora_mqtt.control.candidates import Candidates, origin_in_broker
from allora_mqtt.control.dispatcher import Dispatcher
from allora_mqtt.control.ordering import Origin
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.redelivery import Unconfirmed
from allora_mqtt.control.trust import Judged, Trust
from allora_mqtt.control.wire import Packet, envelope_with_properties
from allora_mqtt.protocol import spool
from allora_mqtt.protocol.errors import BotError, ErrorCode, Rejected
from allora_mqtt.protocol.reading import MAX_PAYLOAD_BYTES, Parsed, read
from allora_mqtt.protocol.topics import Address, Topics
from allora_mqtt.store.entries import MQTT, SPOOL, Incoming, Recorded, Unanswered, fingerprint
from allora_mqtt.store.journal import Journal

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_JOURNAL_S: Final = 1.0
_MAX_WAITING: Final = 20_000
"""Commands that may wait for the disk; beyond that they are left unacknowledged, and the broker keeps them."""
_MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
_MAX_STRANGE_BYTES: Final = 512
"""What is kept of a payload from somebody who may not command."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A command on its way to the disk.

    Attributes:
        packet: what brought it; None for one that came as a file.
        waited: whether it may have been sent while the bot was away.
        restored_at: when the journal was restored, if it may have run after the backup was made.
    """

    incoming: Incoming
    parsed: Parsed
    packet: Packet | None
    place: int
    recorded: asyncio.Future[Recorded]
    waited: bool
    restored_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Note:
    """Something that is no command and has its place among them on disk.

    Attributes:
        store: stores it once more, where the disk refused.
        packet: acknowledged when it is stored.
    """

    store: Callable[[], asyncio.Future[None]]
    stored: asyncio.Future[None]
    packet: Packet | None


class Inbox:
    """Takes packets off the wire and hands commands to the dispatcher, each once.

    Args:
        topics: the topic tree.
        journal: where commands are made durable.
        dispatcher: who runs them.
        outbox: for clearing what is retained on `/set` topics.
        trust: who may command.
        clock: the time, with its zone.
        clear_mailbox: whether handled retained commands are removed from the broker.
        restored_at: when the journal was taken from a backup, if what waited then has not all been taken yet.
    """

    def __init__(
        self,
        topics: Topics,
        journal: Journal,
        dispatcher: Dispatcher,
        outbox: Outbox,
        trust: Trust,
        clock: Callable[[], datetime],
        *,
        clear_mailbox: bool,
        restored_at: datetime | None = None,
    ) -> None:
        self._topics = topics
        self._journal = journal
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._trust = trust
        self._clock = clock
        self._clear_mailbox = clear_mailbox
        self._restored_at = restored_at
        self._not_taken = set() if restored_at is None else {MQTT, SPOOL}
        """The ways on which commands may come that waited when the journal was restored."""
        self._arrivals: deque[_Arrival | _Note | int] = deque()
        self._places = itertools.count()
        self._arrived = asyncio.Event()
        self._waiting_bytes = 0
        self._handled: dict[str, set[str]] = {}
        self._clearing: set[str] = set()
        self._unconfirmed = Unconfirmed()
        self._pending_by_topic: dict[str, int] = {}
        self._mailbox_unread = True
        self._settling = True
        self._held: list[Accepted] = []
        self._candidates = Candidates(journal)
        self.dropped = 0
        """QoS 0 commands that came faster than they could be stored."""

    async def load(self) -> None:
        """Take over from the journal what an earlier run had handled and had not finished."""
        self._trust.remembers_since(self._restored_at or await self._journal.began() or self._clock())
        self._handled = await self._journal.handled_in_mailbox()
        for entry in await self._journal.unanswered():
            if entry.packet_id is not None:
                self._unconfirmed.load((entry.packet_id, entry.topic, entry.payload_hash))
        waited = await self._candidates.load(self._read_again, self._dispatcher.desired)
        for left in await self._journal.unfinished():
            accepted = Accepted(
                left.seq,
                left.incoming,
                self._read_again(left.incoming),
                duplicate_of=left.first_seq,
                first=left.first,
                waited=True,
                was_running=left.was_running,
                restored_at=self._restored_at,
            )
            self._count(accepted.incoming.topic)
            if left.first_seq is None and left.seq not in waited:
                origin = Origin.SPOOL if left.incoming.channel == SPOOL else Origin.JOURNAL
                self._candidates.add(left.seq, accepted.parsed, origin, self._dispatcher.desired)
            self._route(accepted)

    @property
    def waiting(self) -> int:
        """How much of what came in is not stored yet."""
        return len(self._arrivals)

    @property
    def has_read_mailbox(self) -> bool:
        """Whether everything that waited in the broker has been taken."""
        return not self._mailbox_unread

    @property
    def waits_for_disk(self) -> bool:
        """Whether something that came in is not stored yet."""
        return bool(self._arrivals)

    def on_session(self, *, resumed: bool) -> None:
        """The broker has accepted the connection: what comes now may have waited."""
        self._settling = self._mailbox_unread = True
        self._clearing.clear()
        self._unconfirmed.on_session(resumed=resumed)
        self._note(partial(self._journal.connected, next(self._places), resumed=resumed))

    def on_mailbox_read(self) -> None:
        """Everything that waited has arrived: decide between commands that contradict each other, and run the rest."""
        if not self._mailbox_unread:
            return
        self._mailbox_unread = False
        # The journal may still be writing the last of them; the connection's number takes its place behind them.
        self._arrivals.append(self._unconfirmed.generation)
        self._arrived.set()

    def on_files_read(self) -> None:
        """Every file that lay there at the start has been taken."""
        self._taken(SPOOL)

    def on_packet(self, packet: Packet, address: Address) -> None:
        """Take a message on a command topic."""
        if not packet.payload and (address.is_desired_state or packet.retained or packet.topic in self._handled):
            self._on_cleared(packet)
            return
        payload_hash = fingerprint(packet.payload)
        is_twin = packet.retained and address.is_desired_state and payload_hash in self._handled.get(packet.topic, ())
        if self._unconfirmed.is_known(packet, payload_hash, is_twin=is_twin):
            self._came_again(packet, payload_hash, fills_mailbox=address.is_desired_state)
            return
        if is_twin:
            packet.acknowledge()
            if packet.topic not in self._pending_by_topic:
                self._clear(packet.topic)
            return
        if self._is_full():
            self.dropped += packet.packet_id is None
            return
        self._take_packet(packet, address, payload_hash)

    def take(self, incoming: Incoming, parsed: Parsed, *, waited: bool) -> bool:
        """Take a command that did not come over MQTT; False when too many wait for the disk already.

        Args:
            incoming: the command as it came in.
            parsed: the same, read.
            waited: whether it may have been sent while the bot was away.
        """
        if self._is_full():
            return False
        self._record(incoming, parsed, None, waited=waited)
        return True

    async def run(self) -> None:
        """Follow commands into the journal and on to the dispatcher, in the order of their arrival."""
        while True:
            while self._arrivals:
                match self._arrivals[0]:
                    case int() as generation:
                        # Otherwise the line was cut, and what is in the broker now is not read to its end.
                        if generation == self._unconfirmed.generation:
                            self._settle()
                    case _Arrival() as arrival:
                        await self._follow(arrival)
                    case _Note(store, stored, packet):
                        await self._stored(stored, store)
                        if packet is not None:
                            packet.acknowledge()
                self._arrivals.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    def finished(self, accepted: Accepted) -> None:
        """A command has ended: empty its mailbox, unless a newer command waits for the same topic."""
        topic = accepted.incoming.topic
        left = self._pending_by_topic.get(topic, 0) - 1
        if left > 0:
            self._pending_by_topic[topic] = left
            return
        self._pending_by_topic.pop(topic, None)
        address = self._topics.address(topic)
        if address is not None and (address.is_desired_state or accepted.incoming.retained):
            self._clear(topic)

    def answered(self, command: Unanswered) -> None:
        """The broker has the response to a command, and so, being in order, the acknowledgement before it.

        And a broker that has the response to a file holds no older command any more, unless we are settling still.
        """
        if command.packet_id is not None:
            self._unconfirmed.forget((command.packet_id, command.topic, command.payload_hash))
        if command.channel == SPOOL and not self._settling:
            self._candidates.heard(command.seq)

    def _is_full(self) -> bool:
        return len(self._arrivals) >= _MAX_WAITING or self._waiting_bytes >= _MAX_WAITING_BYTES

    def _read_again(self, incoming: Incoming) -> Parsed:
        """Read a command from the journal, which knows better what was refused and what MQTT 5's properties said."""
        address = self._topics.address(incoming.topic)
        if incoming.refusal is not None:
            return Parsed.refused(incoming.name, incoming.envelope, incoming.refusal)
        if incoming.channel == SPOOL:
            parsed = spool.read(incoming.payload)
        elif address is not None:
            parsed = read(address, incoming.payload)
            parsed = replace(parsed, signed_by=self._trust.signer_of(parsed, incoming.topic))
        else:
            message = f"It was sent to {incoming.topic}, where the bot does not listen any more; send it again."
            return Parsed.refused(incoming.name, incoming.envelope, Rejected(ErrorCode.INTERRUPTED, message))
        known = incoming.envelope.model_dump(include={"id", "source", "issued_at", "expires_at"})
        return replace(parsed, envelope=parsed.envelope.model_copy(update=known))

    def _take_packet(self, packet: Packet, address: Address, payload_hash: str) -> None:
        now = self._clock()
        parsed = read(address, packet.payload)
        if parsed.proof is None:
            # What MQTT 5 says beside a payload is nothing that its signer has said.
            parsed = replace(parsed, envelope=envelope_with_properties(parsed.envelope, packet, now))
        judged = self._trust.judge(parsed, packet.topic, now)
        if not self._trust.takes(judged, packet.topic, payload_hash, now):
            packet.acknowledge()
            return
        parsed = judged.parsed
        if packet.retained and not address.is_desired_state and judged.is_trusted:
            message = "An action is never retained, or it would be done at each connect. Send it without that flag."
            parsed = Parsed.refused(parsed.name, parsed.envelope, Rejected(ErrorCode.RETAINED_ACTION, message))
        incoming = Incoming(
            name=parsed.name,
            topic=packet.topic,
            payload=_kept_of(packet.payload, judged),
            payload_hash=payload_hash,
            channel=MQTT,
            packet_id=packet.packet_id,
            retained=packet.retained,
            received_at=now,
            envelope=judged.kept,
            refusal=parsed.error,
            fills_mailbox=address.is_desired_state or (packet.retained and self._clear_mailbox),
        )
        self._record(incoming, parsed, packet, waited=self._mailbox_unread)
        # Known from now on, not only from the disk on: the twin of a retained command may be the very next packet.
        if incoming.fills_mailbox:
            self._handled.setdefault(packet.topic, set()).add(payload_hash)
        self._unconfirmed.add(packet, payload_hash)
        self._count(packet.topic)

    def _record(self, incoming: Incoming, parsed: Parsed, packet: Packet | None, *, waited: bool) -> None:
        place = next(self._places)
        recorded = self._journal.record(incoming, place)
        recorded.add_done_callback(lambda done: self._on_recorded(parsed, done))
        self._waiting_bytes += len(incoming.payload)
        # The packet's bytes are needed no more, and may be more than are kept.
        brought_by = None if packet is None else replace(packet, payload=b"")
        restored_at = self._restored_at if waited and incoming.channel in self._not_taken else None
        self._arrivals.append(_Arrival(incoming, parsed, brought_by, place, recorded, waited, restored_at))
        self._arrived.set()

    async def _follow(self, arrival: _Arrival) -> None:
        incoming, packet = arrival.incoming, arrival.packet
        recorded = await self._stored(arrival.recorded, lambda: self._journal.record(incoming, arrival.place))
        self._waiting_bytes -= len(incoming.payload)
        reply_to = None
        if packet is not None:
            self._unconfirmed.stored(packet, incoming.payload_hash)
            reply_to = ReplyTo(packet.response_topic, packet.correlation) if packet.response_topic else None
        accepted = Accepted(
            recorded.seq,
            incoming,
            arrival.parsed,
            duplicate_of=recorded.first_seq,
            first=recorded.first,
            waited=arrival.waited,
            reply_to=reply_to,
            restored_at=arrival.restored_at,
        )
        if recorded.first_seq is not None and arrival.parsed.signed_by is not None:
            self._trust.was_replayed()
        if recorded.first_seq is None and (packet is None or arrival.waited):
            origin = Origin.SPOOL if packet is None else origin_in_broker(incoming)
            self._candidates.add(recorded.seq, arrival.parsed, origin, self._dispatcher.desired)
        self._route(accepted)

    async def _stored(self, stored: asyncio.Future[T], store: Callable[[], asyncio.Future[T]]) -> T:
        """Wait until what came in is on disk, for as long as that takes; it is not acknowledged before."""
        with contextlib.suppress(BotError):
            return await stored
        while True:
            # What came before it may have been what the disk refused, so this one need not wait.
            try:
                return await store()
            except BotError as error:
                log.error("A command could not be journaled and waits: %s", error.message)  # noqa: TRY400 - the sentence says it all
            await asyncio.sleep(_RETRY_JOURNAL_S)

    def _note(self, store: Callable[[], asyncio.Future[None]], packet: Packet | None = None) -> None:
        """Store something in its place among the commands, and acknowledge it then."""
        self._arrivals.append(_Note(store, store(), packet))
        self._arrived.set()

    def _on_recorded(self, parsed: Parsed, done: asyncio.Future[Recorded]) -> None:
        """Take risk away at once when that cannot be written down, whatever waits for the disk before it."""
        if not done.cancelled() and done.exception() is not None:
            self._dispatcher.store_failed(parsed)

    def _route(self, accepted: Accepted) -> None:
        """Hand a command on; what waited in the broker is kept until all that waited is there, and in order.

        What is urgent is not kept, and neither are files: the line may be down for days.
        """
        body, incoming = accepted.parsed.body, accepted.incoming
        runs_now = body is None or incoming.channel == SPOOL or (body.is_urgent and not incoming.retained)
        if self._settling and accepted.waited and not runs_now:
            self._held.append(accepted)
        else:
            self._dispatcher.submit(accepted)

    def _settle(self) -> None:
        self._settling = False
        refused, newest = self._candidates.settle()
        held, self._held = self._held, []
        errors = {seq: refusal.error for seq, refusal in refused.items()}
        self._note(partial(self._journal.mailbox_read, errors, newest, next(self._places)))
        self._taken(MQTT)
        for accepted in sorted(held, key=lambda waiting: waiting.seq):
            self._dispatcher.submit(replace(accepted, refusal=refused.get(accepted.seq)))
        self._dispatcher.mailbox_read()
        # Clears that were lost with an earlier connection, or had to wait for this moment.
        for topic in self._handled.keys() - self._pending_by_topic.keys():
            self._clear(topic)

    def _taken(self, channel: str) -> None:
        """What comes this way from now on was sent after the journal was restored, if it was."""
        if channel in self._not_taken:
            self._not_taken.remove(channel)
            if not self._not_taken:
                self._note(partial(self._journal.all_that_waited_is_taken, next(self._places)))

    def _came_again(self, packet: Packet, payload_hash: str, *, fills_mailbox: bool) -> None:
        """Acknowledge a packet that is known, once it is on disk."""
        is_stored = not self._unconfirmed.waits_for_disk(packet, payload_hash)
        if fills_mailbox and payload_hash not in self._handled.get(packet.topic, ()):
            # An older clear came again before it and has made us forget it, but the broker may hold it still.
            self._handled.setdefault(packet.topic, set()).add(payload_hash)
            store = partial(self._journal.mailbox_filled, packet.topic, payload_hash, next(self._places))
            self._note(store, packet if is_stored else None)
        elif is_stored:
            packet.acknowledge()

    def _on_cleared(self, packet: Packet) -> None:
        """The broker tells, in order, that it holds nothing on this topic any more.

        When it tells so again nothing is forgotten: what it has been given since may be in the mailbox, and what came
        with QoS 0 does not come again to be remembered. The clear at the end of what waited brings a new echo.
        """
        self._clearing.discard(packet.topic)
        forgotten = set() if packet.again else self._handled.pop(packet.topic, set())
        if forgotten:
            self._note(partial(self._journal.mailbox_emptied, packet.topic, next(self._places)), packet)
        else:
            packet.acknowledge()

    def _clear(self, topic: str) -> None:
        """Empty a mailbox, unless it may hold something that is not read yet.

        Once at a time: without the retain flag (3.1.1) only the first clear that comes back is known from a press.
        """
        if self._clear_mailbox and not self._mailbox_unread and topic not in self._clearing:
            self._clearing.add(topic)
            self._outbox.send(topic, b"", retain=True)

    def _count(self, topic: str) -> None:
        self._pending_by_topic[topic] = self._pending_by_topic.get(topic, 0) + 1


def _kept_of(payload: bytes, judged: Judged) -> bytes:
    """Return what the journal keeps of a payload."""
    if not judged.is_trusted:
        return payload[:_MAX_STRANGE_BYTES]
    return payload if len(payload) <= MAX_PAYLOAD_BYTES else b""
