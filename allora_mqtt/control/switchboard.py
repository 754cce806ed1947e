"""Where the wire's events go: commands to the inbox, signs of life to the look-out for a second bot."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from pydantic import AwareDatetime, BaseModel, ValidationError

from allora_mqtt.control.discovery import Discovery
from allora_mqtt.control.dispatcher import Dispatcher
from allora_mqtt.control.inbox import Inbox
from allora_mqtt.control.lookout import Lookout
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.reporter import Reporter
from allora_mqtt.control.state_guard import StateGuard
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.messages import Heartbeat
from allora_mqtt.protocol.topics import Topics

log = logging.getLogger(__name__)

_MAILBOX_TIMEOUT_S: Final = 2.0
"""How long the end of what waited is waited for; a broker that does not let us read our heartbeat never marks it."""
_LOOK_EVERY_S: Final = 0.5


class _Sender(BaseModel):
    """Who has published an `info`; whatever version it is of, it says this."""

    instance_id: str
    started_at: AwareDatetime


class Switchboard:
    """The bot's `Listener`.

    Args:
        topics: the topic tree.
        lookout: knows of a second bot.
        inbox: takes commands.
        dispatcher: for answers that have to be sent again.
        outbox: the way out.
        reporter: publishes state; told of a second bot.
        guard: looks out for state that somebody else publishes.
        discovery: tells Home Assistant of the bot; None where that is not wanted.
        clock: the time, with its zone.
        on_online: called each time the subscriptions stand.
        stand_aside: told whether entries have to wait because of a second bot, when that changes.
    """

    def __init__(
        self,
        topics: Topics,
        lookout: Lookout,
        inbox: Inbox,
        dispatcher: Dispatcher,
        outbox: Outbox,
        reporter: Reporter,
        guard: StateGuard,
        discovery: Discovery | None,
        clock: Callable[[], datetime],
        on_online: Callable[[], None],
        stand_aside: Callable[[bool], None],
    ) -> None:
        self._topics = topics
        self._lookout = lookout
        self._inbox = inbox
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._reporter = reporter
        self._guard = guard
        self._discovery = discovery
        self._clock = clock
        self._on_online = on_online
        self._stand_aside = stand_aside
        self._marker = b""
        self._commands = 0
        self._timer: asyncio.TimerHandle | None = None
        self._answering: asyncio.Task[None] | None = None
        self._reads_queue = True
        self._stands_aside = False
        self._next_look: asyncio.TimerHandle | None = None

    def on_session(self, *, resumed: bool) -> None:
        """The broker has accepted the connection."""
        self._reads_queue = True
        self._guard.disarm()
        # The mark of an earlier connection may be delivered again, and ends nothing on this one.
        self._marker = b""
        if self._discovery is not None:
            self._discovery.on_session()
        self._inbox.on_session(resumed=resumed)

    def on_subscribed(self) -> None:
        """Publish everything, and mark the end of what waited.

        The mark is a heartbeat with QoS 1 to ourselves: the broker delivers it behind everything that it had in its
        queue and its mailbox before.
        """
        self._marker = self._reporter.heartbeat()
        self._outbox.send(self._topics.heartbeat, self._marker)
        self._wait_for_silence()
        self._reporter.mqtt.reset()
        self._reporter.publish_everything()
        self._answering = asyncio.create_task(self._dispatcher.republish_answers())
        self._on_online()

    def on_packet(self, packet: Packet) -> None:
        """Hand a message to whom it concerns."""
        address = self._topics.address(packet.topic)
        if address is not None:
            self._commands += 1
            self._inbox.on_packet(packet, address)
            return
        packet.acknowledge()
        if packet.topic == self._topics.heartbeat:
            if packet.payload == self._marker:
                self._on_mailbox_read()
            elif not self._reads_queue:
                self._look_at_heartbeat(packet.payload)
            return
        if packet.topic == self._topics.info:
            self._look_at_info(packet)
        if self._discovery is not None:
            self._discovery.on_packet(packet)
        self._guard.on_packet(packet)

    def on_taken_over(self) -> None:
        """Somebody else with our client id has our session."""
        self._lookout.on_taken_over(self._clock())
        self._look()

    def _wait_for_silence(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_MAILBOX_TIMEOUT_S, self._on_timer, self._commands)

    def _on_timer(self, commands_before: int) -> None:
        """Take what waited as read when nothing more comes, though a full disk may be what holds it up."""
        if self._commands == commands_before and not self._inbox.waits_for_disk:
            self._on_mailbox_read()
        else:
            self._wait_for_silence()

    def on_lost(self, reason: str) -> None:
        """The connection has ended; what waited is not read to its end before the next one."""
        if self._timer is not None:
            self._timer.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._reporter.mqtt.failed(self._clock().timestamp(), reason)
        self._outbox.lost()
        if self._discovery is not None:
            self._discovery.on_lost()

    def _on_mailbox_read(self) -> None:
        """Tell everybody, once a connection: mark and timer may both say so."""
        if not self._reads_queue:
            return
        self._reads_queue = False
        if self._timer is not None:
            self._timer.cancel()
        self._inbox.on_mailbox_read()
        self._guard.arm()
        if self._discovery is not None:
            self._discovery.on_mailbox_read()

    def _look_at_heartbeat(self, payload: bytes) -> None:
        try:
            beat = Heartbeat.model_validate_json(payload)
        except ValidationError:
            return
        self._lookout.on_heartbeat(beat.instance_id, beat.at, beat.uptime_s, self._clock())
        self._look()

    def _look_at_info(self, packet: Packet) -> None:
        try:
            sender = _Sender.model_validate_json(packet.payload)
        except ValidationError:
            return
        self._lookout.on_info(sender.instance_id, sender.started_at, self._clock(), retained=packet.retained)
        self._look()

    def _look(self) -> None:
        """Let everybody know what the look-out says, and look again for as long as there is a second bot."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        now = self._clock()
        stranger = self._lookout.at(now)
        if stranger is not None:
            self._next_look = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)
        aside = not self._lookout.may_trade(now)
        if aside is not self._stands_aside:
            self._stands_aside = aside
            self._stand_aside(aside)
        foreign = stranger.instance_id if stranger is not None and stranger.is_known_to_live else None
        if foreign == self._reporter.foreign_instance:
            return
        if foreign is None:
            log.info("No other bot is on %s any more", self._topics.base)
        elif self._reporter.foreign_instance is None:
            waits = "; this one makes no entries meanwhile" if aside else ""
            log.error("Another bot (%s) is on %s; stop one of the two%s", foreign, self._topics.base, waits)
        self._reporter.foreign_instance = foreign
        self._reporter.on_market()
