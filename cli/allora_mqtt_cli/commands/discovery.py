"""`allora-mqtt discovery`: what Home Assistant is told of the bot."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that --help and completion are quick

import typer

from allora_mqtt_cli.commands.see import PANEL
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import READS, takes


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="See and remove what Home Assistant is told of the bot.", invoke_without_command=True)
    group.callback()(bare)
    group.command("show")(show)
    group.command("clear")(clear)
    app.add_typer(group, name="discovery", rich_help_panel=PANEL)


@takes(*READS)
def bare(ctx: typer.Context) -> None:
    """See and remove what Home Assistant is told of the bot; alone, shows it."""
    if ctx.invoked_subcommand is None:
        from allora_mqtt_cli import discovery

        discovery.show(Invocation.of(ctx))


@takes(*READS)
def show(ctx: typer.Context) -> None:
    """Show the entities that Home Assistant is told of, or would be."""
    from allora_mqtt_cli import discovery

    discovery.show(Invocation.of(ctx))


@takes(*READS)
def clear(ctx: typer.Context) -> None:
    """Remove the bot's device from Home Assistant."""
    from allora_mqtt_cli import discovery

    discovery.clear(Invocation.of(ctx))
