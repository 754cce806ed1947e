"""The spool's folders, as seen from outside the bot."""

import json
from pathlib import Path
from typing import Any

from tests.support.net import until


class SpoolView:
    """Puts commands into a bot's spool and looks at what becomes of them.

    Args:
        data: the bot's data folder.
    """

    def __init__(self, data: Path) -> None:
        self.folder = data / "spool"
        self.pending = self.folder / "pending"

    def drop(self, name: str, content: dict[str, Any] | bytes) -> None:
        """Write under a temporary name, then rename."""
        temporary = self.pending / f".{name}.tmp"
        temporary.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        temporary.rename(self.pending / name)

    def wait_until_empty(self, timeout_s: float = 30) -> None:
        until(lambda: not self.names("pending"), f"{self.pending} empty", timeout_s)

    def names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.folder / folder).iterdir())

    def ended(self, name: str) -> list[str]:
        """Return where the commands in files of this name have ended: `processed/7-a.json`, …"""
        return [
            f"{folder}/{found}"
            for folder in ("processed", "failed")
            for found in self.names(folder)
            if found.partition("-")[2] == name
        ]

    def responses(self, name: str) -> list[dict[str, Any]]:
        """Return the responses to the commands in files of this name."""
        return [json.loads((self.folder / f"{ended}.response.json").read_text()) for ended in self.ended(name)]
