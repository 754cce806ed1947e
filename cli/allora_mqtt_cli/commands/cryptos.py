"""`allora-mqtt cryptos`: which coins are traded."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that --help and completion are quick

from enum import StrEnum
from typing import Annotated

import typer

from allora_mqtt_cli.commands.control import PANEL, Expires, symbol_of
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import ASKS, READS, SENDS, takes


class Where(StrEnum):
    """Where a coin must be known to be found."""

    BOTH = "both"
    HYPERLIQUID = "hyperliquid"
    ALLORA = "allora"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="See, search and choose the coins that are traded.", invoke_without_command=True)
    group.callback()(bare)
    group.command("list")(listing)
    group.command("search")(search)
    group.command("on")(on)
    group.command("off")(off)
    group.command("set")(whole_set)
    group.command("clear")(clear)
    group.command("popular")(popular)
    app.add_typer(group, name="cryptos", rich_help_panel=PANEL)


@takes(*SENDS)
def bare(ctx: typer.Context) -> None:
    """See, search and choose the coins that are traded; alone, lists them."""
    if ctx.invoked_subcommand is None:
        from allora_mqtt_cli import reading

        reading.show_cryptos(Invocation.of(ctx))


@takes(*READS)
def listing(ctx: typer.Context) -> None:
    """List the active coins with price, prediction and position."""
    from allora_mqtt_cli import reading

    reading.show_cryptos(Invocation.of(ctx))


@takes(*ASKS)
def search(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="Part of a symbol; everything without.", show_default=False)] = "",
    availability: Annotated[
        Where, typer.Option(help="Tradable on HyperLiquid, predicted by Allora, or both.", case_sensitive=False)
    ] = Where.BOTH,
) -> None:
    """Search the catalog of what can be traded and predicted."""
    from allora_mqtt.protocol.commands import SearchCatalog
    from allora_mqtt_cli import answers, session

    fields = {"search": text, "availability": availability.value}
    session.command(Invocation.of(ctx), SearchCatalog, fields, show=answers.show_catalog)


@takes(*SENDS)
def on(
    ctx: typer.Context,
    symbol: Annotated[str, typer.Argument(help="For example BTC.")],
    topic: Annotated[
        int | None, typer.Option(help="Allora topic; the catalog's default without.", min=1, show_default=False)
    ] = None,
    expires: Expires = None,
) -> None:
    """Trade a coin."""
    from allora_mqtt.protocol.commands import SetCrypto
    from allora_mqtt_cli import session

    fields = {"symbol": symbol_of(symbol), "value": "ON", "topic_id": topic}
    session.command(Invocation.of(ctx), SetCrypto, fields, expires_s=expires)


@takes(*SENDS)
def off(ctx: typer.Context, symbol: Annotated[str, typer.Argument(help="For example BTC.")]) -> None:
    """Stop trading a coin; an open position is managed to its end."""
    from allora_mqtt.protocol.commands import SetCrypto
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), SetCrypto, {"symbol": symbol_of(symbol), "value": "OFF"})


@takes(*SENDS)
def whole_set(
    ctx: typer.Context,
    symbols: Annotated[list[str], typer.Argument(help="Coins, each with an Allora topic or without: BTC ETH:13.")],
    expires: Expires = None,
) -> None:
    """Trade exactly these coins."""
    from allora_mqtt.protocol.commands import SetCryptos
    from allora_mqtt_cli import session

    parts = [part.strip() for text in symbols for part in text.split(",") if part.strip()]
    value = ",".join(symbol_of(part) for part in parts)
    session.command(Invocation.of(ctx), SetCryptos, {"value": value}, expires_s=expires)


@takes(*SENDS)
def clear(ctx: typer.Context) -> None:
    """Trade nothing; open positions are managed to their end."""
    from allora_mqtt.protocol.commands import SetCryptos
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), SetCryptos, {"value": {}})


@takes(*SENDS)
def popular(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Another set of the bot's settings, for example defi.")] = "popular",
    expires: Expires = None,
) -> None:
    """Trade a named set of coins: BTC, ETH, SOL and AVAX, or another."""
    from allora_mqtt.protocol.commands import ActivateSet
    from allora_mqtt_cli import session

    session.command(Invocation.of(ctx), ActivateSet, {"name": name}, expires_s=expires)
