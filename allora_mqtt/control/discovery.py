"""Keeps the device message for Home Assistant as it should be: reads what lies on the broker, and replaces it.

It is looked at when a connection stands, when Home Assistant says that it is there, and when there are other coins to
show. Somebody who empties the topic in between wants the device gone, so that alone is no reason to put it back.

Home Assistant removes only what it has been shown since its own start. A coin that went while nobody knew whether it
runs is therefore shown once more, and removed again, at the next connect and at its next start.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.wire import Packet
from allora_mqtt.discovery import device
from allora_mqtt.discovery.changes import next_message, removed_cryptos
from allora_mqtt.discovery.subject import Subject
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.protocol.runtime import RuntimeSettings, describe
from allora_mqtt.protocol.topics import Topics
from allora_mqtt.settings import Settings

log = logging.getLogger(__name__)

_MAX_READ_BYTES: Final = 1024 * 1024
"""Of what lies on the topic no more is kept; a longer message is none of ours and will be replaced."""
_MAX_CUTS: Final = 3
"""Some brokers answer what they forbid, or find too long, by cutting the line; commands must not suffer from that."""
_MAX_REMOVED: Final = 50
"""Coins that are remembered to be removed once more; the newest."""
_BUILDING_S: Final = 10.0
"""What comes while Home Assistant still builds an entity is lost to the entities behind it in the message (seen in
2026.11.0: the first that is pending ends the reading), and after its start it builds for some seconds."""


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
        removed: coins that Home Assistant may not know to be gone, as an earlier run has stored them.
        store: stores them.
        building_s: how long Home Assistant takes to build the entities of a message.
    """

    def __init__(
        self,
        subject: Subject,
        prefix: str,
        outbox: Outbox,
        removed: Iterable[str],
        store: Callable[[list[str]], Awaitable[None]],
        building_s: float = _BUILDING_S,
    ) -> None:
        self._subject = subject
        self._outbox = outbox
        self._removed = list(removed)
        self._store = store
        self._building_s = building_s
        self._config_topic = device.config_topic(prefix, subject.topics)
        self._birth_topic = device.birth_topic(prefix)
        self._watched: Sequence[str] = subject.cryptos
        self._wanted: dict[str, Any] | None = None
        self._present = b""
        self._is_read = False
        self._is_home = False
        self._shows_removed = False
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
        self._is_read = self._is_home = False

    def on_lost(self) -> None:
        """The connection has ended: nothing can be sent before the next one."""
        self._is_read = False

    def on_packet(self, packet: Packet) -> None:
        """Look at a message; it may be on any topic."""
        if packet.topic == self._config_topic:
            self._present = packet.payload[:_MAX_READ_BYTES]
        elif packet.topic == self._birth_topic:
            self._is_home = packet.payload == device.BIRTH
            if self._is_home:
                self._cuts = 0
                self._shows_removed = True
                self._look()

    def on_mailbox_read(self) -> None:
        """What the broker has kept has been delivered."""
        self._is_read = True
        self._shows_removed = True
        self._look()

    def _look(self) -> None:
        if self._is_read and self._cuts < _MAX_CUTS and (self._publishing is None or self._publishing.done()):
            self._publishing = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        """Publish until what lies there is what is wanted; a line that is cut leaves the rest to the next connect."""
        before = self._present
        while self._wanted is not None:
            once_more = self._with_removed() if self._shows_removed else self._present
            self._shows_removed = False
            if once_more != self._present:
                if not await self._put(once_more):
                    return
                await asyncio.sleep(self._building_s)
                if self._is_home:
                    await self._keep([])
                continue
            message = next_message(self._present, self._wanted)
            if message is None:
                break
            await self._remember(removed_cryptos(self._present, self._wanted))
            if not await self._put(message):
                return
        if self._wanted is not None and self._present != before:
            log.info("Home Assistant is told of %d entities (%s)", len(self._wanted["cmps"]), self._config_topic)

    async def _put(self, message: bytes) -> bool:
        """Publish a message; False where the line was cut before the broker had it."""
        sent = self._outbox.send(self._config_topic, message, retain=True)
        await asyncio.wait([sent])
        if sent.cancelled():
            self._count_cut()
            return False
        self._present, self._cuts = message, 0
        return True

    def _with_removed(self) -> bytes:
        """Return the message with the coins that have to go once more; without any what lies there."""
        if not self._removed:
            return self._present
        cryptos = device.merged(self._subject.cryptos, self._removed)
        return device.encode(device.message(replace(self._subject, cryptos=cryptos)))

    async def _remember(self, going: Collection[str]) -> None:
        """Remember which coins go, unless Home Assistant is there to see it, and forget those that are there again."""
        shown = {symbol.upper() for symbol in self._subject.cryptos}
        known = [symbol for symbol in self._removed if symbol not in shown]
        if not self._is_home:
            known += sorted(set(going) - set(known))
        await self._keep(known[-_MAX_REMOVED:])

    async def _keep(self, removed: list[str]) -> None:
        if removed == self._removed:
            return
        self._removed = removed
        try:
            await self._store(removed)
        except BotError as error:
            log.warning("A coin that goes may stay in Home Assistant as unavailable: %s", error.message)

    def _count_cut(self) -> None:
        self._cuts += 1
        if self._cuts == _MAX_CUTS:
            log.warning(
                "The line was cut each time Home Assistant was to be told of the bot; the next try is when it starts. "
                "If the broker does not allow %s, or no message of that length, set MQTT_DISCOVERY=false",
                self._config_topic,
            )
