"""What the embedded broker carries, and which topics a filter means."""

from dataclasses import dataclass
from typing import Final

_OVERHEAD_BYTES: Final = 200
"""What a message costs in memory beyond its topic and payload, about."""


@dataclass(frozen=True, slots=True)
class Message:
    """An application message on its way to one client, or kept for those who subscribe later.

    Attributes:
        topic: where it was published.
        payload: any bytes.
        qos: with which it is delivered.
        retain: whether the client is told that it is a retained one.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool = False

    @property
    def size(self) -> int:
        """The bytes of memory it is counted with."""
        return len(self.topic) + len(self.payload) + _OVERHEAD_BYTES


def is_topic(text: str) -> bool:
    """Tell whether one can publish there."""
    return bool(text) and not any(character in text for character in "+#\0")


def is_filter(text: str) -> bool:
    """Tell whether one can subscribe to it: `+` and `#` stand alone between slashes, and `#` at the end only."""
    levels = text.split("/")
    return (
        bool(text)
        and "\0" not in text
        and "#" not in "".join(levels[:-1])
        and all(len(level) == 1 for level in levels if "+" in level or "#" in level)
    )


def matches(topic: str, topic_filter: str) -> bool:
    """Tell whether a filter means a topic. Wildcards do not reach into topics that begin with `$`."""
    if topic == topic_filter:
        return True
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    names, wanted = topic.split("/"), topic_filter.split("/")
    if wanted[-1] == "#":
        del wanted[-1]
        del names[len(wanted) :]
    return len(names) == len(wanted) and all(want in ("+", name) for want, name in zip(wanted, names, strict=True))
