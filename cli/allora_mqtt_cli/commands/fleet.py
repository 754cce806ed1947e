"""`allora-mqtt fleet`: many bots on one broker."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that --help and completion are quick

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from allora_mqtt_cli.commands.control import PANEL, ModeName
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import READS, takes

Fleet = Annotated[
    str | None,
    typer.Option(
        "--fleet",
        metavar="FILTER",
        help="Base topics with + for the bot's name; beside MQTT_BASE_TOPIC, else bots/+.",
        show_default=False,
    ),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME...]", help="Which bots, by name.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All of them.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="See and steer many bots on one broker.", no_args_is_help=True)
    group.command("status")(status)
    group.command("mode")(mode)
    group.command("flatten")(flatten)
    app.add_typer(group, name="fleet", rich_help_panel=PANEL)


@takes(*READS)
def status(ctx: typer.Context, fleet: Fleet = None) -> None:
    """List all bots; exit code 5 when one shows no sign of life."""
    from allora_mqtt_cli import fleet as many

    many.show(Invocation.of(ctx), fleet)


@takes(*READS)
def mode(
    ctx: typer.Context,
    wanted: Annotated[ModeName, typer.Argument(metavar="standby|active|stopped", case_sensitive=False)],
    names: Names = None,
    *,
    everyone: All = False,
    fleet: Fleet = None,
    yes: Yes = False,
) -> None:
    """Set the mode of some bots, or of --all; exit code 5 when one does not answer.

    Asks before it makes bots active on a terminal; in a script it does not.
    """
    from allora_mqtt.protocol.commands import SetMode
    from allora_mqtt_cli import fleet as many
    from allora_mqtt_cli import session

    chosen = _chosen(names, everyone=everyone)
    is_sure = yes or wanted is not ModeName.ACTIVE
    confirm = _confirmation("Let {} trade?", is_sure=is_sure)
    many.command(Invocation.of(ctx), fleet, chosen, lambda: session.build(SetMode, {"value": wanted.upper()}), confirm)


@takes(*READS)
def flatten(
    ctx: typer.Context, names: Names = None, *, everyone: All = False, fleet: Fleet = None, yes: Yes = False
) -> None:
    """Cancel all orders and close all positions of some bots, or of --all, and set them to standby.

    Asks first on a terminal; in a script it does not. Exit code 5 when one does not answer.
    """
    from allora_mqtt.protocol.commands import Flatten
    from allora_mqtt_cli import fleet as many

    chosen = _chosen(names, everyone=everyone)
    confirm = _confirmation("Close every position of {} and set them to standby?", is_sure=yes)
    many.command(Invocation.of(ctx), fleet, chosen, Flatten, confirm)


def _chosen(names: list[str] | None, *, everyone: bool) -> list[str]:
    if bool(names) is everyone:
        raise CliError(ExitCode.USAGE, "USAGE", "Name the bots, or say --all.")
    return names or []


def _confirmation(question: str, *, is_sure: bool) -> Callable[[Sequence[str]], bool]:
    """Return what asks on a terminal whether these bots are meant."""

    def ask(names: Sequence[str]) -> bool:
        if is_sure or not sys.stdin.isatty():
            return True
        return typer.confirm(question.format(", ".join(names)), err=True)

    return ask
