"""Commands that run something on this machine instead of asking a bot."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that --help and completion are quick

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import CONNECTION, LOCAL, READS, takes

PANEL: Final = "Local"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run", rich_help_panel=PANEL)(run)
    app.command("demo", rich_help_panel=PANEL)(demo)
    app.command("broker", rich_help_panel=PANEL)(broker)
    app.command("sim", rich_help_panel=PANEL)(sim)
    app.command("export", rich_help_panel=PANEL)(export)
    app.command("backup", rich_help_panel=PANEL)(backup)
    app.command("restore", rich_help_panel=PANEL)(restore)
    app.command("import", rich_help_panel=PANEL)(bring)
    app.command("schema", rich_help_panel=PANEL)(schema)
    app.command("version", rich_help_panel=PANEL)(version)


@takes(*CONNECTION)
def run(ctx: typer.Context) -> None:
    """Run the bot, with a broker of its own unless MQTT_HOST is set."""
    from allora_mqtt.bot import run as run_bot

    raise typer.Exit(run_bot(Invocation.of(ctx).load()))


@takes()
def demo(
    ctx: typer.Context,
    *,
    auto: Annotated[
        bool, typer.Option("--auto", help="Run through by itself instead of waiting for Enter.", show_default=False)
    ] = False,
) -> None:
    """Show in five minutes what the bot is, on a simulated exchange; leaves nothing behind.

    Broker, exchange and bot run on free ports in a temporary folder. Your own bot and settings are not touched.
    """
    from allora_mqtt_cli.demo import tour

    tour.run(Invocation.of(ctx).output, is_paced=not auto)


@takes(*CONNECTION)
def broker(ctx: typer.Context) -> None:
    """Run only the embedded broker (EMBEDDED_BROKER_BIND)."""
    from allora_mqtt.bot import run_broker

    raise typer.Exit(run_broker(Invocation.of(ctx).load()))


@takes()
def sim(
    ctx: typer.Context,
    bind: Annotated[str | None, typer.Option(help="HOST:PORT; SIM_BIND.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same market; SIM_SEED.", show_default=False)] = None,
    speed: Annotated[float | None, typer.Option(help="Market seconds a second; SIM_SPEED.", show_default=False)] = None,
    skill: Annotated[
        float | None, typer.Option(help="How good predictions are, 0 to 1; SIM_SKILL.", show_default=False)
    ] = None,
    prices: Annotated[
        str | None, typer.Option(help="random, or replay:FILE.csv; SIM_PRICES.", show_default=False)
    ] = None,
    state: Annotated[Path | None, typer.Option(help="File to keep the market's state in.", show_default=False)] = None,
) -> None:
    """Run the simulated exchange and predictions."""
    invocation = Invocation.of(ctx)
    invocation.flags |= {
        "SIM_BIND": bind,
        "SIM_SEED": seed,
        "SIM_SPEED": speed,
        "SIM_SKILL": skill,
        "SIM_PRICES": prices,
    }
    settings = invocation.load().settings.sim
    from allora_mqtt.simulator.__main__ import main as serve

    argv = [f"--{name.replace('_', '-')}={value}" for name, value in settings.model_dump().items()]
    raise typer.Exit(serve(argv if state is None else [*argv, f"--state={state}"]))


class Format(StrEnum):
    """The formats of an export."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@takes(*LOCAL)
def export(
    ctx: typer.Context,
    record: Annotated[
        str, typer.Argument(help="trades, fills, orders, signals, equity, cash_flows, funding, commands or events.")
    ],
    form: Annotated[
        Format, typer.Option("--format", help="json is one object a line.", case_sensitive=False)
    ] = Format.CSV,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on: 2026-11-01, or 7d ago.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.", show_default=False)] = None,
    out: Annotated[str, typer.Option(metavar="FILE", help="- is standard output.")] = "-",
    *,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Also signed orders and what commands carried: may hold secrets.", show_default=False
        ),
    ] = False,
) -> None:
    """Write records of this machine's bot to a file, whether it runs or not (BOT_DATA_DIR)."""
    from allora_mqtt_cli import exporting

    exporting.export(Invocation.of(ctx), record, form.value, since, until, out, with_raw=raw)


@takes(*LOCAL)
def backup(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help="A file or a folder; backups/ in the data folder without.", show_default=False),
    ] = None,
) -> None:
    """Copy the books of this machine's bot into one file, whether it runs or not (BOT_DATA_DIR)."""
    from allora_mqtt_cli import backups

    backups.back_up(Invocation.of(ctx), file)


@takes(*LOCAL)
def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `allora-mqtt backup` has written.", show_default=False)],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)] = False,
) -> None:
    """Put a backup in the place of the books, where no bot runs on them; what it replaces is kept.

    Asks first on a terminal; in a script it does not. The bot starts in standby then.
    """
    from allora_mqtt_cli import backups

    backups.restore(Invocation.of(ctx), file, is_sure=yes)


@takes(*READS)
def bring(
    ctx: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="The earlier bot's database, its .env, or its folder.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where to write; imported/ in the data folder without.", show_default=False
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show all of it, write and send nothing.", show_default=False)
    ] = False,
    activate: Annotated[
        bool, typer.Option("--activate", help="Switch its active coins on here, by name.", show_default=False)
    ] = False,
) -> None:
    """Take over what the earlier bot's users have: coins, settings, trade log. Its commands are shown, never run."""
    from allora_mqtt_cli import importing

    importing.bring(Invocation.of(ctx), path, out, is_dry=dry_run, activates=activate)


@takes(*LOCAL)
def schema(
    ctx: typer.Context,
    *,
    asyncapi: Annotated[
        bool,
        typer.Option("--asyncapi", help="An AsyncAPI 3 document, with topics, QoS and retain.", show_default=False),
    ] = False,
) -> None:
    """Print the JSON Schemas of every command and message."""
    import json

    from allora_mqtt.protocol.asyncapi import describe
    from allora_mqtt.protocol.schema import export

    invocation = Invocation.of(ctx)
    document = describe() if asyncapi else export()
    if invocation.output.as_json:
        invocation.output.document(document)
    else:
        typer.echo(json.dumps(document, indent=2))


@takes(*LOCAL)
def version(ctx: typer.Context) -> None:
    """Print the version of this program and of the MQTT contract."""
    from allora_mqtt import __version__
    from allora_mqtt.protocol.messages import PROTOCOL_VERSION

    output = Invocation.of(ctx).output
    if output.as_json:
        output.document({"version": __version__, "protocol_version": PROTOCOL_VERSION})
    else:
        output.say(f"allora-mqtt {__version__}, protocol {PROTOCOL_VERSION}")
