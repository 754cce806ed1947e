"""How the payload of a command is read.

It is either bare (`ACTIVE`, `BTC,ETH`, `0.4`, nothing at all) or JSON, alone or inside an envelope. Reading never
raises on what a stranger sends: the result holds the command or the reason why it is none, and in both cases as much
of the envelope as could be understood, so that the sender gets an answer with its own id.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from pydantic import JsonValue, ValidationError

from allora_mqtt.protocol.commands import (
    ACTIONS,
    Action,
    Body,
    Envelope,
    SetConfig,
    SetCrypto,
    SetCryptos,
    SetMode,
)
from allora_mqtt.protocol.errors import ErrorCode, Rejected, excerpt
from allora_mqtt.protocol.signed import Proof, proof_in
from allora_mqtt.protocol.topics import Address, Slot

MAX_PAYLOAD_BYTES: Final = 64 * 1024

MAX_DEPTH: Final = 64
"""Objects and arrays inside one another, at most: what came in must fit into a response, and that into another."""

_LONGEST_KEY: Final = 64

_TOO_DEEP: Final = f"it is nested more than {MAX_DEPTH} levels deep"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A payload that was read: the command, or why it is none.

    Attributes:
        name: the command's name for the response, the journal and the log.
        envelope: whatever of the envelope was understood.
        body: the command, or None where the payload could not be read.
        error: why there is no command.
        proof: what the payload says of who signed it.
        signed_by: who has signed it, once that is known to be true.
    """

    name: str
    envelope: Envelope
    body: Body | None
    error: Rejected | None
    proof: Proof | None = None
    signed_by: str | None = None

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
    """Read a command, signed or not; whether a signature is true is for others to judge.

    Args:
        address: where it was sent.
        payload: the bytes as they came.
        max_bytes: longer payloads are refused unread.

    Returns:
        The command, or the reason (`TOO_LARGE`, `BAD_JSON`, `BAD_VALUE`, `UNSUPPORTED_ACTION`) why it is none.
    """
    if len(payload) > max_bytes:
        message = f"The payload has {len(payload)} bytes; at most {max_bytes} are read."
        return Parsed.refused(name_of(address), Envelope(), Rejected(ErrorCode.TOO_LARGE, message))
    proof = None
    try:
        content = decode(payload)
        proof = proof_in(content)
        if proof is not None:
            topic, content = _signed_command(proof)
            proof = replace(proof, topic=topic)
    except Rejected as error:
        return replace(Parsed.refused(name_of(address), Envelope(), error), proof=proof)
    return replace(understand(address, content), proof=proof)


def _signed_command(proof: Proof) -> tuple[str | None, JsonValue]:
    """Return what was signed: the topic it was signed for, and the command."""
    content = decode(proof.text.encode())
    if not isinstance(content, dict):
        raise Rejected(ErrorCode.BAD_JSON, "What was signed is not a JSON object.")
    topic = content.pop("topic", None)
    return (topic if isinstance(topic, str) else None), content


def understand(address: Address, content: JsonValue) -> Parsed:
    """Make a command of what a payload says.

    Args:
        address: where it was sent.
        content: the payload's JSON, or its bare text.
    """
    name = name_of(address)
    fields, envelope_fields = _split(content)
    envelope, fault = _read_envelope(envelope_fields)
    try:
        if fault is not None:
            raise fault
        _check_value_is_there(address, fields, envelope_fields)
        return Parsed(name, envelope, _build(address, fields), None)
    except Rejected as error:
        return Parsed.refused(name, envelope, error)


def envelope_in(content: JsonValue) -> Envelope:
    """Return as much of the envelope as can be understood."""
    envelope, _ = _read_envelope(_split(content)[1])
    return envelope


def decode(payload: bytes) -> JsonValue:
    """Return the JSON of a payload, or its text where it is bare.

    Raises:
        Rejected: `BAD_JSON`, or `BAD_VALUE` for text with a NUL in it.
    """
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
        raise ValueError(f"the key {excerpt(twice)} is there twice")
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
        raise Rejected(
            ErrorCode.UNSUPPORTED_ACTION, f"There is no action {excerpt(name)}; there are: {', '.join(ACTIONS)}."
        )
    if isinstance(fields, str) and fields.upper() in {"", "PRESS"}:
        fields = {}
    if not isinstance(fields, dict):
        raise Rejected(
            ErrorCode.BAD_VALUE, f"The payload of {name!r} is empty, PRESS, or a JSON object of its arguments."
        )
    return model.model_validate(fields)


def _shown(part: str | int) -> str:
    text = str(part)
    return text if text.isidentifier() and len(text) <= _LONGEST_KEY else excerpt(text)


def _bad_value(invalid: ValidationError) -> Rejected:
    error = invalid.errors(include_url=False, include_context=False)[0]
    place = ".".join(_shown(part) for part in error["loc"]) or "the payload"
    shown = json.dumps(error["input"], default=str)[:80]
    reason = error["msg"].removeprefix("Value error, ")
    return Rejected(ErrorCode.BAD_VALUE, f"{place}: {reason} (got {shown}).")
