"""How each command looks when it is written by hand: for people to copy, and for documents to show."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from allora_mqtt.protocol.commands import ACTIONS

_ARGUMENTS: Final[Mapping[str, tuple[JsonValue, ...]]] = {
    "close": ({"symbol": "BTC"},),
    "reset_breaker": ({"name": "allora"},),
    "history": ({"limit": 20},),
    "trades": ({"limit": 20, "symbol": "BTC"}, {"kind": "fills", "since": "2026-11-01T00:00:00Z"}),
    "events": ({"limit": 20, "types": ["order", "fill"]}, {"since": "2026-11-01T00:00:00Z"}),
    "performance": ({"days": 7},),
    "catalog": ({"search": "BT", "availability": "both", "active": False},),
    "activate": ({"symbol": "BTC", "topic_id": 14},),
    "activate_set": ({"name": "popular"},),
}

BARE: Final[Mapping[str, tuple[str, ...]]] = {
    "mode/set": ("STANDBY", "ACTIVE", "STOPPED"),
    "cryptos/set": ("BTC,ETH", "BTC:14,ETH:13", "NONE"),
    "cryptos/{symbol}/set": ("ON", "OFF"),
    "config/set": (),
    "config/{key}/set": ("0.4",),
    **{
        f"request/{name}": () if any(field.is_required() for field in action.model_fields.values()) else ("", "PRESS")
        for name, action in ACTIONS.items()
    },
}
"""Payloads that are not JSON, by topic without the base; the empty text is an empty payload."""

JSON: Final[Mapping[str, tuple[JsonValue, ...]]] = {
    "mode/set": ({"value": "ACTIVE"}, {"value": "STANDBY", "id": "7f2c", "source": "alice"}),
    "cryptos/set": (["BTC", "ETH"], {"BTC": 14, "ETH": 13}, {"value": {"BTC": 14}}),
    "cryptos/{symbol}/set": ({"value": "ON"}, {"value": "ON", "topic_id": 14}),
    "config/set": ({"price_gap_pct": 0.4, "max_leverage": 3}, {"value": {"price_gap_pct": 0.4}}),
    "config/{key}/set": ({"value": 0.4},),
    **{f"request/{name}": _ARGUMENTS.get(name, ({},)) for name in ACTIONS},
}
"""Payloads that are JSON, by topic without the base."""
