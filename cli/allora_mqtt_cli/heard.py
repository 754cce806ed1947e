"""What has been heard of a bot: the newest message of each state topic."""

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import BaseModel

from allora_mqtt.protocol.messages import Account, ActiveSet, Availability, BotStatus, CryptoState, Heartbeat, Response
from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli.client import availability_of, understand
from allora_mqtt_cli.connection import Message
from allora_mqtt_cli.errors import CliError

_M = TypeVar("_M", bound=BaseModel)

MISSED_BEATS: Final = 2.5
"""After this many intervals without a heartbeat the bot counts as silent."""


class Heard:
    """A bot as its messages tell it.

    Args:
        topics: the bot's topics.
        heartbeat_interval_s: how often it is expected to show a sign of life.
        also: further state topics to follow, and what they hold.

    Attributes:
        topics: as given.
        interval_s: the expected time between heartbeats.
        availability: what the bot, or the broker in its place, said last.
        coins: the state of each coin that is active or has a position.
        beat_at: when the last heartbeat came, on the monotonic clock.
        unreadable: what is wrong with the last message that could not be read.
    """

    def __init__(
        self, topics: Topics, heartbeat_interval_s: float, also: Mapping[str, type[BaseModel]] | None = None
    ) -> None:
        self.topics = topics
        self.interval_s = heartbeat_interval_s
        self.availability: Availability | None = None
        self.coins: dict[str, CryptoState] = {}
        self.beat_at: float | None = None
        self.unreadable: str | None = None
        self._newest: dict[str, BaseModel] = {}
        self._models: dict[str, type[BaseModel]] = {
            topics.status: BotStatus,
            topics.account: Account,
            topics.cryptos: ActiveSet,
            topics.heartbeat: Heartbeat,
            topics.last_command: Response,
            **(also or {}),
        }

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return (*self._models, self.topics.availability, self.topics.crypto("+"))

    @property
    def has_content(self) -> bool:
        """Whether anything has been heard yet."""
        return bool(self._newest)

    @property
    def active(self) -> dict[str, int]:
        """The active coins with their topics."""
        active = self.get(self.topics.cryptos, ActiveSet)
        return active.root if active else {}

    def take(self, message: Message) -> None:
        """Take over a message of state; others are ignored."""
        symbol = self.topics.crypto_shown_on(message.topic)
        try:
            if message.topic == self.topics.availability:
                self.availability = availability_of(message.payload)
            elif message.topic in self._models:
                self._take_model(message)
            elif symbol is not None:
                self._take_coin(symbol, message)
        except CliError as error:
            self.unreadable = error.message

    def get(self, topic: str, model: type[_M]) -> _M | None:
        """Return the newest message of a topic, or None where there is none."""
        message = self._newest.get(topic)
        return message if isinstance(message, model) else None

    def is_silent(self, now: float) -> bool:
        """Whether the bot is gone, or its heartbeats are overdue.

        Args:
            now: on the monotonic clock, as the messages' arrival times.
        """
        if self.availability is Availability.OFFLINE:
            return True
        return self.beat_at is not None and now - self.beat_at > MISSED_BEATS * self.interval_s

    def _take_model(self, message: Message) -> None:
        if not message.payload:
            self._newest.pop(message.topic, None)
            return
        self._newest[message.topic] = understand(self._models[message.topic], message.payload, message.topic)
        if message.topic == self.topics.heartbeat:
            self.beat_at = message.received_at

    def _take_coin(self, symbol: str, message: Message) -> None:
        if message.payload:
            self.coins[symbol] = understand(CryptoState, message.payload, message.topic)
        else:
            self.coins.pop(symbol, None)
