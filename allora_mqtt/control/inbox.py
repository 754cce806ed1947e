"""Commands on their way in: bytes → read → journal (on disk) → acknowledged → handed to the dispatcher, in order.

While the connection is young the inbox cannot know whether a command waited in the broker's queue, in its mailbox (a
retained message) or was sent just now. It journals and acknowledges them all, but keeps those that raise risk until
the mailbox has been read to its end, when it can see which contradict each other.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from allora_mqtt.control import ordering
from allora_mqtt.control.dispatcher import Accepted, Dispatcher, ReplyTo
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.commands import Envelope
from allora_mqtt.protocol.errors import BotError, ErrorCode, Rejected
from allora_mqtt.protocol.reading import MAX_PAYLOAD_BYTES, Parsed, read
from allora_mqtt.protocol.topics import Address, Topics
from allora_mqtt.store.journal import Incoming, Journal, Recorded, fingerprint

log = logging.getLogger(__name__)

_RETRY_JOURNAL_S: Final = 1.0
_MAX_WAITING: Final = 20_000
"""Commands that may wait for the disk; beyond that they are left unacknowledged, and the broker keeps them."""


PacketKey = tuple[int, str, str]
"""Packet identifier, topic and payload hash: what a redelivery has in common with the packet that it repeats."""


@dataclass(slots=True)
class _Known:
    """A packet of which nothing proves yet that the broker has our acknowledgement.

    Attributes:
        generation: the connection on which it came last.
        acknowledge: acknowledges it on that connection; None once it is on disk and acknowledged.
    """

    generation: int
    acknowledge: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class _Arrival:
    incoming: Incoming
    parsed: Parsed
    packet: Packet
    recorded: asyncio.Future[Recorded]
    settling: bool


class Inbox:
    """Takes packets off the wire and hands commands to the dispatcher, each once.

    Args:
        topics: the topic tree.
        journal: where commands are made durable.
        dispatcher: who runs them.
        outbox: for clearing what is retained on `/set` topics.
        clock: the time, with its zone.
        clear_mailbox: whether handled retained commands are removed from the broker.
    """

    def __init__(
        self,
        topics: Topics,
        journal: Journal,
        dispatcher: Dispatcher,
        outbox: Outbox,
        clock: Callable[[], datetime],
        *,
        clear_mailbox: bool,
    ) -> None:
        self._topics = topics
        self._journal = journal
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._clock = clock
        self._clear_mailbox = clear_mailbox
        self._arrivals: deque[_Arrival | None] = deque()
        self._arrived = asyncio.Event()
        self._handled: dict[str, set[str]] = {}
        self._unconfirmed: dict[PacketKey, _Known] = {}
        self._generation = 0
        self._redelivering = False
        self._pending_by_topic: dict[str, int] = {}
        self._mailbox_unread = True
        self._settling = True
        self._held: list[Accepted] = []
        self._seen_while_settling: list[ordering.Candidate] = []
        self.dropped = 0
        """QoS 0 commands that came faster than they could be stored."""

    async def load(self) -> None:
        """Take over from the journal what an earlier run had handled and had not finished."""
        self._handled = await self._journal.handled_in_mailbox()
        for entry in await self._journal.unanswered():
            if entry.packet_id is not None:
                self._unconfirmed[entry.packet_id, entry.topic, entry.payload_hash] = _Known(0)
        for left in await self._journal.unfinished():
            accepted = Accepted(
                left.seq,
                left.incoming,
                self._read_again(left.incoming),
                duplicate_of=left.first_seq,
                first=left.first,
                waited=True,
                was_running=left.was_running,
            )
            self._count(accepted.incoming.topic)
            self._route(accepted)

    def on_session(self, *, resumed: bool) -> None:
        """The broker has accepted the connection: what comes now may have waited."""
        self._settling = self._mailbox_unread = True
        self._generation += 1
        self._redelivering = resumed
        if not resumed:
            # Packet identifiers of a new session have nothing to do with those of the old one.
            self._unconfirmed.clear()

    def on_mailbox_read(self) -> None:
        """Everything that waited has arrived: decide between commands that contradict each other, and run the rest."""
        if not self._mailbox_unread:
            return
        self._mailbox_unread = False
        # The journal may still be writing the last of them; None takes its place behind them.
        self._arrivals.append(None)
        self._arrived.set()

    def on_packet(self, packet: Packet, address: Address) -> None:
        """Take a message on a command topic."""
        if not packet.payload and (address.is_desired_state or packet.retained or packet.topic in self._handled):
            self._on_cleared(packet)
            return
        payload_hash = fingerprint(packet.payload)
        if self._is_redelivery(packet, payload_hash):
            return
        if packet.retained and address.is_desired_state and payload_hash in self._handled.get(packet.topic, ()):
            packet.acknowledge()
            if packet.topic not in self._pending_by_topic:
                self._clear(packet.topic)
            return
        if len(self._arrivals) >= _MAX_WAITING:
            self.dropped += packet.packet_id is None
            return
        self._take(packet, address, payload_hash)

    async def run(self) -> None:
        """Follow commands into the journal and on to the dispatcher, in the order of their arrival."""
        while True:
            while self._arrivals:
                arrival = self._arrivals.popleft()
                if arrival is None:
                    self._settle()
                else:
                    await self._follow(arrival)
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

    def answered(self, packet_id: int | None, topic: str, payload_hash: str) -> None:
        """The broker has the response to a command, and so, being in order, the acknowledgement before it."""
        if packet_id is not None:
            self._unconfirmed.pop((packet_id, topic, payload_hash), None)

    def _read_again(self, incoming: Incoming) -> Parsed:
        """Read a command from the journal, which knows better what was refused and what MQTT 5's properties said."""
        address = self._topics.address(incoming.topic)
        if incoming.refusal is not None:
            return Parsed.refused(incoming.name, incoming.envelope, incoming.refusal)
        if address is None:
            message = f"It was sent to {incoming.topic}, where the bot does not listen any more; send it again."
            return Parsed.refused(incoming.name, incoming.envelope, Rejected(ErrorCode.INTERRUPTED, message))
        parsed = read(address, incoming.payload)
        known = incoming.envelope.model_dump(include={"id", "source", "issued_at", "expires_at"})
        return replace(parsed, envelope=parsed.envelope.model_copy(update=known))

    def _take(self, packet: Packet, address: Address, payload_hash: str) -> None:
        now = self._clock()
        parsed = read(address, packet.payload)
        if packet.retained and not address.is_desired_state:
            message = "An action is never retained, or it would be done at each connect. Send it without that flag."
            parsed = Parsed.refused(parsed.name, parsed.envelope, Rejected(ErrorCode.RETAINED_ACTION, message))
        parsed = replace(parsed, envelope=_with_properties(parsed.envelope, packet, now))
        incoming = Incoming(
            name=parsed.name,
            topic=packet.topic,
            payload=packet.payload if len(packet.payload) <= MAX_PAYLOAD_BYTES else b"",
            payload_hash=payload_hash,
            channel="mqtt",
            packet_id=packet.packet_id,
            retained=packet.retained,
            received_at=now,
            envelope=parsed.envelope,
            refusal=parsed.error,
            fills_mailbox=address.is_desired_state or (packet.retained and self._clear_mailbox),
        )
        recorded = asyncio.ensure_future(self._journal.record(incoming))
        recorded.add_done_callback(lambda done: self._on_recorded(parsed, done))
        # Known from now on, not only from the disk on: the twin of a retained command may be the very next packet.
        if incoming.fills_mailbox:
            self._handled.setdefault(packet.topic, set()).add(payload_hash)
        if packet.packet_id is not None:
            known = _Known(self._generation, packet.acknowledge)
            self._unconfirmed[packet.packet_id, packet.topic, payload_hash] = known
        self._count(packet.topic)
        self._arrivals.append(_Arrival(incoming, parsed, packet, recorded, self._mailbox_unread))
        self._arrived.set()

    async def _follow(self, arrival: _Arrival) -> None:
        recorded = await self._recorded(arrival)
        incoming, packet = arrival.incoming, arrival.packet
        self._acknowledge(packet, incoming.payload_hash)
        reply_to = ReplyTo(packet.response_topic, packet.correlation) if packet.response_topic else None
        accepted = Accepted(
            recorded.seq,
            incoming,
            arrival.parsed,
            duplicate_of=recorded.first_seq,
            first=recorded.first,
            waited=arrival.settling,
            reply_to=reply_to,
        )
        if arrival.settling and arrival.parsed.body is not None and recorded.first_seq is None:
            self._seen_while_settling.append(
                ordering.Candidate(recorded.seq, arrival.parsed.body, arrival.parsed.envelope, incoming.retained)
            )
        self._route(accepted)

    async def _recorded(self, arrival: _Arrival) -> Recorded:
        """Wait until the command is on disk, for as long as that takes; it is not acknowledged before."""
        recorded = arrival.recorded
        while True:
            try:
                return await recorded
            except BotError as error:
                log.error("A command could not be journaled and waits: %s", error.message)  # noqa: TRY400 - the sentence says it all
            await asyncio.sleep(_RETRY_JOURNAL_S)
            recorded = asyncio.ensure_future(self._journal.record(arrival.incoming))

    def _on_recorded(self, parsed: Parsed, done: asyncio.Future[Recorded]) -> None:
        """Take risk away at once when that cannot be written down, whatever waits for the disk before it."""
        if not done.cancelled() and done.exception() is not None:
            self._dispatcher.store_failed(parsed)

    def _acknowledge(self, packet: Packet, payload_hash: str) -> None:
        """Acknowledge a command that is on disk, on the connection on which it came last."""
        if packet.packet_id is None:
            return
        known = self._unconfirmed.get((packet.packet_id, packet.topic, payload_hash))
        if known is not None and known.acknowledge is not None:
            known.acknowledge()
            known.acknowledge = None

    def _route(self, accepted: Accepted) -> None:
        """Hand a command on; what waited and is not urgent is kept until all that waited is there, and in order."""
        body = accepted.parsed.body
        runs_now = body is None or (body.is_urgent and not accepted.incoming.retained)
        if self._settling and accepted.waited and not runs_now:
            self._held.append(accepted)
        else:
            self._dispatcher.submit(accepted)

    def _settle(self) -> None:
        self._settling = False
        refused = ordering.settle(self._seen_while_settling, self._dispatcher.desired)
        held, self._held = self._held, []
        self._seen_while_settling.clear()
        for accepted in sorted(held, key=lambda waiting: waiting.seq):
            self._dispatcher.submit(replace(accepted, refusal=refused.get(accepted.seq)))

    def _is_redelivery(self, packet: Packet, payload_hash: str) -> bool:
        """Tell whether the broker sends a journaled packet again, because it did not get the acknowledgement.

        That happens when a session is resumed, first of all and with the DUP flag (which some brokers forget). The
        packet is a known one while nothing proves that the broker has our acknowledgement; afterwards its identifier
        is free, and the same identifier with the same content is a new message.
        """
        if packet.packet_id is None:
            return False
        known = self._unconfirmed.get((packet.packet_id, packet.topic, payload_hash))
        if known is None or not (packet.again or (self._redelivering and known.generation < self._generation)):
            self._redelivering = False
            return False
        known.generation = self._generation
        if known.acknowledge is None:
            packet.acknowledge()
        else:
            # Not on disk yet; it will be acknowledged here when it is.
            known.acknowledge = packet.acknowledge
        return True

    def _on_cleared(self, packet: Packet) -> None:
        """The broker tells, in order, that it holds nothing on this topic any more."""
        packet.acknowledge()
        if self._handled.pop(packet.topic, None):
            self._journal.mailbox_emptied(packet.topic)

    def _clear(self, topic: str) -> None:
        if self._clear_mailbox:
            self._outbox.send(topic, b"", retain=True)

    def _count(self, topic: str) -> None:
        self._pending_by_topic[topic] = self._pending_by_topic.get(topic, 0) + 1


def _with_properties(envelope: Envelope, packet: Packet, now: datetime) -> Envelope:
    """Fill in from MQTT 5's own properties what the payload does not say."""
    said: dict[str, object] = {
        key: value for key, value in packet.properties if key in {"id", "source", "issued_at", "expires_at"}
    }
    if packet.correlation is not None:
        said.setdefault("id", packet.correlation.decode("utf-8", errors="backslashreplace"))
    if packet.expires_in_s is not None:
        said["expires_at"] = now + timedelta(seconds=packet.expires_in_s)
    for key, value in said.items():
        if getattr(envelope, key) is None:
            with contextlib.suppress(ValidationError):
                checked = Envelope.model_validate({key: value})
                envelope = envelope.model_copy(update={key: getattr(checked, key)})
    return envelope
