"""What control asks of the wire, and what the wire brings: the seam between commands and MQTT."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Packet:
    """One message that came in.

    Attributes:
        retained: whether it comes out of the broker's mailbox because of a SUBSCRIBE (or, where the subscription keeps
            the flag as published, because its sender set it).
        packet_id: MQTT's packet identifier; None for QoS 0.
        again: MQTT's DUP flag: the broker may have sent it before.
        expires_in_s: what is left of the MQTT 5 message expiry, if one was set.
        response_topic: where an MQTT 5 sender wants the answer besides the usual place.
        correlation: what is to be sent back with it.
        properties: MQTT 5 user properties.
        acknowledge: sends the PUBACK; to be called once the message need not be delivered again.
    """

    topic: str
    payload: bytes
    retained: bool
    packet_id: int | None
    acknowledge: Callable[[], None]
    again: bool = False
    expires_in_s: int | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    properties: tuple[tuple[str, str], ...] = ()


class Wire(Protocol):
    """A connection to a broker that comes and goes."""

    @property
    def is_up(self) -> bool:
        """Whether messages can be sent now."""

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes | None = None
    ) -> asyncio.Future[None]:
        """Send a message; the future is done when the broker has it, and cancelled when the line is cut before."""


class Listener(Protocol):
    """Who is told what happens on the wire; every call is made on the event loop and must not block."""

    def on_session(self, *, resumed: bool) -> None:
        """The broker has accepted the connection; what waited in the session follows."""

    def on_subscribed(self) -> None:
        """The subscriptions stand; what is retained under them follows."""

    def on_packet(self, packet: Packet) -> None:
        """A message came in."""

    def on_lost(self, reason: str) -> None:
        """The connection has ended."""
