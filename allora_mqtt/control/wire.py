"""What control asks of the wire, and what the wire brings: the seam between commands and MQTT."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from pydantic import ValidationError

from allora_mqtt.protocol.commands import Envelope


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

    def on_taken_over(self) -> None:
        """The broker has given our session to somebody else with our client id; `on_lost` follows."""

    def on_lost(self, reason: str) -> None:
        """The connection has ended."""


def envelope_with_properties(envelope: Envelope, packet: Packet, now: datetime) -> Envelope:
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
