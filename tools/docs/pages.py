"""Which files of docs/ are written from the code, and with what."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from allora_mqtt.protocol import asyncapi
from tools.docs import cli, contract, messages, settings

FOLDER: Final = Path(__file__).parents[2] / "docs"
_NOTE: Final = "<!-- Written by `make pages` from the code. Change it there. -->\n\n"


def pages() -> dict[str, str]:
    """Return the contents that the files are to have, by name.

    Raises:
        ValueError: a page lacks the place for one of its generated parts.
    """
    return {
        "asyncapi.json": json.dumps(asyncapi.describe(), indent=2) + "\n",
        "cli.md": _NOTE + cli.page(),
        "messages.md": _NOTE + messages.page(),
        "settings.md": _NOTE + settings.page(),
        "contract.md": filled((FOLDER / "contract.md").read_text(encoding="utf-8"), contract.blocks()),
    }


def stale() -> list[str]:
    """Return the files that do not say what the code says."""
    return [name for name, text in pages().items() if not _is(FOLDER / name, text)]


def write() -> list[str]:
    """Write the files that are stale, and return their names."""
    names = stale()
    for name, text in pages().items():
        if name in names:
            (FOLDER / name).write_text(text, encoding="utf-8")
    return names


def filled(page: str, blocks: Mapping[str, str]) -> str:
    """Return a page with its generated parts as they are to be.

    A part lies between `<!-- NAME: written by make pages -->` and `<!-- end of NAME -->`.

    Raises:
        ValueError: a part is not there exactly once.
    """
    for name, text in blocks.items():
        start, end = f"<!-- {name}: written by make pages -->\n", f"<!-- end of {name} -->"
        if (page.count(start), page.count(end)) != (1, 1):
            raise ValueError(f"There is to be one place for {name}: {start.strip()} … {end}")
        before, _, rest = page.partition(start)
        page = f"{before}{start}{text}{end}{rest.partition(end)[2]}"
    return page


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text
