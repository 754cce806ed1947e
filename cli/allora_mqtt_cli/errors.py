"""How the command line ends, and the error that says why."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What scripts can rely on."""

    DONE = 0
    """Done."""
    UNHEALTHY = 1
    """`health` has found no bot that lives, for whatever reason: the one code that Docker and cron know."""
    USAGE = 2
    """The command line or the configuration has to be changed."""
    REJECTED = 3
    """Rejected: the bot did not try it; the message says why."""
    FAILED = 4
    """Failed: the bot tried it without success, or `doctor` found a problem."""
    NO_ANSWER = 5
    """Nobody answered: no broker, or no bot."""
    INTERRUPTED = 130
    """Ctrl-C."""


class CliError(Exception):
    """The end of a run that did not do what was asked.

    Attributes:
        exit_code: the process's exit code.
        code: a word for machines; the bot's own code where the bot gave one.
        message: what happened and what to do next.
        details: what else is known, beside the error in the JSON document.
    """

    def __init__(self, exit_code: ExitCode, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.message = message
        self.details = dict(details or {})

    def as_json(self) -> dict[str, Any]:
        """Return the document for `--json`."""
        return {**self.details, "error": {"code": self.code, "message": self.message}}
