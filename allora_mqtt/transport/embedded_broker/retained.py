"""The newest retained message of each topic, for those who subscribe later."""

import logging
from collections.abc import Iterator

from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.messages import Message, matches

log = logging.getLogger(__name__)


class Retained:
    """Retained messages.

    Args:
        limits: how many and how many bytes are kept.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._messages: dict[str, Message] = {}
        self._bytes = 0
        self._is_full = False

    def put(self, message: Message) -> None:
        """Keep this one instead of the last of its topic; an empty payload clears the topic."""
        before = self._messages.pop(message.topic, None)
        if before is not None:
            self._bytes -= before.size
        if not message.payload:
            return
        limits = self._limits
        fits = len(self._messages) < limits.retained_messages and self._bytes + message.size <= limits.retained_bytes
        if fits:
            self._messages[message.topic] = message
            self._bytes += message.size
        elif not self._is_full:
            log.warning(
                "The embedded broker holds %d retained messages of %d bytes and keeps no further ones, such as %r. "
                "Clear some with empty retained messages, or use mosquitto (MQTT_HOST).",
                len(self._messages),
                self._bytes,
                message.topic,
            )
        self._is_full = not fits

    def matching(self, topic_filter: str) -> Iterator[Message]:
        """Yield what a new subscriber to this filter gets."""
        return (message for topic, message in self._messages.items() if matches(topic, topic_filter))
