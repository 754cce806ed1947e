"""Every command of the contract, and how one is written; `reading` has how it is read."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, JsonValue, StringConstraints, TypeAdapter, field_validator

from allora_mqtt.protocol.cursor import Cursor
from allora_mqtt.protocol.errors import excerpt
from allora_mqtt.protocol.model import NOT_BOOL, Model, Timestamp
from allora_mqtt.protocol.topics import SYMBOL_PATTERN, Address, Event, Slot

Symbol = Annotated[str, StringConstraints(pattern=f"^{SYMBOL_PATTERN.pattern}$")]
TopicId = Annotated[int, Field(ge=1, le=1_000_000_000), NOT_BOOL]
Scalar = Annotated[int | float | str, NOT_BOOL]
_Limit = Annotated[int, Field(ge=1, le=500), NOT_BOOL]
_Label = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Mode(StrEnum):
    """What the bot is allowed to do, from least to most."""

    STOPPED = "STOPPED"
    STANDBY = "STANDBY"
    ACTIVE = "ACTIVE"

    @property
    def risk(self) -> int:
        """0 for the mode that risks least, 2 for the one that trades."""
        return list(Mode).index(self)


class Switch(StrEnum):
    """Whether a symbol is in the active set."""

    ON = "ON"
    OFF = "OFF"


class Envelope(Model):
    """What a sender may say about a command besides the command; all of it optional."""

    id: _Label | None = None
    """The sender's own id: a command with an id runs once, for ever."""
    issued_at: Timestamp | None = None
    """When the sender gave it; by this the bot tells an older command from a newer one."""
    expires_at: Timestamp | None = None
    """A command that raises risk is not run when it arrives later than this."""
    source: _Label | None = None
    """Who sends it, as `cli:alice` or `node-red`."""
    transaction: JsonValue = None
    """Anything; comes back in the response."""


class Body(Model):
    """The command itself, without its envelope.

    Class attributes:
        name: what the response topic and the journal call it.
        overtakes: whether it runs at once, before everything that waits.
    """

    name: ClassVar[str]
    overtakes: ClassVar[bool] = False

    @property
    def reduces_risk(self) -> bool:
        """Whether it is honoured whatever its age, because it only ever takes risk away."""
        return False

    @property
    def is_urgent(self) -> bool:
        """Whether it waits for nothing."""
        return type(self).overtakes


class SetMode(Body):
    """`<base>/mode/set`."""

    name: ClassVar[str] = "mode"
    value: Mode

    @field_validator("value", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value

    @property
    def reduces_risk(self) -> bool:
        """STANDBY and STOPPED take risk away."""
        return self.value is not Mode.ACTIVE

    @property
    def is_urgent(self) -> bool:
        """STANDBY and STOPPED wait for nothing."""
        return self.value is not Mode.ACTIVE


class SetCryptos(Body):
    """`<base>/cryptos/set`: the whole active set; a symbol without a topic id gets the catalog's default topic."""

    name: ClassVar[str] = "cryptos"
    value: dict[Symbol, TopicId | None] = Field(max_length=1000)

    @field_validator("value", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, str):
            return _symbols_from_text(value)
        if isinstance(value, list):
            return _symbols_from_list(value)
        return value

    @property
    def reduces_risk(self) -> bool:
        """The empty set takes risk away."""
        return not self.value


class SetCrypto(Body):
    """`<base>/cryptos/<SYMBOL>/set`: one symbol on or off."""

    name: ClassVar[str] = "cryptos"
    symbol: Symbol
    value: Switch
    topic_id: TopicId | None = None

    @field_validator("value", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        if isinstance(value, bool):
            return Switch.ON if value else Switch.OFF
        return value.strip().upper() if isinstance(value, str) else value

    @property
    def reduces_risk(self) -> bool:
        """OFF takes risk away."""
        return self.value is Switch.OFF


class SetConfig(Body):
    """`<base>/config/set` and `<base>/config/<key>/set`: some runtime settings."""

    name: ClassVar[str] = "config"
    value: dict[Annotated[str, StringConstraints(max_length=64)], Scalar] = Field(min_length=1, max_length=100)


class Action(Body):
    """Something that is done once, each time it is asked for.

    Class attributes:
        may_repeat: whether it does no harm to do it again when the bot died in the middle of it.
    """

    may_repeat: ClassVar[bool] = True


class Close(Action):
    """Close the position in one symbol."""

    name: ClassVar[str] = "close"
    overtakes: ClassVar[bool] = True
    symbol: Symbol

    @property
    def reduces_risk(self) -> bool:
        """Closing takes risk away."""
        return True


class Flatten(Action):
    """Block entries, cancel orders, close every position, go to STANDBY."""

    name: ClassVar[str] = "flatten"
    overtakes: ClassVar[bool] = True

    @property
    def reduces_risk(self) -> bool:
        """Being flat takes all risk away."""
        return True


class CancelOrders(Action):
    """Cancel the resting entry orders; stops and targets of positions stay."""

    name: ClassVar[str] = "cancel_orders"

    @property
    def reduces_risk(self) -> bool:
        """Entry orders that rest are risk."""
        return True


class RefreshCatalog(Action):
    """Ask HyperLiquid and Allora again what can be traded and predicted."""

    name: ClassVar[str] = "refresh_catalog"


class PublishState(Action):
    """Publish every retained topic again."""

    name: ClassVar[str] = "publish_state"


class ResetBreaker(Action):
    """Close one breaker, or all of them."""

    name: ClassVar[str] = "reset_breaker"
    may_repeat: ClassVar[bool] = False
    breaker: _Label | None = Field(default=None, alias="name")


class ReloadConfig(Action):
    """Read the configuration files again and take over what may change while the bot runs."""

    name: ClassVar[str] = "reload_config"


class Ping(Action):
    """Answer."""

    name: ClassVar[str] = "ping"


class History(Action):
    """The newest commands with their outcomes."""

    name: ClassVar[str] = "history"
    limit: _Limit = 50


class Trades(Action):
    """The newest round trips or fills, of one symbol or of all."""

    name: ClassVar[str] = "trades"
    limit: _Limit = 50
    symbol: Symbol | None = None
    since: Timestamp | None = None
    kind: Literal["trades", "fills"] = "trades"
    before: Cursor | None = None
    """The page after an earlier answer: what that called `next`."""


class Events(Action):
    """The newest events, of some types or of all; those of `event/<type>`, as far back as the books go."""

    name: ClassVar[str] = "events"
    limit: _Limit = 50
    types: Annotated[tuple[Event, ...], Field(max_length=len(Event))] = ()
    """Of these types only; all of them where none is named."""
    since: Timestamp | None = None
    before: Cursor | None = None
    """The page after an earlier answer: what that called `next`."""


class Performance(Action):
    """Profit and loss by day, coin and topic, and how the trades went."""

    name: ClassVar[str] = "performance"
    days: Annotated[int, Field(ge=1, le=3650), NOT_BOOL] = 30
    """UTC days, today among them."""
    since: Timestamp | None = None
    """From the UTC day of this time on; instead of `days`."""


class SearchCatalog(Action):
    """Search what can be traded and predicted."""

    name: ClassVar[str] = "catalog"
    search: Annotated[str, StringConstraints(max_length=64)] = ""
    availability: Literal["both", "hyperliquid", "allora", "all"] = "all"
    active: bool | None = None


class Activate(Action):
    """Switch one symbol on, for senders that cannot put it into a topic."""

    name: ClassVar[str] = "activate"
    symbol: Symbol
    topic_id: TopicId | None = None


class ActivateSet(Action):
    """Make a named set of symbols the active set."""

    name: ClassVar[str] = "activate_set"
    may_repeat: ClassVar[bool] = False
    set_name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")] = Field(default="popular", alias="name")


class Shutdown(Action):
    """End the process, in order."""

    name: ClassVar[str] = "shutdown"
    may_repeat: ClassVar[bool] = False


ACTIONS: Final[Mapping[str, type[Action]]] = {
    action.name: action
    for action in (
        Close,
        Flatten,
        CancelOrders,
        RefreshCatalog,
        PublishState,
        ResetBreaker,
        ReloadConfig,
        Ping,
        History,
        Trades,
        Events,
        Performance,
        SearchCatalog,
        Activate,
        ActivateSet,
        Shutdown,
    )
}
"""Every action by its name in `<base>/request/<name>`."""

_MAX_BRIEF: Final = 80

QUESTIONS: Final = frozenset(action.name for action in (Ping, History, Trades, Events, Performance, SearchCatalog))
"""The actions that only ask: nothing changes by them, so that nobody needs to know later that they were asked."""


def write(body: Body, envelope: Envelope | None = None) -> tuple[Address, bytes]:
    """Return where a command is sent and its JSON payload, for anybody who sends commands."""
    fields = body.model_dump(mode="json", by_alias=True, exclude_none=True)
    match body:
        case SetMode():
            address = Address(Slot.MODE)
        case SetCryptos():
            address = Address(Slot.CRYPTOS)
        case SetCrypto():
            address = Address(Slot.CRYPTO, fields.pop("symbol"))
        case SetConfig():
            address = Address(Slot.CONFIG)
        case _:
            address = Address(Slot.REQUEST, body.name)
    if envelope is not None:
        fields |= envelope.model_dump(mode="json", exclude_none=True)
    return address, json.dumps(fields, separators=(",", ":")).encode()


def brief(body: Body) -> str | None:
    """Return in a few words what a command asks for beside its name: `ACTIVE`, `BTC ON`; None where that says all."""
    fields = body.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    text = " ".join(_in_words(value) for value in fields.values())
    return (text if len(text) <= _MAX_BRIEF else f"{text[: _MAX_BRIEF - 1]}…") or None


def _in_words(value: JsonValue) -> str:
    match value:
        case dict():
            return ", ".join(key if inner is None else f"{key} {inner}" for key, inner in value.items()) or "NONE"
        case list():
            return ", ".join(map(str, value))
    return str(value)


_TOPIC_ID: Final = TypeAdapter[int](TopicId)


def _symbols_from_text(text: str) -> dict[str, int | None]:
    if not text.strip():
        raise ValueError("no symbol is named; NONE empties the set")
    if text.strip().upper() == "NONE":
        return {}
    return _symbols_from_list([part.strip() for part in text.split(",")])


def _symbols_from_list(items: list[Any]) -> dict[str, int | None]:
    symbols: dict[str, int | None] = {}
    for item in items:
        if not isinstance(item, str):
            raise ValueError('a list of symbols holds strings only, for example ["BTC","ETH"]')  # noqa: TRY004 - pydantic turns ValueError into its own
        symbol, colon, topic = item.partition(":")
        if symbol.strip() in symbols:
            raise ValueError(f"{excerpt(symbol.strip())} is there twice")
        symbols[symbol.strip()] = _TOPIC_ID.validate_python(topic.strip()) if colon else None
    return symbols
