"""Who is shown, and what all of its components have in common."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from allora_mqtt.protocol.runtime import SettingState
from allora_mqtt.protocol.topics import Topics

Component = dict[str, Any]

_SENDER: Final = "home-assistant"
SOURCE: Final = f'"source":"{_SENDER}"'
"""The member of a command's JSON that says who has sent it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A bot as Home Assistant is to see it.

    Attributes:
        version: of the program.
        network: where it trades, as `sim`.
        heartbeat_interval_s: how often it says that it lives.
        settings: the runtime settings with their ranges; the values in them do not matter here.
        strategies: what `strategy` can be set to.
        cryptos: the symbols to show: active, watched or held.
        active_expiry_s: how long an ACTIVE may be on its way; None for as long as it takes.
    """

    topics: Topics
    version: str
    network: str
    heartbeat_interval_s: float
    settings: Mapping[str, SettingState]
    strategies: Sequence[str]
    cryptos: Sequence[str]
    active_expiry_s: int | None = None

    @staticmethod
    def node_of(topics: Topics) -> str:
        """Return the device's identifier: another one for each base topic, without characters that topics divide."""
        return f"allora_mqtt_{topics.base.replace('_', '__').replace('/', '_-')}"

    @property
    def node(self) -> str:
        """The device's identifier."""
        return self.node_of(self.topics)

    def component(self, platform: str, key: str, name: str, icon: str, **fields: Any) -> Component:  # noqa: ANN401 - JSON
        """Return a component with what every one has.

        Args:
            platform: Home Assistant's kind of entity, such as `sensor`.
            key: names the component within the device.
            name: what people see.
            icon: of Material Design.
            fields: what is its own, in short keys.
        """
        entity = f"{re.sub('[^a-z0-9]+', '_', self.topics.base.lower()).strip('_') or 'bot'}_{key}"
        return {
            "p": platform,
            "name": name,
            "uniq_id": f"{self.node}_{key}",
            "def_ent_id": f"{platform}.{entity}",
            # The same for versions before 2025.10.
            "obj_id": entity,
            "ic": f"mdi:{icon}",
            "qos": 1,
            **fields,
        }


def press(**arguments: str) -> str:
    """Return the fixed payload of a command."""
    return json.dumps({**arguments, "source": _SENDER}, separators=(",", ":"))
