"""Every command of the contract, and how its payload is read and written.

A payload is either bare (`ACTIVE`, `BTC,ETH`, `0.4`, nothing at all) or JSON, alone or inside an envelope. Reading
never raises on what a stranger sends: the result holds the command or the reason why it is none, and in both cases as
much of the envelope as could be understood, so that the sender gets an answer with its own id.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, JsonValue, StringConstraints, TypeAdapter, ValidationError, field_validator

from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.model import NOT_BOOL, Model, Timestamp
from allora_mqtt.protocol.topics import SYMBOL_PATTERN, Address, Slot

MAX_PAYLOAD_BYTES: Final = 64 * 1024

MAX_DEPTH: Final = 64
"""Objects and arrays inside one another, at most: what came in must fit into a response, and that into another."""

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
    expires_at: Timestamp | None = None
    source: _Label | None = None
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
    """Something that is done once, each time it is asked for."""


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
    """The newest fills, of one symbol or of all."""

    name: ClassVar[str] = "trades"
    limit: _Limit = 50
    symbol: Symbol | None = None
    since: Timestamp | None = None


class Performance(Action):
    """Profit and loss by day and by coin."""

    name: ClassVar[str] = "performance"
    days: Annotated[int, Field(ge=1, le=3650), NOT_BOOL] = 30


class SearchCatalog(Action):
    """Search what can be traded and predicted."""

    name: ClassVar[str] = "catalog"
    search: Annotated[str, StringConstraints(max_length=64)] = ""
    availability: Literal["both", "hyperliquid", "allora", "all"] = "all"
    active: bool | None = None


class ActivateSet(Action):
    """Make a named set of symbols the active set."""

    name: ClassVar[str] = "activate_set"
    set_name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")] = Field(default="popular", alias="name")


class Shutdown(Action):
    """End the process, in order."""

    name: ClassVar[str] = "shutdown"


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
        Performance,
        SearchCatalog,
        ActivateSet,
        Shutdown,
    )
}
"""Every action by its name in `<base>/request/<name>`."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A payload that was read: the command, or why it is none.

    Attributes:
        name: the command's name for the response, the journal and the log.
        envelope: whatever of the envelope was understood.
        body: the command, or None where the payload could not be read.
        error: why there is no command.
    """

    name: str
    envelope: Envelope
    body: Body | None
    error: Rejected | None

    @classmethod
    def refused(cls, name: str, envelope: Envelope, error: Rejected) -> Self:
        """Return the result for a payload that is no command."""
        return cls(name, envelope, None, error)


def name_of(address: Address) -> str:
    """Return what commands sent to this address are called."""
    match address.slot:
        case Slot.REQUEST:
            return address.part
        case Slot.MODE:
            return "mode"
        case Slot.CRYPTOS | Slot.CRYPTO:
            return "cryptos"
        case Slot.CONFIG | Slot.CONFIG_KEY:
            return "config"


def read(address: Address, payload: bytes, max_bytes: int = MAX_PAYLOAD_BYTES) -> Parsed:
    """Read a command.

    Args:
        address: where it was sent.
        payload: the bytes as they came.
        max_bytes: longer payloads are refused unread.

    Returns:
        The command, or the reason (`TOO_LARGE`, `BAD_JSON`, `BAD_VALUE`, `UNSUPPORTED_ACTION`) why it is none.
    """
    name = name_of(address)
    if len(payload) > max_bytes:
        message = f"The payload has {len(payload)} bytes; at most {max_bytes} are read."
        return Parsed.refused(name, Envelope(), Rejected(ErrorCode.TOO_LARGE, message))
    envelope = Envelope()
    try:
        content = _decode(payload)
        fields, envelope_fields = _split(content)
        envelope, fault = _read_envelope(envelope_fields)
        if fault is not None:
            raise fault
        _check_value_is_there(address, fields, envelope_fields)
        return Parsed(name, envelope, _build(address, fields), None)
    except Rejected as error:
        return Parsed.refused(name, envelope, error)


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


def _decode(payload: bytes) -> JsonValue:
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise Rejected(ErrorCode.BAD_JSON, f"The payload is not UTF-8 (byte {error.start}).") from error
    if "\x00" in text:
        raise Rejected(ErrorCode.BAD_VALUE, "The payload holds a NUL character.")
    if not text.startswith(("{", "[", '"')):
        return text
    try:
        content: JsonValue = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        reason = _TOO_DEEP if isinstance(error, RecursionError) else str(error)
        raise Rejected(ErrorCode.BAD_JSON, f"The payload looks like JSON and is not: {reason}.") from error
    if _is_deeper(content, MAX_DEPTH):
        raise Rejected(ErrorCode.BAD_JSON, f"The payload cannot be read: {_TOO_DEEP}.")
    return content


_TOO_DEEP: Final = f"it is nested more than {MAX_DEPTH} levels deep"


def _is_deeper(content: JsonValue, levels: int) -> bool:
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else None
    if inner is None:
        return False
    return levels == 0 or any(_is_deeper(value, levels - 1) for value in inner)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key {twice!r} is there twice")
    return fields


def _split(content: JsonValue) -> tuple[JsonValue, dict[str, JsonValue]]:
    """Separate a payload into the command's own part and the envelope's fields."""
    if not isinstance(content, dict):
        return content, {}
    envelope_keys = Envelope.model_fields.keys()
    envelope = {key: value for key, value in content.items() if key in envelope_keys}
    fields = {key: value for key, value in content.items() if key not in envelope_keys}
    return fields, envelope


def _read_envelope(fields: dict[str, JsonValue]) -> tuple[Envelope, Rejected | None]:
    understood: dict[str, JsonValue] = {}
    fault: Rejected | None = None
    for key, value in fields.items():
        try:
            Envelope.model_validate({key: value})
            understood[key] = value
        except ValidationError as invalid:
            fault = _bad_value(invalid)
    return Envelope.model_validate(understood), fault


def _build(address: Address, fields: JsonValue) -> Body:
    try:
        match address.slot:
            case Slot.MODE:
                return SetMode.model_validate(_as_value(fields))
            case Slot.CRYPTOS:
                return SetCryptos.model_validate(_as_value(fields))
            case Slot.CRYPTO:
                wrapped = _as_value(fields)
                if wrapped.get("symbol", address.part) != address.part:
                    raise Rejected(ErrorCode.BAD_VALUE, "symbol: the topic names the symbol; leave it out here.")
                return SetCrypto.model_validate({**wrapped, "symbol": address.part})
            case Slot.CONFIG:
                return SetConfig.model_validate(_as_value(fields))
            case Slot.CONFIG_KEY:
                wrapped = _as_value(fields)
                return SetConfig.model_validate({**wrapped, "value": {address.part: wrapped["value"]}})
            case Slot.REQUEST:
                return _build_action(address.part, fields)
    except ValidationError as invalid:
        raise _bad_value(invalid) from invalid


def _check_value_is_there(address: Address, fields: JsonValue, envelope_fields: dict[str, JsonValue]) -> None:
    """Refuse a JSON object that does not name the command's own part; only a bare set and bare settings need not."""
    if not isinstance(fields, dict) or "value" in fields or not address.is_desired_state:
        return
    if envelope_fields or address.slot not in {Slot.CRYPTOS, Slot.CONFIG}:
        raise Rejected(ErrorCode.BAD_VALUE, 'The JSON object lacks "value", for example {"value": …, "id": "…"}.')


def _as_value(fields: JsonValue) -> dict[str, JsonValue]:
    return fields if isinstance(fields, dict) and "value" in fields else {"value": fields}


def _build_action(name: str, fields: JsonValue) -> Action:
    model = ACTIONS.get(name)
    if model is None:
        raise Rejected(ErrorCode.UNSUPPORTED_ACTION, f"There is no action {name!r}; there are: {', '.join(ACTIONS)}.")
    if isinstance(fields, str) and fields.upper() in {"", "PRESS"}:
        fields = {}
    if not isinstance(fields, dict):
        raise Rejected(
            ErrorCode.BAD_VALUE, f"The payload of {name!r} is empty, PRESS, or a JSON object of its arguments."
        )
    return model.model_validate(fields)


def _bad_value(invalid: ValidationError) -> Rejected:
    error = invalid.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in error["loc"]) or "the payload"
    shown = json.dumps(error["input"], default=str)[:80]
    reason = error["msg"].removeprefix("Value error, ")
    return Rejected(ErrorCode.BAD_VALUE, f"{place}: {reason} (got {shown}).")


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
            raise ValueError(f"{symbol.strip()} is there twice")
        symbols[symbol.strip()] = _TOPIC_ID.validate_python(topic.strip()) if colon else None
    return symbols
