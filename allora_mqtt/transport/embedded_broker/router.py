"""Who is known to the broker, and who gets what. No I/O: connections are told, and send by themselves."""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from amqtt.session import Session

from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.mailbox import Mailbox
from allora_mqtt.transport.embedded_broker.messages import Message, is_filter, matches
from allora_mqtt.transport.embedded_broker.retained import Retained

log = logging.getLogger(__name__)

REFUSED: Final = 0x80
"""The return code of SUBACK for a filter that is not granted."""


class Line(Protocol):
    """A client's connection, as the router sees it."""

    def wake(self) -> None:
        """There is something to send."""

    def close(self) -> None:
        """Cut it."""


class Client:
    """One client id: what it subscribed to and what it is owed, connected or not.

    Attributes:
        session: amqtt's record of its newest CONNECT.
        mailbox: what it is owed.
        subscriptions: granted QoS by filter.
        half_received: packet ids of QoS 2 messages that it sent and has not released.
        line: its connection; None while it is away.
        absent_since: when it went away.
    """

    def __init__(self, session: Session, limits: Limits) -> None:
        self.session = session
        self.mailbox = Mailbox(limits)
        self.subscriptions: dict[str, int] = {}
        self.half_received: set[int] = set()
        self.line: Line | None = None
        self.absent_since = 0.0
        self._dropped = 0

    @property
    def name(self) -> str:
        """Its client id."""
        return str(self.session.client_id)

    def granted(self, topic: str) -> int | None:
        """Return the highest QoS of its subscriptions to a topic; None when it has none."""
        return max((qos for wanted, qos in self.subscriptions.items() if matches(topic, wanted)), default=None)

    def deliver(self, message: Message) -> None:
        """Put a message into its mailbox, or say that there was no room."""
        if self.line is None and message.qos == 0:
            return
        if self.mailbox.put(message):
            self._say_what_was_dropped()
        else:
            self._dropped += 1
            if self._dropped == 1:
                log.warning(
                    "The embedded broker drops messages for %r, which is away or too slow: %d wait already (%d bytes).",
                    self.name,
                    len(self.mailbox),
                    self.mailbox.size,
                )
        if self.line is not None:
            self.line.wake()

    def _say_what_was_dropped(self) -> None:
        if self._dropped:
            log.warning(
                "The embedded broker has dropped %d messages for %r; now there is room again.", self._dropped, self.name
            )
            self._dropped = 0


class Router:
    """The broker's memory.

    Args:
        limits: how much of everything.
        clock: seconds that only go forward.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._clients: dict[str, Client] = {}
        self._retained = Retained(limits)

    def admit(self, session: Session, line: Line) -> tuple[Client, bool]:
        """Let a client in that has logged in; whoever was connected under its id is out before this returns.

        Returns:
            The client, and whether it continues a session.
        """
        present = self._clients.get(session.client_id)
        if present is not None and present.line is not None:
            log.info("Client %r connected a second time; its first connection is closed", present.name)
            present.line.close()
            self.leave(present, present.line, said_goodbye=False)
        self._forget_expired()
        client = None if session.clean_session else self._clients.get(session.client_id)
        resumed = client is not None
        if client is None:
            client = self._clients[session.client_id] = Client(session, self._limits)
        client.session = session
        client.line = line
        return client, resumed

    def leave(self, client: Client, line: Line, *, said_goodbye: bool) -> None:
        """A connection has ended. Nothing happens when the client has another one by now."""
        if client.line is not line:
            return
        client.line = None
        session = client.session
        if session.clean_session:
            del self._clients[client.name]
        else:
            client.mailbox.interrupted()
            client.absent_since = self._clock()
            self._forget_longest_absent()
        if session.will_flag and not said_goodbye:
            self.publish(session.will_topic, bytes(session.will_message), session.will_qos, retain=session.will_retain)

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool) -> None:
        """Give a message to everybody who subscribed to its topic, once each, and keep it when it is retained."""
        if retain:
            self._retained.put(Message(topic, payload, qos, retain=True))
        for client in self._clients.values():
            granted = client.granted(topic)
            if granted is not None:
                client.deliver(Message(topic, payload, min(qos, granted)))

    def subscribe(self, client: Client, topic_filter: str, qos: int) -> int:
        """Subscribe, in place of an earlier subscription to the same filter.

        Returns:
            The granted QoS, or `REFUSED`.
        """
        if not is_filter(topic_filter) or topic_filter.startswith("$share/"):
            return REFUSED
        if len(client.subscriptions) >= self._limits.filters and topic_filter not in client.subscriptions:
            log.warning("Client %r has %d subscriptions and gets no more", client.name, len(client.subscriptions))
            return REFUSED
        client.subscriptions[topic_filter] = qos
        return qos

    def deliver_retained(self, client: Client, topic_filter: str, granted: int) -> None:
        """Give a new subscriber what is kept for its filter."""
        for kept in self._retained.matching(topic_filter):
            client.deliver(Message(kept.topic, kept.payload, min(kept.qos, granted), retain=True))

    def _absent(self) -> list[Client]:
        return sorted(
            (each for each in self._clients.values() if each.line is None), key=lambda each: each.absent_since
        )

    def _forget_expired(self) -> None:
        oldest = self._clock() - self._limits.absent_for_s
        for client in self._absent():
            if client.absent_since < oldest:
                self._forget(client, f"has been away for {self._limits.absent_for_s / 86_400:g} days")

    def _forget_longest_absent(self) -> None:
        absent, room = self._absent(), self._limits.absent_sessions
        for client in absent[: max(0, len(absent) - room)]:
            self._forget(client, f"is the longest away of more than {room}")

    def _forget(self, client: Client, why: str) -> None:
        log.warning(
            "The embedded broker forgets the session of %r, with %d messages: it %s",
            client.name,
            len(client.mailbox),
            why,
        )
        del self._clients[client.name]
