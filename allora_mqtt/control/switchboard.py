"""Where the wire's events go: commands to the inbox, heartbeats to the look-out for a second bot."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from allora_mqtt.control.dispatcher import Dispatcher
from allora_mqtt.control.inbox import Inbox
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.reporter import Identity, Reporter
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.messages import Heartbeat
from allora_mqtt.protocol.topics import Topics

log = logging.getLogger(__name__)

_MAILBOX_TIMEOUT_S: Final = 2.0
"""How long the end of what waited is waited for; a broker that does not let us read our heartbeat never marks it."""
_FOREIGN_FORGOTTEN: Final = timedelta(seconds=30)


class Switchboard:
    """The bot's `Listener`.

    Args:
        topics: the topic tree.
        identity: who this bot is.
        inbox: takes commands.
        dispatcher: for answers that have to be sent again.
        outbox: the way out.
        reporter: publishes state; told of a second bot.
        clock: the time, with its zone.
        on_online: called each time the subscriptions stand.
    """

    def __init__(
        self,
        topics: Topics,
        identity: Identity,
        inbox: Inbox,
        dispatcher: Dispatcher,
        outbox: Outbox,
        reporter: Reporter,
        clock: Callable[[], datetime],
        on_online: Callable[[], None],
    ) -> None:
        self._topics = topics
        self._identity = identity
        self._inbox = inbox
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._reporter = reporter
        self._clock = clock
        self._on_online = on_online
        self._marker = b""
        self._timer: asyncio.TimerHandle | None = None
        self._answering: asyncio.Task[None] | None = None
        self._foreign_at: datetime | None = None

    def on_session(self, *, resumed: bool) -> None:
        """The broker has accepted the connection."""
        self._inbox.on_session(resumed=resumed)

    def on_subscribed(self) -> None:
        """Publish everything, and mark the end of what waited.

        The mark is a heartbeat with QoS 1 to ourselves: the broker delivers it behind everything that it had in its
        queue and its mailbox before.
        """
        self._marker = self._reporter.heartbeat()
        self._outbox.send(self._topics.heartbeat, self._marker)
        self._timer = asyncio.get_running_loop().call_later(_MAILBOX_TIMEOUT_S, self._inbox.on_mailbox_read)
        self._reporter.mqtt.reset()
        self._reporter.publish_everything()
        self._answering = asyncio.create_task(self._dispatcher.republish_answers())
        self._on_online()

    def on_packet(self, packet: Packet) -> None:
        """Hand a message to whom it concerns."""
        address = self._topics.address(packet.topic)
        if address is not None:
            self._inbox.on_packet(packet, address)
            return
        packet.acknowledge()
        if packet.topic == self._topics.heartbeat:
            if packet.payload == self._marker:
                self._inbox.on_mailbox_read()
            else:
                self._look_at_heartbeat(packet.payload)

    def on_lost(self, reason: str) -> None:
        """The connection has ended; what waited is not read to its end before the next one."""
        if self._timer is not None:
            self._timer.cancel()
        self._reporter.mqtt.failed(self._clock().timestamp(), reason)
        self._outbox.lost()

    def _look_at_heartbeat(self, payload: bytes) -> None:
        now = self._clock()
        if self._foreign_at is not None and now - self._foreign_at > _FOREIGN_FORGOTTEN:
            self._foreign_at = self._reporter.foreign_instance = None
        try:
            beat = Heartbeat.model_validate_json(payload)
        except ValidationError:
            return
        # What an earlier life of this bot sent may still be in the session's queue.
        if beat.instance_id == self._identity.instance_id or beat.at <= self._identity.started_at:
            return
        if self._reporter.foreign_instance is None:
            log.error("Another bot (%s) is on %s; stop one of the two", beat.instance_id, self._topics.base)
        self._foreign_at, self._reporter.foreign_instance = now, beat.instance_id
        self._reporter.on_market()
