"""What is to be published so that Home Assistant sees what it should."""

from collections.abc import Mapping
from typing import Any

from allora_mqtt.discovery.cryptos import symbol_of
from allora_mqtt.discovery.device import encode
from allora_mqtt.protocol.errors import Rejected
from allora_mqtt.protocol.reading import decode


def next_message(present: bytes, wanted: Mapping[str, Any]) -> bytes | None:
    """Return what to publish next, or None where what lies there is what is wanted.

    Home Assistant removes an entity when its component comes with nothing but its platform, and forgets it when the
    component is not there any more; so what is not wanted any more goes in two messages, one after the other.

    Args:
        present: what is retained on the topic; empty for nothing.
        wanted: the device message.
    """
    final = encode(wanted)
    if present == final:
        return None
    components = wanted["cmps"]
    gone = {
        key: {"p": platform}
        for key, (platform, is_bare) in _components_in(present).items()
        if not is_bare and (key not in components or components[key]["p"] != platform)
    }
    # Those that go come first: while Home Assistant still builds one of the others, it reads no further than to that.
    stay = {key: component for key, component in components.items() if key not in gone}
    return encode({**wanted, "cmps": gone | stay}) if gone else final


def removed_cryptos(present: bytes, wanted: Mapping[str, Any]) -> set[str]:
    """Return the coins, in capital letters, whose switch is there and is not wanted any more."""
    return {
        symbol.upper()
        for key, (platform, is_bare) in _components_in(present).items()
        if (symbol := symbol_of(key)) is not None and platform == "switch" and not is_bare and key not in wanted["cmps"]
    }


def _components_in(message: bytes) -> dict[str, tuple[str, bool]]:
    """Return the platform of each component, and whether it is there to be removed only; of garbage nothing."""
    try:
        content = decode(message)
    except Rejected:
        return {}
    components = content.get("cmps") if isinstance(content, dict) else None
    if not isinstance(components, dict):
        return {}
    return {
        key: (platform, component.keys() == {"p"})
        for key, component in components.items()
        if isinstance(component, dict) and isinstance(platform := component.get("p"), str)
    }
