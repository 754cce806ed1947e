"""Commands that tell the bot what to do."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that --help and completion are quick

import sys
from enum import StrEnum
from typing import Annotated, Final

import typer

from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import SENDS, takes

PANEL: Final = "Control"

Expires = Annotated[
    float | None,
    typer.Option("--expires", help="Do not run it when it arrives later than this many seconds.", min=0),
]


class ModeName(StrEnum):
    """The modes, as they are written on a command line."""

    STANDBY = "standby"
    ACTIVE = "active"
    STOPPED = "stopped"


def symbol_of(text: str) -> str:
    """Return a symbol as the exchange writes it; `btc` means BTC, and kPEPE stays as it is."""
    return text.upper() if text.islower() else text


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("mode", rich_help_panel=PANEL)(mode)
    app.command("close", rich_help_panel=PANEL)(close)
    app.command("flatten", rich_help_panel=PANEL)(flatten)
    app.command("cancel-orders", rich_help_panel=PANEL)(cancel_orders)
    app.command("reset-breaker", rich_help_panel=PANEL)(reset_breaker)
    app.command("refresh-catalog", rich_help_panel=PANEL)(refresh_catalog)
    app.command("publish-state", rich_help_panel=PANEL)(publish_state)
    app.command("shutdown", rich_help_panel=PANEL)(shutdown)


@takes(*SENDS)
def mode(
    ctx: typer.Context,
    wanted: Annotated[
        ModeName | None,
        typer.Argument(metavar="[standby|active|stopped]", case_sensitive=False, show_default=False),
    ] = None,
    expires: Expires = None,
) -> None:
    """Show the mode, or change it.

    standby: no new positions; open ones are watched to their end. active: trades. stopped: the engine is down, and
    the bot still listens.
    """
    if wanted is None:
        from allora_mqtt_cli import reading

        reading.show_mode(Invocation.of(ctx))
        return
    from allora_mqtt.protocol.commands import SetMode
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), SetMode, {"value": wanted.upper()}, expires_s=expires)


@takes(*SENDS)
def close(ctx: typer.Context, symbol: Annotated[str, typer.Argument(help="For example BTC.")]) -> None:
    """Close the position in one coin, at once and in any mode."""
    from allora_mqtt.protocol.commands import Close
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), Close, {"symbol": symbol_of(symbol)})


@takes(*SENDS)
def flatten(
    ctx: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)] = False,
) -> None:
    """Cancel all orders, close all positions, go to standby.

    Asks first on a terminal; in a script it does not.
    """
    if not yes and sys.stdin.isatty() and not typer.confirm("Close every position and go to standby?", err=True):
        raise CliError(ExitCode.USAGE, "NOT_CONFIRMED", "Nothing was sent.")
    from allora_mqtt.protocol.commands import Flatten
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), Flatten)


@takes(*SENDS)
def cancel_orders(ctx: typer.Context) -> None:
    """Cancel resting entry orders; stops and targets stay."""
    from allora_mqtt.protocol.commands import CancelOrders
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), CancelOrders)


@takes(*SENDS)
def reset_breaker(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Which one; all of them without.", show_default=False)] = None,
) -> None:
    """Close an open circuit breaker, so that trading goes on."""
    from allora_mqtt.protocol.commands import ResetBreaker
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), ResetBreaker, {} if name is None else {"name": name})


@takes(*SENDS)
def refresh_catalog(ctx: typer.Context) -> None:
    """Ask HyperLiquid and Allora again what can be traded."""
    from allora_mqtt.protocol.commands import RefreshCatalog
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), RefreshCatalog)


@takes(*SENDS)
def publish_state(ctx: typer.Context) -> None:
    """Have the bot publish every state topic again."""
    from allora_mqtt.protocol.commands import PublishState
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), PublishState)


@takes(*SENDS)
def shutdown(ctx: typer.Context) -> None:
    """End the bot's process, in order."""
    from allora_mqtt.protocol.commands import Shutdown
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), Shutdown)
