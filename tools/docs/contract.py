"""The tables of docs/contract.md: topics, commands and codes, from the models that read and write them."""

import json
from collections.abc import Iterable
from typing import Any, Final

from allora_mqtt.protocol import examples
from allora_mqtt.protocol.commands import ACTIONS, Envelope
from allora_mqtt.protocol.errors import ErrorCode, WarningCode
from allora_mqtt.protocol.schema import COMMANDS, MESSAGES, WORDS, Delivery, Schemas
from tools.docs.markdown import anchor, code, codes, one_line, table
from tools.docs.members import meanings
from tools.docs.messages import shown, title
from tools.docs.shapes import Schema, Shapes, limits

_SCHEMAS: Final = Schemas.under("#/$defs")
_SHAPES: Final = Shapes(_SCHEMAS.definitions)


def blocks() -> dict[str, str]:
    """Return the generated parts of the page by name."""
    topics = [*WORDS, *MESSAGES]
    return {
        "commands": _commands(),
        "actions": _actions(),
        "envelope": _envelope(),
        "errors": _codes(meanings(ErrorCode)),
        "state": _overview(topic for topic in topics if Delivery.of(topic).is_retained),
        "passing": _overview(topic for topic in topics if not Delivery.of(topic).is_retained),
        "warnings": _codes(meanings(WarningCode)),
    }


def _commands() -> str:
    rows = []
    for topic in (topic for topic in COMMANDS if not topic.startswith("request/")):
        written = [json.dumps(each, separators=(",", ":")) for each in examples.JSON[topic]]
        rows.append((code(shown(topic)), codes(examples.BARE[topic]), codes(written)))
    rows.append((code("<base>/request/<action>"), "nothing, or `PRESS`", "an object of arguments"))
    return table(("topic", "bare payload", "JSON payload"), rows)


def _actions() -> str:
    rows = []
    for name, action in ACTIONS.items():
        schema = _SCHEMAS.commands[f"request/{name}"]
        own = [key for key in schema["properties"] if key not in Envelope.model_fields]
        arguments = "; ".join(_argument(key, schema) for key in own)
        rows.append((code(name), arguments, one_line((action.__doc__ or "").partition("\n")[0])))
    return table(("action", "arguments", "what it does"), rows)


def _argument(key: str, schema: Schema) -> str:
    field: dict[str, Any] = schema["properties"][key]
    what = limits(field) or _SHAPES.of(field).replace(" or null", "")
    if key in schema["required"]:
        return f"{code(key)}: {what}, needed"
    default = field.get("default")
    return f"{code(key)}: {what}{'' if default in (None, '', []) else f', default {code(default)}'}"


def _envelope() -> str:
    properties = _SCHEMAS.definitions["Envelope"]["properties"]
    rows = [
        (code(key), _SHAPES.of(schema).replace(" or null", ""), one_line(schema.get("description")))
        for key, schema in properties.items()
    ]
    return table(("field", "is", "what it means"), rows)


def _overview(topics: Iterable[str]) -> str:
    rows = [(code(shown(topic)), str(Delivery.of(topic).qos), _payload(topic)) for topic in topics]
    return table(("topic", "QoS", "payload"), rows)


def _payload(topic: str) -> str:
    if topic in WORDS:
        return codes(WORDS[topic])
    return f"[{MESSAGES[topic].__name__}](messages.md#{anchor(title(topic))})"


def _codes(told: dict[str, str]) -> str:
    rows = [(f"[{code(name)}](troubleshooting.md#{anchor(name)})", meaning) for name, meaning in told.items()]
    return table(("code", "meaning"), rows)
