"""What the broker owes one client, in order: messages sent and not acknowledged, and messages that wait.

No I/O in here: the connection asks for the next thing to send and tells what was acknowledged. The mailbox outlives
the connection, so a message leaves it by an acknowledgement and by nothing else.
"""

from collections import deque
from dataclasses import dataclass
from itertools import chain

from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.messages import Message

_PACKET_IDS = 0xFFFF


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message.

    Attributes:
        message: the message.
        packet_id: None with QoS 0.
        again: it was sent before, on this connection or an earlier one.
    """

    message: Message
    packet_id: int | None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """Send the second half of QoS 2: the client has the message."""

    packet_id: int


class Mailbox:
    """One client's messages.

    Args:
        limits: how many messages and bytes it holds, and how many may be in flight.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[Message] = deque()
        self._in_flight: dict[int, Message | None] = {}
        """By packet id, oldest first; None once a QoS 2 message is with the client and only its PUBCOMP is missing."""
        self._again: deque[int] = deque()
        self._last_id = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    @property
    def size(self) -> int:
        """The bytes it holds."""
        return self._bytes

    def put(self, message: Message) -> bool:
        """Take a message in; False when there is no room for it."""
        limits = self._limits
        if len(self) >= limits.queued_messages or self._bytes + message.size > limits.queued_bytes:
            return False
        self._waiting.append(message)
        self._bytes += message.size
        return True

    def next(self) -> Publish | Release | None:
        """Return what to send now; None when there is nothing, or too much is in flight already."""
        while self._again:
            packet_id = self._again.popleft()
            if packet_id in self._in_flight:
                message = self._in_flight[packet_id]
                return Release(packet_id) if message is None else Publish(message, packet_id, again=True)
        if not self._waiting:
            return None
        if self._waiting[0].qos == 0:
            message = self._waiting.popleft()
            self._bytes -= message.size
            return Publish(message, None)
        if len(self._in_flight) >= self._limits.in_flight:
            return None
        message = self._waiting.popleft()
        packet_id = self._free_id()
        self._in_flight[packet_id] = message
        return Publish(message, packet_id)

    def acknowledged(self, packet_id: int) -> None:
        """Forget a QoS 1 message: the client has it (PUBACK)."""
        message = self._in_flight.get(packet_id)
        if message is not None and message.qos == 1:
            del self._in_flight[packet_id]
            self._bytes -= message.size

    def received(self, packet_id: int) -> None:
        """Forget a QoS 2 message and keep its packet id: the client has it (PUBREC)."""
        message = self._in_flight.get(packet_id)
        if message is not None and message.qos == 2:  # noqa: PLR2004 - QoS 2
            self._in_flight[packet_id] = None
            self._bytes -= message.size

    def completed(self, packet_id: int) -> None:
        """Forget the packet id of a QoS 2 message (PUBCOMP)."""
        if packet_id in self._in_flight and self._in_flight[packet_id] is None:
            del self._in_flight[packet_id]

    def interrupted(self) -> None:
        """The connection is gone: what was not acknowledged goes first on the next one; QoS 0 is not kept."""
        self._again = deque(self._in_flight)
        self._waiting = deque(message for message in self._waiting if message.qos)
        held = chain(self._waiting, self._in_flight.values())
        self._bytes = sum(message.size for message in held if message is not None)

    def _free_id(self) -> int:
        while True:
            self._last_id = self._last_id % _PACKET_IDS + 1
            if self._last_id not in self._in_flight:
                return self._last_id
