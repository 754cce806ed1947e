"""`allora-mqtt config`: the runtime settings of the bot, and the configuration of this machine."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that --help and completion are quick

from typing import Annotated

import typer

from allora_mqtt_cli.commands.control import PANEL, Expires
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import CONNECTION, READS, SENDS, takes

Local = Annotated[
    bool,
    typer.Option(
        "--local", help="The configuration of this machine and where each value came from.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="See, change and check settings.", invoke_without_command=True)
    group.callback()(bare)
    group.command("show")(show)
    group.command("set")(change)
    group.command("reload")(reload)
    group.command("check")(check)
    app.add_typer(group, name="config", rich_help_panel=PANEL)


@takes(*SENDS)
def bare(ctx: typer.Context) -> None:
    """See, change and check settings; alone, shows those the bot trades by."""
    if ctx.invoked_subcommand is None:
        from allora_mqtt_cli import reading

        reading.show_config(Invocation.of(ctx))


@takes(*READS)
def show(ctx: typer.Context, *, local: Local = False) -> None:
    """Show the settings the bot trades by, each with its range and unit."""
    if local:
        from allora_mqtt_cli import local_configuration

        local_configuration.show(Invocation.of(ctx))
        return
    from allora_mqtt_cli import reading

    reading.show_config(Invocation.of(ctx))


def _complete_key(incomplete: str) -> list[str]:
    """Offer the names of settings on TAB."""
    from allora_mqtt.protocol.runtime import RuntimeSettings

    return [f"{key}=" for key in RuntimeSettings.model_fields if key.startswith(incomplete)]


@takes(*SENDS)
def change(
    ctx: typer.Context,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...", help="For example price_gap_pct=0.4 max_leverage=3.", autocompletion=_complete_key
        ),
    ],
    expires: Expires = None,
) -> None:
    """Change settings the bot trades by: all of them or none."""
    from allora_mqtt.protocol.commands import SetConfig
    from allora_mqtt_cli import session

    value: dict[str, int | float | str] = {}
    for text in changes:
        key, equals, wanted = text.partition("=")
        if not equals or not key.strip():
            message = f"{text!r} is not KEY=VALUE, for example price_gap_pct=0.4."
            raise CliError(ExitCode.USAGE, "USAGE", message)
        value[key.strip()] = scalar(wanted.strip())
    session.command(Invocation.of(ctx), SetConfig, {"value": value}, expires_s=expires)


def scalar(text: str) -> int | float | str:
    """Read a value as the number it looks like, else as text."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


@takes(*SENDS)
def reload(ctx: typer.Context) -> None:
    """Have the bot read its configuration files again."""
    from allora_mqtt.protocol.commands import ReloadConfig
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), ReloadConfig)


@takes(*CONNECTION, "json")
def check(ctx: typer.Context) -> None:
    """Check the configuration of this machine: one line for each problem."""
    from allora_mqtt_cli import local_configuration

    local_configuration.check(Invocation.of(ctx))
