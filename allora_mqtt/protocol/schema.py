"""The contract as JSON Schemas, one for each topic and direction."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from allora_mqtt.protocol import messages
from allora_mqtt.protocol.commands import (
    ACTIONS,
    Body,
    Envelope,
    Mode,
    Scalar,
    SetConfig,
    SetCrypto,
    SetCryptos,
    SetMode,
)
from allora_mqtt.protocol.topics import Event

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class SetOneConfig(Body):
    """`<base>/config/<key>/set`: one runtime setting; read as `SetConfig` with the key of the topic."""

    name: ClassVar[str] = "config"
    value: Scalar


COMMANDS: Final[Mapping[str, type[Body]]] = {
    "mode/set": SetMode,
    "cryptos/set": SetCryptos,
    "cryptos/{symbol}/set": SetCrypto,
    "config/set": SetConfig,
    "config/{key}/set": SetOneConfig,
    **{f"request/{name}": model for name, model in ACTIONS.items()},
}
"""The command on each topic, without the base topic."""

MESSAGES: Final[Mapping[str, type[BaseModel]]] = {
    "response/{name}": messages.Response,
    "last_command": messages.Response,
    "status": messages.BotStatus,
    "info": messages.Info,
    "config": messages.ConfigState,
    "cryptos": messages.ActiveSet,
    "cryptos/{symbol}": messages.CryptoState,
    "catalog": messages.CatalogView,
    "account": messages.Account,
    "positions": messages.Positions,
    "health": messages.Health,
    "heartbeat": messages.Heartbeat,
    f"event/{Event.MODE_CHANGED}": messages.ModeChanged,
    f"event/{Event.CRYPTO_CHANGED}": messages.CryptoChanged,
    f"event/{Event.SIGNAL}": messages.SignalView,
    f"event/{Event.ORDER}": messages.OrderView,
    f"event/{Event.FILL}": messages.FillView,
    f"event/{Event.POSITION_CLOSED}": messages.PositionClosed,
    f"event/{Event.BREAKER_OPENED}": messages.BreakerChanged,
    f"event/{Event.BREAKER_CLOSED}": messages.BreakerChanged,
    f"event/{Event.COMMAND}": messages.CommandEvent,
    "log/{level}": messages.LogLine,
}
"""The JSON message on each topic, without the base topic."""

WORDS: Final[Mapping[str, type[StrEnum]]] = {"availability": messages.Availability, "mode": Mode}
"""The topics whose messages are one bare word."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the bot publishes on a topic."""

    qos: Literal[0, 1]
    is_retained: bool

    @classmethod
    def of(cls, topic: str) -> Self:
        """Return how messages go out on a topic of `MESSAGES` or `WORDS`."""
        is_fleeting = topic == "heartbeat" or topic.startswith("log/")
        is_passing = is_fleeting or topic.startswith(("event/", "response/"))
        return cls(0 if is_fleeting else 1, not is_passing)


@dataclass(frozen=True, slots=True)
class Schemas:
    """The JSON Schema of each command and message by topic, and the definitions that they share."""

    commands: Mapping[str, dict[str, Any]]
    messages: Mapping[str, dict[str, Any]]
    definitions: Mapping[str, dict[str, Any]]

    @classmethod
    def under(cls, place: str) -> Self:
        """Return the schemas for a document that keeps shared definitions at `place`, as `#/$defs`.

        A command's schema is that of its JSON form with the envelope's fields beside its own.
        """
        inputs: list[type[BaseModel]] = [*COMMANDS.values(), Envelope]
        outputs = list(dict.fromkeys(MESSAGES.values()))
        references, definitions = models_json_schema(
            [(model, "validation") for model in inputs] + [(model, "serialization") for model in outputs],
            ref_template=f"{place}/{{model}}",
        )
        shared = definitions["$defs"]
        return cls(
            {topic: _with_envelope(shared, model) for topic, model in COMMANDS.items()},
            {topic: references[model, "serialization"] for topic, model in MESSAGES.items()},
            shared,
        )


def export() -> dict[str, Any]:
    """Return one JSON document with the schema of every command and message, sharing their definitions.

    The document's `commands` and `messages` map topics (without the base) to schemas.
    """
    schemas = Schemas.under("#/$defs")
    return {
        "$schema": SCHEMA_DIALECT,
        "title": "allora-mqtt",
        "commands": schemas.commands,
        "messages": schemas.messages,
        "$defs": schemas.definitions,
    }


def _with_envelope(definitions: dict[str, Any], model: type[Body]) -> dict[str, Any]:
    own: dict[str, Any] = definitions[model.__name__]
    properties = {key: value for key, value in own.get("properties", {}).items() if not _in_topic(model, key)}
    required = [key for key in own.get("required", []) if not _in_topic(model, key)]
    return {
        "title": model.__name__,
        "description": own.get("description", ""),
        "type": "object",
        "properties": properties | definitions["Envelope"]["properties"],
        "required": required,
        "additionalProperties": False,
    }


def _in_topic(model: type[Body], key: str) -> bool:
    return model is SetCrypto and key == "symbol"
