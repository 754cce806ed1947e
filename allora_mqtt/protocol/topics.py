"""The topic tree: where each command comes in and where each state and answer goes out."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

BASE_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
"""No wildcards, `$`, spaces or dots: every broker routes these, NATS behind its MQTT gateway too."""

SYMBOL_PATTERN: Final = re.compile(r"[A-Za-z0-9]{1,20}")


class Slot(StrEnum):
    """The kinds of topic a command can come in on."""

    MODE = "mode"
    CRYPTOS = "cryptos"
    CRYPTO = "crypto"
    CONFIG = "config"
    CONFIG_KEY = "config_key"
    REQUEST = "request"


class Event(StrEnum):
    """The types of `<base>/event/<type>`."""

    MODE_CHANGED = "mode_changed"
    CRYPTO_CHANGED = "crypto_changed"
    SIGNAL = "signal"
    ORDER = "order"
    FILL = "fill"
    POSITION_CLOSED = "position_closed"
    BREAKER_OPENED = "breaker_opened"
    BREAKER_CLOSED = "breaker_closed"
    COMMAND = "command"


class LogLevel(StrEnum):
    """The levels of `<base>/log/<level>`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a command was sent: the kind of topic and the symbol, key or action in it, as written there."""

    slot: Slot
    part: str = ""

    @property
    def is_desired_state(self) -> bool:
        """Whether this is a `/set` topic, which may hold a retained command."""
        return self.slot is not Slot.REQUEST


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic under one base topic.

    Attributes:
        base: the base topic; may hold slashes (`bots/alice`).

    Raises:
        ValueError: the base holds characters that some brokers cannot route.
    """

    base: str = "bot"

    def __post_init__(self) -> None:
        if not BASE_PATTERN.fullmatch(self.base):
            raise ValueError(
                f"The base topic {self.base!r} cannot be used: letters, digits, '-' and '_', in levels split by '/'."
            )

    def command_filters(self) -> tuple[str, ...]:
        """Return the subscriptions of desired-state commands."""
        return tuple(
            f"{self.base}/{tail}" for tail in ("mode/set", "cryptos/set", "cryptos/+/set", "config/set", "config/+/set")
        )

    @property
    def request_filter(self) -> str:
        """The subscription of actions."""
        return f"{self.base}/request/+"

    def address(self, topic: str) -> Address | None:
        """Tell which command slot a topic is, or None where it is none."""
        prefix, _, tail = topic.partition(f"{self.base}/")
        # No broker may deliver these characters in a topic, and nothing could be published there in return.
        if prefix or set("+#\0") & set(tail):
            return None
        match tail.split("/"):
            case [("mode" | "cryptos" | "config") as slot, "set"]:
                return Address(Slot(slot))
            case ["cryptos", symbol, "set"]:
                return Address(Slot.CRYPTO, symbol)
            case ["config", key, "set"]:
                return Address(Slot.CONFIG_KEY, key)
            case ["request", action]:
                return Address(Slot.REQUEST, action)
        return None

    def command(self, address: Address) -> str:
        """Return the topic a command for this address is sent to."""
        match address.slot:
            case Slot.REQUEST:
                return f"{self.base}/request/{address.part}"
            case Slot.CRYPTO:
                return f"{self.base}/cryptos/{address.part}/set"
            case Slot.CONFIG_KEY:
                return f"{self.base}/config/{address.part}/set"
            case Slot.MODE | Slot.CRYPTOS | Slot.CONFIG:
                return f"{self.base}/{address.slot}/set"

    def response(self, name: str) -> str:
        """Return where the answer to a command of this name goes."""
        return f"{self.base}/response/{name if re.fullmatch(r'[a-z_]{1,64}', name) else 'unknown'}"

    def event(self, event: Event) -> str:
        """Return where events of this type go."""
        return f"{self.base}/event/{event}"

    def log(self, level: LogLevel) -> str:
        """Return where lines of the log of this level go."""
        return f"{self.base}/log/{level}"

    def crypto(self, symbol: str) -> str:
        """Return the state topic of one symbol."""
        return f"{self.base}/cryptos/{symbol}"

    def crypto_shown_on(self, topic: str) -> str | None:
        """Return the symbol whose state topic this is, or None where it is none."""
        head, _, symbol = topic.rpartition("/")
        return symbol if head == f"{self.base}/cryptos" and symbol != "set" else None

    def set_topic_for(self, topic: str) -> str | None:
        """Return the command topic of what a state topic shows, or None for what no command sets."""
        has_one = topic in {self.mode, self.cryptos, self.config} or self.crypto_shown_on(topic) is not None
        return f"{topic}/set" if has_one else None

    def state_topics(self) -> tuple[str, ...]:
        """Return the retained topics that are always there, those of single symbols left out."""
        return (
            self.availability,
            self.mode,
            self.status,
            self.info,
            self.config,
            self.cryptos,
            self.catalog,
            self.account,
            self.positions,
            self.health,
            self.last_command,
        )

    @property
    def availability(self) -> str:
        """`online` or `offline`."""
        return f"{self.base}/availability"

    @property
    def mode(self) -> str:
        """The bare mode."""
        return f"{self.base}/mode"

    @property
    def status(self) -> str:
        """The one JSON for dashboards."""
        return f"{self.base}/status"

    @property
    def info(self) -> str:
        """Version, network, capabilities, settings."""
        return f"{self.base}/info"

    @property
    def config(self) -> str:
        """The runtime settings in force."""
        return f"{self.base}/config"

    @property
    def cryptos(self) -> str:
        """The active set."""
        return f"{self.base}/cryptos"

    @property
    def catalog(self) -> str:
        """Every symbol with its availability."""
        return f"{self.base}/catalog"

    @property
    def account(self) -> str:
        """Equity, margin and PnL."""
        return f"{self.base}/account"

    @property
    def positions(self) -> str:
        """The positions with their stop and target."""
        return f"{self.base}/positions"

    @property
    def health(self) -> str:
        """The state of each dependency."""
        return f"{self.base}/health"

    @property
    def last_command(self) -> str:
        """The newest response."""
        return f"{self.base}/last_command"

    @property
    def heartbeat(self) -> str:
        """A sign of life every few seconds."""
        return f"{self.base}/heartbeat"
