"""Commands that show what the bot says of itself."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that --help and completion are quick

from typing import Annotated, Final

import typer

from allora_mqtt.protocol.topics import Event
from allora_mqtt_cli.commands.control import symbol_of
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import ASKS, CONNECTION, READS, takes

PANEL: Final = "See"

Limit = Annotated[int, typer.Option(help="How many, newest first.", min=1, max=500)]

Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From then on: 2026-11-01, or how long ago as 12h or 7d.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status", rich_help_panel=PANEL)(status)
    app.command("watch", rich_help_panel=PANEL)(watch)
    app.command("panel", rich_help_panel=PANEL)(panel)
    app.command("positions", rich_help_panel=PANEL)(positions)
    app.command("trades", rich_help_panel=PANEL)(trades)
    app.command("performance", rich_help_panel=PANEL)(performance)
    app.command("history", rich_help_panel=PANEL)(history)
    app.command("events", rich_help_panel=PANEL)(events)
    app.command("ping", rich_help_panel=PANEL)(ping)
    app.command("health", rich_help_panel=PANEL)(health)
    app.command("doctor", rich_help_panel=PANEL)(doctor)


@takes(*READS)
def status(ctx: typer.Context) -> None:
    """Show the bot's state at a glance."""
    from allora_mqtt_cli import reading

    reading.show_status(Invocation.of(ctx))


@takes(*READS)
def watch(ctx: typer.Context) -> None:
    """Follow the bot live, until Ctrl-C."""
    from allora_mqtt_cli import watching

    watching.watch(Invocation.of(ctx))


@takes(*CONNECTION, "timeout")
def panel(
    ctx: typer.Context,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve it to a browser on this machine instead, for example at 127.0.0.1:8765.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """See and steer the bot on one screen, with keyboard and mouse."""
    invocation = Invocation.of(ctx)
    if serve is not None:
        serve_panel(invocation, serve)
        return
    from allora_mqtt_cli.panel import start

    start.run(invocation)


def serve_panel(invocation: Invocation, bind: str) -> None:
    """Serve the panel to a browser, where what that needs is installed."""
    from importlib.util import find_spec

    if find_spec("textual_serve") is None:
        message = "Serving the panel needs textual-serve: install it with `pip install 'allora-mqtt[serve]'`."
        raise CliError(ExitCode.USAGE, "NOT_INSTALLED", message)
    from allora_mqtt_cli.panel import serving

    serving.serve(invocation, bind)


@takes(*READS)
def positions(ctx: typer.Context) -> None:
    """List the open positions with stop and target."""
    from allora_mqtt_cli import reading

    reading.show_positions(Invocation.of(ctx))


@takes(*ASKS)
def trades(
    ctx: typer.Context,
    limit: Limit = 50,
    symbol: Annotated[str | None, typer.Option(help="Only this coin.", show_default=False)] = None,
    since: Since = None,
    before: Annotated[
        str | None, typer.Option(metavar="NEXT", help="The page after an earlier answer.", show_default=False)
    ] = None,
    *,
    fills: Annotated[
        bool, typer.Option("--fills", help="Single fills instead of round trips.", show_default=False)
    ] = False,
) -> None:
    """List the newest round trips, from entry to exit, or single fills."""
    from allora_mqtt.protocol.commands import Trades
    from allora_mqtt_cli import answers, session
    from allora_mqtt_cli.times import moment

    invocation = Invocation.of(ctx)
    fields = {
        "limit": limit,
        "symbol": None if symbol is None else symbol_of(symbol),
        "since": moment(since, invocation.now()),
        "kind": "fills" if fills else "trades",
        "before": before,
    }
    session.command(invocation, Trades, fields, show=answers.show_trades)


@takes(*ASKS)
def performance(
    ctx: typer.Context,
    days: Annotated[int, typer.Option(help="How many UTC days, today among them.", min=1, max=3650)] = 30,
    since: Since = None,
) -> None:
    """Show profit and loss by day, coin and topic, and how the trades went."""
    from allora_mqtt.protocol.commands import Performance
    from allora_mqtt_cli import answers, session
    from allora_mqtt_cli.times import moment

    invocation = Invocation.of(ctx)
    fields = {"days": days, "since": moment(since, invocation.now())}
    session.command(invocation, Performance, fields, show=answers.show_performance)


@takes(*ASKS)
def history(ctx: typer.Context, limit: Limit = 50) -> None:
    """List the newest commands and how they ended."""
    from allora_mqtt.protocol.commands import History
    from allora_mqtt_cli import answers, session

    session.command(Invocation.of(ctx), History, {"limit": limit}, show=answers.show_history)


@takes(*READS)
def events(
    ctx: typer.Context,
    last: Annotated[
        int | None,
        typer.Option(help="How many of the past; 50, and 10 with --follow.", min=0, max=10_000, show_default=False),
    ] = None,
    since: Since = None,
    types: Annotated[
        list[Event] | None,
        typer.Option("--type", help="Only of this type; may be given several times.", show_default=False),
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Follow, and end after this many new ones.", min=1, show_default=False)
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.", show_default=False)
    ] = False,
) -> None:
    """Show what happened: commands, signals, orders, fills; oldest first, with the ids that they share."""
    from allora_mqtt_cli import event_log
    from allora_mqtt_cli.times import moment

    invocation = Invocation.of(ctx)
    follows = follow or count is not None
    usual = 0 if count is not None else 10 if follow else 50
    wanted = event_log.Wanted(usual if last is None else last, types or (), moment(since, invocation.now()))
    if follows:
        event_log.follow(invocation, wanted, count)
    else:
        event_log.show_past(invocation, wanted)


@takes(*ASKS)
def ping(ctx: typer.Context) -> None:
    """Measure the round trip to the bot."""
    from allora_mqtt_cli import reading

    reading.ping(Invocation.of(ctx))


@takes(*READS)
def health(
    ctx: typer.Context,
    max_wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How long to wait for a heartbeat; 2.5 times BOT_HEARTBEAT_INTERVAL_S without.",
            min=0.1,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say whether the bot is online and alive: exit code 0, or else 1 and why."""
    from allora_mqtt_cli import health as alive

    alive.check(Invocation.of(ctx), max_wait)


@takes(*READS)
def doctor(ctx: typer.Context) -> None:
    """Look for what is wrong, from here to the bot and its services."""
    from allora_mqtt_cli import doctor as examination

    examination.examine(Invocation.of(ctx))
