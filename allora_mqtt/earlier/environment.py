"""Its `.env` in the names of this bot."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from allora_mqtt.configuration import EARLIER, is_secret, is_setting

_ACTIVE: Final = "ACTIVE"
_OWN: Final[Mapping[str, str]] = {
    "DEFAULT_ACTIVE_CRYPTOS": (
        "its topic numbers were invented; activate the coins by name instead: `allora-mqtt cryptos set {coins}`"
    ),
    "MAINNET": (
        "it traded on {network}. This bot starts on the simulator; set BOT_NETWORK when you have read docs/networks.md"
    ),
}
"""What has the same name or a successor here and means something that nobody should take over unseen."""
_ALIASES: Final = {"ALLORA_UPSHOT_KEY": "ALLORA_API_KEY"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the new `.env`.

    Attributes:
        name: the setting; of a comment the variable that it is about.
        value: None for a comment.
        comment: what became of it.
    """

    name: str
    value: str | None = None
    comment: str = ""

    def text(self, *, masked: bool) -> str:
        """Return the line as it is written, or as it is shown."""
        if self.value is None:
            return f"# {self.name}: {self.comment}"
        value = "*****" if masked and is_secret(self.name) else self.value
        quoted = f"'{value}'" if any(sign in value for sign in " #\"'$\\") and "'" not in value else value
        return f"{self.name}={quoted}" + (f"  # was {self.comment}" if self.comment else "")


def translate(path: Path) -> list[Line]:
    """Return the lines of the new `.env`, in the order of the earlier one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        values = dotenv_values(stream=file, interpolate=False)
    return list(_lines({name: value for name, value in values.items() if value}))


def _lines(values: Mapping[str, str]) -> Iterator[Line]:
    written: set[str] = set()
    for name, value in values.items():
        moved = EARLIER.get(name)
        if name in _OWN:
            coins = " ".join(part.partition(":")[0] for part in value.split(",") if part.strip())
            network = "mainnet" if value.strip().lower() in {"1", "true", "yes"} else "testnet"
            yield Line(name, comment=_OWN[name].format(coins=coins, network=network))
        elif moved is not None and moved.to is None:
            yield Line(name, comment=f"no longer needed: {moved.why}")
        elif name == "BOT_DEFAULT_MODE" and value.upper() == _ACTIVE:
            yield Line(name, comment="it was ACTIVE; this bot starts in STANDBY, and LAST resumes the commanded mode")
        else:
            to = moved.to if moved is not None and moved.to is not None else _ALIASES.get(name, name)
            if to in written or (to != name and to in values):
                yield Line(name, comment=f"left out, because {to} is set too")
            elif is_setting(to):
                written.add(to)
                yield Line(to, value, "" if to == name else name)
            else:
                yield Line(name, comment="this bot has no such setting")
