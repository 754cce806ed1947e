"""One run of the command line: the options that every command shares, and where ids and times come from."""

# ruff: noqa: PLC0415 - what only some commands need is imported when they run, so that --help and completion are quick

import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.output import Output

if TYPE_CHECKING:
    from allora_mqtt.configuration import Loaded


class Via(StrEnum):
    """The ways to the bot."""

    MQTT = "mqtt"
    SPOOL = "spool"


def _new_id() -> str:
    return uuid.uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Invocation:
    """The shared options of one run.

    Attributes:
        flags: settings given on the command line, by setting name (`MQTT_HOST`).
        timeout_s: how long to wait for the broker, and then for an answer.
        via: which way commands go to the bot.
        no_wait: whether the broker's acknowledgement is enough.
        output: where results and errors are written.
        new_id: makes the id of a command.
        now: tells the time commands are issued at.
    """

    flags: dict[str, object] = field(default_factory=dict)
    timeout_s: float = 5
    via: Via = Via.MQTT
    no_wait: bool = False
    output: Output = field(default_factory=Output)
    new_id: Callable[[], str] = _new_id
    now: Callable[[], datetime] = _now

    @classmethod
    def of(cls, ctx: typer.Context) -> "Invocation":
        """Return the run that a command belongs to."""
        return ctx.ensure_object(cls)

    def load(self) -> "Loaded":
        """Read the configuration with this run's flags.

        Raises:
            CliError: the configuration cannot be used; one line for each problem.
        """
        from allora_mqtt.configuration import SettingsError, load

        try:
            return load(self.flags)
        except SettingsError as error:
            raise CliError(
                ExitCode.USAGE, "CONFIGURATION", "\n".join(error.problems), {"problems": list(error.problems)}
            ) from error

    def password_for(self, username: str) -> str | None:
        """Ask for a password that no setting holds, where there is somebody to ask."""
        if not sys.stdin.isatty():
            return None
        answer: str = typer.prompt(
            f"Password of {username} (MQTT_PASSWORD is not set)",
            default="",
            show_default=False,
            hide_input=True,
            err=True,
        )
        return answer or None
