"""How much the embedded broker takes upon itself: it shares its process and its memory with the bot."""

from dataclasses import dataclass
from typing import Final

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker holds at most.

    Attributes:
        connect_timeout_s: how long a new connection may take until its CONNECT is there.
        connections: at the same time; further ones wait until one ends.
        connect_bytes: size of a CONNECT, read before anybody has said who they are.
        packet_bytes: size of any other packet.
        in_flight: QoS 1 and 2 messages sent to one client that it has not acknowledged.
        queued_messages: messages held for one client, in flight and waiting.
        queued_bytes: the same in bytes.
        retained_messages: topics with a retained message.
        retained_bytes: the same in bytes.
        filters: subscriptions of one client.
        absent_sessions: sessions kept for clients that are not there; the longest absent goes first.
        absent_for_s: how long such a session is kept.
    """

    connect_timeout_s: float = 10
    connections: int = 1000
    connect_bytes: int = _MIB // 2
    packet_bytes: int = 16 * _MIB
    in_flight: int = 500
    queued_messages: int = 100_000
    queued_bytes: int = 64 * _MIB
    retained_messages: int = 100_000
    retained_bytes: int = 64 * _MIB
    filters: int = 1000
    absent_sessions: int = 100
    absent_for_s: float = 7 * 86_400
