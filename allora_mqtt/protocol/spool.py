"""Commands as files, the second way in: what such a file says, what it is called, and where it ends.

A file holds one JSON object: the command's `name` (`mode`, `cryptos`, `config` or an action), its `value` or its
arguments, and the envelope as on MQTT. `cryptos` with a `symbol` beside it is about one coin. An action's arguments
stand beside the name or in `arguments`, where one may be called `name` itself.
"""

import json
import re
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from allora_mqtt.protocol import commands, reading
from allora_mqtt.protocol.commands import ACTIONS, Body, Envelope
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import Status
from allora_mqtt.protocol.reading import Parsed
from allora_mqtt.protocol.topics import Address, Slot

FOLDER: Final = "spool"
"""The folder in `BOT_DATA_DIR` that holds the three below."""
PENDING: Final = "pending"
PROCESSED: Final = "processed"
FAILED: Final = "failed"

MAX_FILE_BYTES: Final = reading.MAX_PAYLOAD_BYTES

UNKNOWN: Final = "unknown"
"""The name of a command that does not say what it is."""

_SLOTS: Final = {"mode": Slot.MODE, "cryptos": Slot.CRYPTOS, "config": Slot.CONFIG}
_ENDED_WELL: Final = {Status.EXECUTED, Status.DUPLICATE, Status.SUPERSEDED}
_RESPONSE_SUFFIX: Final = ".response.json"
_LONGEST_NAME: Final = 200
"""Bytes that are kept of a file's name: with what is put before and behind it, it must fit into the 255 of a disk."""


def read(content: bytes) -> Parsed:
    """Read the content of a file.

    Returns:
        The command, or the reason (`TOO_LARGE`, `BAD_JSON`, `BAD_VALUE`, `UNSUPPORTED_ACTION`) why it is none.
    """
    try:
        fields = _object_in(content)
    except Rejected as error:
        return Parsed.refused(UNKNOWN, Envelope(), error)
    name = fields.pop("name", None)
    try:
        address = _address_of(name, fields)
        if address.slot is Slot.REQUEST:
            fields |= _arguments_in(fields)
    except Rejected as error:
        known = isinstance(name, str) and (name in _SLOTS or name in ACTIONS)
        return Parsed.refused(str(name) if known else UNKNOWN, reading.envelope_in(fields), error)
    return reading.understand(address, fields)


def write(body: Body, envelope: Envelope | None = None) -> bytes:
    """Return the content of the file for a command."""
    address, payload = commands.write(body, envelope)
    fields: dict[str, JsonValue] = json.loads(payload)
    carried = {key: fields.pop(key) for key in Envelope.model_fields if key in fields}
    if address.slot is Slot.REQUEST:
        fields = {"arguments": fields} if fields else {}
    elif address.slot is Slot.CRYPTO:
        fields = {"symbol": address.part, **fields}
    return json.dumps({"name": body.name, **fields, **carried}, separators=(",", ":")).encode()


def file_name(at: datetime, command_id: str) -> str:
    """Return a name for a command's file; names sort by time, and the bot takes files in the order of their names."""
    safe_id = re.sub(r"[^A-Za-z0-9_-]", "_", command_id)[:64]
    return f"{int(at.timestamp() * 1000)}-{safe_id}.json"


def is_command_file(name: str) -> bool:
    """Tell whether a file in `pending/` is a command, rather than one that is still being written."""
    return not name.startswith(".") and not name.endswith(".tmp")


def ended_in(status: Status) -> str:
    """Return the folder for commands that ended like this."""
    return PROCESSED if status in _ENDED_WELL else FAILED


def ended_name(seq: int, name: str) -> str:
    """Return what a command's file is called after its end.

    Args:
        seq: the command's journal entry.
        name: what the file was called in `pending/`.
    """
    return f"{seq}-{name.encode()[:_LONGEST_NAME].decode(errors='ignore')}"


def response_name(seq: int, name: str) -> str:
    """Return what the file with the response is called."""
    return f"{ended_name(seq, name)}{_RESPONSE_SUFFIX}"


def is_response_to(name: str, found: str) -> bool:
    """Tell whether a file that was found holds the response to the command in the file of this name."""
    seq = found.partition("-")[0]
    return seq.isdecimal() and found == response_name(int(seq), name)


def _object_in(content: bytes) -> dict[str, JsonValue]:
    if len(content) > MAX_FILE_BYTES:
        raise Rejected(ErrorCode.TOO_LARGE, f"The file is longer than the {MAX_FILE_BYTES} bytes that are read.")
    fields = reading.decode(content)
    if not isinstance(fields, dict):
        message = 'The file does not hold one JSON object, for example {"name":"mode","value":"STANDBY"}.'
        raise Rejected(ErrorCode.BAD_JSON, message)
    return fields


def _address_of(name: JsonValue, fields: dict[str, JsonValue]) -> Address:
    if not isinstance(name, str) or not name:
        raise Rejected(ErrorCode.BAD_VALUE, 'The file lacks "name", for example {"name":"mode","value":"STANDBY"}.')
    if name in ACTIONS:
        return Address(Slot.REQUEST, name)
    if name not in _SLOTS:
        known = ", ".join([*_SLOTS, *ACTIONS])
        raise Rejected(ErrorCode.UNSUPPORTED_ACTION, f"There is no command {name[:64]!r}; there are: {known}.")
    if "value" not in fields:
        raise Rejected(ErrorCode.BAD_VALUE, f'The file lacks "value", for example {{"name":"{name}","value":…}}.')
    if name == "cryptos" and "symbol" in fields:
        symbol = fields.pop("symbol")
        if not isinstance(symbol, str):
            raise Rejected(ErrorCode.BAD_VALUE, 'symbol: a string is wanted, for example "BTC".')
        return Address(Slot.CRYPTO, symbol)
    return Address(_SLOTS[name])


def _arguments_in(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Take the arguments out of their own object, where the sender put them there."""
    arguments = fields.pop("arguments", {})
    if not isinstance(arguments, dict):
        raise Rejected(ErrorCode.BAD_VALUE, 'arguments: a JSON object is wanted, for example {"symbol":"BTC"}.')
    twice = arguments.keys() & (fields.keys() | Envelope.model_fields.keys())
    if twice:
        raise Rejected(ErrorCode.BAD_VALUE, f"arguments: {min(twice)!r} does not belong there, or is there twice.")
    return arguments
