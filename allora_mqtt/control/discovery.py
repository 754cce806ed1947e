"""Keeps the device message for Home Assistant as it should be: reads what lies on the broker, and replaces it.

It is looked at when a connection stands, when Home Assistant says that it is there, and when there are other coins to
show. Somebody who empties the topic in between wants the device gone, so that alone is no reason to put it back.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.wire import Packet
from allora_mqtt.discovery import device
from allora_mqtt.discovery.changes import next_message
from allora_mqtt.discovery.subject import Subject
from allora_mqtt.protocol.runtime import RuntimeSettings, describe
from allora_mqtt.protocol.topics import Topics
from allora_mqtt.settings import Settings

log = logging.getLogger(__name__)

_MAX_READ_BYTES: Final = 1024 * 1024
"""Of what lies on the topic no more is kept; a longer message is none of ours and will be replaced."""
_MAX_CUTS: Final = 3
"""Some brokers answer what they forbid, or find too long, by cutting the line; commands must not suffer from that."""


def as_shown(settings: Settings, version: str, runtime: RuntimeSettings, strategies: Iterable[str]) -> Subject:
    """Return the bot as Home Assistant is to see it, with the coins that are always shown."""
    return Subject(
        Topics(settings.mqtt.base_topic),
        version,
        settings.bot.network.value,
        settings.bot.heartbeat_interval_s,
        describe(runtime, settings.trade.hard_limits),
        list(strategies),
        device.watch_list(settings.mqtt.discovery_cryptos, settings.bot.crypto_sets),
        settings.mqtt.discovery_active_expiry_s,
    )


class Discovery:
    """Tells Home Assistant of the bot.

    Args:
        subject: the bot, with the coins that are always shown.
        prefix: what discovery topics begin with.
        outbox: the way out.
    """

    def __init__(self, subject: Subject, prefix: str, outbox: Outbox) -> None:
        self._subject = subject
        self._outbox = outbox
        self._config_topic = device.config_topic(prefix, subject.topics)
        self._birth_topic = device.birth_topic(prefix)
        self._watched: Sequence[str] = subject.cryptos
        self._wanted: dict[str, Any] | None = None
        self._present = b""
        self._is_read = False
        self._cuts = 0
        self._publishing: asyncio.Task[None] | None = None

    @property
    def topics(self) -> tuple[str, str]:
        """What has to be subscribed to."""
        return self._config_topic, self._birth_topic

    def show(self, symbols: Collection[str]) -> None:
        """Show these coins beside those that are always shown."""
        cryptos = device.merged(self._watched, symbols)
        if self._wanted is None or cryptos != self._subject.cryptos:
            self._subject = replace(self._subject, cryptos=cryptos)
            self._wanted = device.message(self._subject)
            self._look()

    def on_session(self) -> None:
        """A connection begins: what the broker has kept is not known."""
        self._present = b""
        self._is_read = False

    def on_lost(self) -> None:
        """The connection has ended: nothing can be sent before the next one."""
        self._is_read = False

    def on_packet(self, packet: Packet) -> None:
        """Look at a message; it may be on any topic."""
        if packet.topic == self._config_topic:
            self._present = packet.payload[:_MAX_READ_BYTES]
        elif packet.topic == self._birth_topic and packet.payload == device.BIRTH:
            self._cuts = 0
            self._look()

    def on_mailbox_read(self) -> None:
        """What the broker has kept has been delivered; said once more it means nothing."""
        if not self._is_read:
            self._is_read = True
            self._look()

    def _look(self) -> None:
        if self._is_read and self._cuts < _MAX_CUTS and (self._publishing is None or self._publishing.done()):
            self._publishing = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        """Publish until what lies there is what is wanted; a line that is cut leaves the rest to the next connect."""
        before = self._present
        while self._wanted is not None and (message := next_message(self._present, self._wanted)) is not None:
            sent = self._outbox.send(self._config_topic, message, retain=True)
            await asyncio.wait([sent])
            if sent.cancelled():
                self._count_cut()
                return
            self._present, self._cuts = message, 0
        if self._wanted is not None and self._present != before:
            log.info("Home Assistant is told of %d entities (%s)", len(self._wanted["cmps"]), self._config_topic)

    def _count_cut(self) -> None:
        self._cuts += 1
        if self._cuts == _MAX_CUTS:
            log.warning(
                "The line was cut each time Home Assistant was to be told of the bot; the next try is when it starts. "
                "If the broker does not allow %s, or no message of that length, set MQTT_DISCOVERY=false",
                self._config_topic,
            )
