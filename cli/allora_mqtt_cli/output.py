"""Where results and errors are written: tables and colour for people, one JSON document for machines."""

# ruff: noqa: PLC0415 - Rich is imported when something is printed, so that --help and completion are quick

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from allora_mqtt_cli.errors import CliError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_PIPED_WIDTH: Final = 160
"""Columns for tables that go into a file or a pipe, which has no width of its own."""


@dataclass(slots=True)
class Output:
    """Standard output for results, standard error for everything said about them.

    Attributes:
        as_json: whether machines read along.
    """

    as_json: bool = False

    def document(self, document: object) -> None:
        """Write one JSON document as one line, so that a tail of them can be read line by line."""
        sys.stdout.write(json.dumps(document, default=str) + "\n")
        sys.stdout.flush()

    def show(self, renderable: "RenderableType") -> None:
        """Write a table or a text of several lines."""
        self.console().print(renderable)

    def say(self, text: str, style: str = "") -> None:
        """Write a line of the result."""
        self._line(self.console(), text, style)

    def note(self, text: str, style: str = "yellow") -> None:
        """Write a line about the result; left out with `--json`."""
        if not self.as_json:
            self._line(self.console(stderr=True), text, style)

    def error(self, error: CliError) -> None:
        """Write why the run ends without a result."""
        if self.as_json:
            self.document(error.as_json())
            return
        console = self.console(stderr=True)
        for line in error.message.splitlines():
            self._line(console, line, "red")
        self._line(console, f"({error.code})", "dim")

    def console(self, *, stderr: bool = False) -> "Console":
        """Return a console; colour only on a terminal and without NO_COLOR."""
        from rich.console import Console

        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
        return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)

    @staticmethod
    def _line(console: "Console", text: str, style: str) -> None:
        console.print(printable(text), style=style or None, soft_wrap=True)


def printable(value: Any) -> str:  # noqa: ANN401 - whatever a message holds
    """Return text that cannot steer the terminal, whoever published it."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(value))
