"""Counts of what was thrown at the bot, and where they are written."""

import json
import os
import resource
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Counts:
    """What came of some inputs."""

    inputs: int = 0
    crashes: int = 0
    state_changes: int = 0
    unanswered: int = 0
    rss_growth_mb: float = 0.0
    seed: int = 0

    def write(self, name: str) -> None:
        """Write them into the folder that `TORTURE_REPORT_DIR` names, if it does."""
        folder = os.environ.get("TORTURE_REPORT_DIR")
        if folder:
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            where = name.removeprefix("g10-").removesuffix(".json")
            path.write_text(json.dumps({"promise": "G10", "where": where, **asdict(self)}) + "\n")


def rss_mb(pid: int | None = None) -> float:
    """Return the memory that a process holds, in MiB: this one's where none is named."""
    pages = int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 2**20, 1)
