"""The device message and its topic."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from allora_mqtt.discovery import components, cryptos
from allora_mqtt.discovery.subject import Subject
from allora_mqtt.protocol.topics import SYMBOL_PATTERN, Topics

BIRTH: Final = b"online"
"""What Home Assistant publishes on `birth_topic` when it is there."""


def birth_topic(prefix: str) -> str:
    """Return where Home Assistant says that it is there."""
    return f"{prefix}/status"


def config_topic(prefix: str, topics: Topics) -> str:
    """Return where the device message of the bot on a base topic is retained."""
    return f"{prefix}/device/{Subject.node_of(topics)}/config"


def watch_list(names: Iterable[str], sets: Mapping[str, list[str]]) -> list[str]:
    """Return the symbols that are named, one by one or by the name of a set, each once."""
    symbols = (symbol for name in names for symbol in sets.get(name, [name]) if SYMBOL_PATTERN.fullmatch(symbol))
    return merged(symbols, [])


def merged(watched: Iterable[str], active: Iterable[str]) -> list[str]:
    """Return the symbols to show, sorted; of one that is written in two ways the bot's own spelling."""
    return sorted(({symbol.upper(): symbol for symbol in (*watched, *active)}).values())


def message(subject: Subject) -> dict[str, Any]:
    """Return the device message."""
    topics = subject.topics
    is_only = topics == Topics()
    return {
        "dev": {
            "ids": [subject.node],
            "name": "AlloraMind" if is_only else f"AlloraMind {re.sub('[/_-]+', ' ', topics.base).strip()}",
            "mf": "allora-mqtt",
            "mdl": f"Trading bot ({subject.network})",
            "sw": subject.version,
        },
        "o": {"name": "allora-mqtt", "sw": subject.version},
        "avty_t": topics.availability,
        "cmps": components.all_of(subject) | cryptos.all_of(subject),
    }


def encode(content: Mapping[str, Any]) -> bytes:
    """Write a message as short as JSON can be; the same message is always the same bytes."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
