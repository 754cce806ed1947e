"""Markdown as the site and the code host both read it."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

_CODE_WITH_A_BAR: Final = re.compile(r"`([^`]*\|[^`]*)`")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar in a cell is written so that it stays in there."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    # The two read a bar with a backslash differently in code; this they read alike.
    return _CODE_WITH_A_BAR.sub(_written_out, text).replace("|", "&#124;")


def _written_out(found: re.Match[str]) -> str:
    escaped = found[1].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<code>{escaped}</code>"


def code(text: object) -> str:
    """Return a text set as code, or nothing where it is empty."""
    shown = str(text)
    return f"`{shown}`" if shown else ""


def codes(texts: Iterable[object]) -> str:
    """Return several texts set as code."""
    return ", ".join(map(code, texts))


def one_line(text: str | None) -> str:
    """Return a docstring as one line."""
    return " ".join((text or "").split())


def anchor(heading: str) -> str:
    """Return the anchor that the site and the code host both give a heading."""
    kept = "".join(character for character in heading.lower() if character.isalnum() or character in "-_ ")
    return kept.replace(" ", "-")
