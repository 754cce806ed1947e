"""Markdown as the site and the code host both read it."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar in a cell is written so that it stays in there."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


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
