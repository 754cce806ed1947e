"""The contract as an AsyncAPI 3 document: https://www.asyncapi.com/docs/reference/specification/v3.0.0."""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from allora_mqtt.protocol import examples, schema
from allora_mqtt.protocol.messages import PROTOCOL_VERSION, Availability
from allora_mqtt.protocol.schema import COMMANDS, WORDS, Delivery, Schemas
from allora_mqtt.protocol.topics import LogLevel

ASYNCAPI_VERSION: Final = "3.0.0"
_BINDING: Final = {"bindingVersion": "0.2.0"}
_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "base": {"description": "The base topic, `MQTT_BASE_TOPIC`; may hold slashes.", "default": "bot"},
    "symbol": {"description": "A coin as HyperLiquid names it.", "examples": ["BTC"]},
    "key": {"description": "A runtime setting, as in the message `config`.", "examples": ["price_gap_pct"]},
    "level": {"description": "How bad it is.", "enum": list(LogLevel)},
    "name": {"description": "What was commanded: `mode`, `cryptos`, `config` or the action.", "examples": ["mode"]},
}
_PARAMETER: Final = re.compile(r"{(\w+)}")
_WORDS: Final[Mapping[str, str]] = {
    "availability": "Whether the bot is there; its will sends `offline` when the connection breaks.",
    "mode": "The mode that is in force.",
}
_HEARTBEAT_NOTE: Final = (
    "After each connect and SUBSCRIBE one goes out with QoS 1: when it comes back to the bot, all that waited has."
)

Document = dict[str, Any]


def describe() -> Document:
    """Return the document: what the bot receives and sends, with the schema, QoS and retain flag of each message."""
    schemas = Schemas.under("#/components/schemas")
    sent = [*WORDS, *schemas.messages]
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "allora-mqtt",
            "version": f"{PROTOCOL_VERSION}.0.0",
            "description": "How the trading bot AlloraMind is steered and seen over MQTT. The bot is the application: "
            "it receives commands and sends answers, its state and events.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": {_identifier(topic): _channel(topic) for topic in [*COMMANDS, *sent]},
        "operations": {
            **{f"receive_{_identifier(topic)}": _received(topic) for topic in COMMANDS},
            **{f"send_{_identifier(topic)}": _sent(topic) for topic in sent},
        },
        "components": {
            "messages": {
                **{f"{_identifier(topic)}_json": _json_command(topic, schemas) for topic in COMMANDS},
                **{f"{_identifier(topic)}_bare": _bare_command(topic) for topic in COMMANDS if examples.BARE[topic]},
                **{_identifier(topic): _word(topic, word) for topic, word in WORDS.items()},
                **{_identifier(topic): _message(topic, schemas) for topic in schemas.messages},
            },
            "schemas": schemas.definitions,
        },
    }


def _server() -> Document:
    will = {"topic": "bot/availability", "qos": 1, "message": Availability.OFFLINE.value, "retain": True}
    session = {"clientId": "allora-mqtt-bot", "cleanSession": False, "lastWill": will}
    return {
        "host": "{host}:{port}",
        "protocol": "mqtt",
        "description": "The broker of `MQTT_HOST`, by MQTT 5 or 3.1.1. Both ends keep a session there.",
        "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "1883"}},
        "bindings": {"mqtt": {**session, **_BINDING}},
    }


def _identifier(topic: str) -> str:
    return _PARAMETER.sub(r"\1", topic).replace("/", "_")


def _message_names(topic: str) -> list[str]:
    if topic not in COMMANDS:
        return [_identifier(topic)]
    return [f"{_identifier(topic)}_{form}" for form in (("bare", "json") if examples.BARE[topic] else ("json",))]


def _channel(topic: str) -> Document:
    address = f"{{base}}/{topic}"
    return {
        "address": address,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(topic)},
        "parameters": {name: _PARAMETERS[name] for name in _PARAMETER.findall(address)},
    }


def _in_channel(topic: str) -> Document:
    channel = f"#/channels/{_identifier(topic)}"
    names = _message_names(topic)
    return {"channel": {"$ref": channel}, "messages": [{"$ref": f"{channel}/messages/{name}"} for name in names]}


def _received(topic: str) -> Document:
    is_action = topic.startswith("request/")
    binding = {"qos": 1, "retain": False} if is_action else {"qos": 1}
    return {
        "action": "receive",
        "summary": _summary(COMMANDS[topic]),
        "description": "Done once, each time it is sent; never retained."
        if is_action
        else "The state to be in. May be retained: it then waits for the bot, runs once, and is removed.",
        **_in_channel(topic),
        "bindings": {"mqtt": {**binding, **_BINDING}},
        "reply": _in_channel("response/{name}"),
    }


def _sent(topic: str) -> Document:
    delivery = Delivery.of(topic)
    note = {"description": _HEARTBEAT_NOTE} if topic == "heartbeat" else {}
    return {
        "action": "send",
        **note,
        **_in_channel(topic),
        "bindings": {"mqtt": {"qos": delivery.qos, "retain": delivery.is_retained, **_BINDING}},
    }


def _json_command(topic: str, schemas: Schemas) -> Document:
    short = [json.dumps(example) for example in examples.JSON[topic] if not _is_whole(example, topic)]
    note = {"description": f"The value alone is read too: `{'`, `'.join(short)}`."} if short else {}
    return {
        "name": _identifier(topic),
        "summary": _summary(COMMANDS[topic]),
        **note,
        "contentType": "application/json",
        "payload": schemas.commands[topic],
        "examples": [{"payload": example} for example in examples.JSON[topic] if _is_whole(example, topic)],
    }


def _is_whole(example: object, topic: str) -> bool:
    """Tell whether it is the long form, with `value`; the schema is that of this form."""
    return isinstance(example, dict) and (topic.startswith("request/") or "value" in example)


def _bare_command(topic: str) -> Document:
    forms = list(examples.BARE[topic])
    return {
        "name": _identifier(topic),
        "summary": "The same as text; words in any case.",
        "contentType": "text/plain",
        "payload": {"type": "string", "examples": forms},
    }


def _word(topic: str, word: type[StrEnum]) -> Document:
    return {
        "name": topic,
        "summary": _WORDS[topic],
        "contentType": "text/plain",
        "payload": {"type": "string", "enum": list(word)},
    }


def _message(topic: str, schemas: Schemas) -> Document:
    return {"name": _identifier(topic), "summary": _summary(schema.MESSAGES[topic]), "payload": schemas.messages[topic]}


def _summary(model: type) -> str:
    return (model.__doc__ or "").partition("\n")[0]
