"""Packets of which nothing proves yet that the broker has our acknowledgement: it may send each of them again."""

from collections.abc import Callable
from dataclasses import dataclass

from allora_mqtt.control.wire import Packet

PacketKey = tuple[int, str, str]
"""Packet identifier, topic and payload hash: what a redelivery has in common with the packet that it repeats."""


@dataclass(slots=True)
class _Known:
    """A packet that may come again.

    Attributes:
        generation: the connection on which it came last.
        acknowledge: acknowledges it on that connection; None once it is on disk and acknowledged.
    """

    generation: int
    acknowledge: Callable[[], None] | None = None


class Unconfirmed:
    """Tells a packet that comes again from a new one, on brokers that mark it and on those that do not."""

    def __init__(self) -> None:
        self._known: dict[PacketKey, _Known] = {}
        self._redelivering = False
        self.generation = 0
        """The number of the connection."""

    def __len__(self) -> int:
        return len(self._known)

    def load(self, key: PacketKey) -> None:
        """Take over a packet that an earlier life of the bot has on disk."""
        self._known[key] = _Known(self.generation)

    def on_session(self, *, resumed: bool) -> None:
        """The broker has accepted a connection."""
        self.generation += 1
        self._redelivering = resumed
        if not resumed:
            # Packet identifiers of a new session have nothing to do with those of the old one.
            self._known.clear()

    def add(self, packet: Packet, payload_hash: str) -> None:
        """Remember a packet that is to be acknowledged once it is on disk."""
        if packet.packet_id is not None:
            self._known[packet.packet_id, packet.topic, payload_hash] = _Known(self.generation, packet.acknowledge)

    def stored(self, packet: Packet, payload_hash: str) -> None:
        """Acknowledge a packet that is on disk now, on the connection on which it came last."""
        if packet.packet_id is None:
            return
        known = self._known.get((packet.packet_id, packet.topic, payload_hash))
        if known is not None and known.acknowledge is not None:
            known.acknowledge()
            known.acknowledge = None

    def forget(self, key: PacketKey) -> None:
        """The broker has the acknowledgement; the identifier is free."""
        self._known.pop(key, None)

    def is_known(self, packet: Packet, payload_hash: str, *, is_twin: bool) -> bool:
        """Tell whether the broker sends a packet again, because it did not get the acknowledgement.

        That happens when a session is resumed, first of all and with the DUP flag (which some brokers forget). A packet
        is a known one while nothing proves that the broker has our acknowledgement; afterwards its identifier is free,
        and the same identifier with the same content is a new message.

        Args:
            packet: what came.
            payload_hash: of its payload.
            is_twin: whether it is the retained copy of a journaled command, which is acknowledged without being
                journaled itself: it may be among what comes again, and does not end it.
        """
        if packet.packet_id is None:
            return False
        known = self._known.get((packet.packet_id, packet.topic, payload_hash))
        if known is None or not (packet.again or (self._redelivering and known.generation < self.generation)):
            self._redelivering = self._redelivering and is_twin
            return False
        known.generation = self.generation
        return True

    def waits_for_disk(self, packet: Packet, payload_hash: str) -> bool:
        """Tell whether a known packet is not on disk yet; if so it will be acknowledged here when it is."""
        if packet.packet_id is None:
            return False
        known = self._known[packet.packet_id, packet.topic, payload_hash]
        if known.acknowledge is None:
            return False
        known.acknowledge = packet.acknowledge
        return True
