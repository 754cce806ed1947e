"""The look-out for messages that somebody else publishes where only the bot does: `bot/mode` for `bot/mode/set`.

The broker delivers the bot's own state messages back to it, in order. What comes and is not the next of those is
somebody else's: they are told which topic to use, and the true state is published again.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.reporter import Reporter
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.errors import ErrorCode
from allora_mqtt.protocol.messages import CommandEvent, ErrorInfo, Status
from allora_mqtt.protocol.topics import Topics

log = logging.getLogger(__name__)

_PAUSE_S: Final = 1.0
"""A topic is put right at most this often: two who disagree must not answer each other without end."""
_MAX_PAUSED: Final = 1000


class StateGuard:
    """Keeps the retained state true.

    Args:
        topics: the topic tree.
        outbox: knows what was published, and publishes it again.
        reporter: tells people.
        clock: the time, with its zone.
    """

    def __init__(self, topics: Topics, outbox: Outbox, reporter: Reporter, clock: Callable[[], datetime]) -> None:
        self._topics = topics
        self._outbox = outbox
        self._reporter = reporter
        self._clock = clock
        self._watched = frozenset(topics.state_topics())
        self._armed = False
        self._wrong_again: dict[str, bool] = {}

    def disarm(self) -> None:
        """Look away: what comes may be an answer to what an earlier connection or an earlier life has sent."""
        self._armed = False

    def arm(self) -> None:
        """Look: from now on everything that was sent on this connection comes back, and nothing else of ours."""
        self._armed = True

    def on_packet(self, packet: Packet) -> None:
        """Look at a message on a state topic."""
        symbol = self._topics.crypto_shown_on(packet.topic)
        if symbol is None and packet.topic not in self._watched:
            # An old session may have more subscriptions than we asked for.
            return
        if packet.retained:
            if symbol is not None and packet.payload:
                self._reporter.was_shown(symbol)
            return
        is_ours = self._outbox.is_echo(packet.topic, packet.payload)
        if is_ours or self._reporter.foreign_instance is not None:
            return
        # Of availability an earlier life or connection can say nothing true: in a cluster the will of a connection that
        # died with its node comes seconds later, in the middle of the next one's mailbox.
        if not self._armed and packet.topic != self._topics.availability:
            return
        if packet.topic in self._wrong_again:
            self._wrong_again[packet.topic] = True
        elif len(self._wrong_again) < _MAX_PAUSED:
            if packet.topic != self._topics.availability:
                # An "offline" is the last will of a connection of ours that has just been given up.
                self._tell(packet.topic)
            self._restore(packet.topic)

    def _tell(self, topic: str) -> None:
        set_topic = self._topics.set_topic_for(topic)
        advice = f"to change it, publish to {set_topic}" if set_topic else "commands go to the /set and /request topics"
        message = f"Somebody published to {topic}, which only the bot writes; {advice}. The true state is back there."
        log.warning("%s", message)
        name = topic.removeprefix(f"{self._topics.base}/")
        error = ErrorInfo(code=ErrorCode.USE_SET_TOPIC, message=message)
        self._reporter.on_misdirected(CommandEvent(status=Status.REJECTED, name=name, error=error, at=self._clock()))

    def _restore(self, topic: str) -> None:
        self._outbox.restore(topic)
        self._wrong_again[topic] = False
        asyncio.get_running_loop().call_later(_PAUSE_S, self._look_again, topic)

    def _look_again(self, topic: str) -> None:
        if self._wrong_again.pop(topic):
            self._restore(topic)
