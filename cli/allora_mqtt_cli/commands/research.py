"""Commands that look back: keep what happens, try the rules on the past, and show what came of it."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that --help and completion are quick

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.options import CONNECTION, LOCAL, takes

PANEL: Final = "Research"
_DATA: Final = "Data"
_WORLD: Final = "Assumptions"

From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="Begin here: 2021-05-01 (UTC).", rich_help_panel=_DATA, show_default=False
    ),
]
To = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="End here.", rich_help_panel=_DATA, show_default=False)
]

_CASE: Final[dict[str, tuple[Any, Any]]] = {
    "prices": (
        Annotated[
            list[str] | None,
            typer.Option(
                metavar="[COIN=]FILE",
                help="CSV of bars: time,open,high,low,close; BTC without a coin. Once for each coin.",
                rich_help_panel=_DATA,
                show_default=False,
            ),
        ],
        None,
    ),
    "data": (
        Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="What `record` has kept.", rich_help_panel=_DATA, show_default=False),
        ],
        None,
    ),
    "predictions": (
        Annotated[
            list[Path] | None,
            typer.Option(
                metavar="FILE",
                help="CSV of predictions: at,topic,symbol,horizon,price.",
                rich_help_panel=_DATA,
                show_default=False,
            ),
        ],
        None,
    ),
    "skill": (
        Annotated[
            float | None,
            typer.Option(
                metavar="0..1",
                help="Make predictions up instead, this good: 0 is noise, 1 an oracle.",
                rich_help_panel=_DATA,
                min=0,
                max=1,
                show_default=False,
            ),
        ],
        None,
    ),
    "seed": (Annotated[int, typer.Option(help="Same seed, same made-up predictions.", rich_help_panel=_DATA)], 7),
    "horizon": (
        Annotated[
            str, typer.Option(metavar="SPAN", help="How far made-up predictions look ahead.", rich_help_panel=_DATA)
        ],
        "8h",
    ),
    "every": (
        Annotated[str, typer.Option(metavar="SPAN", help="How often one is made up.", rich_help_panel=_DATA)],
        "1h",
    ),
    "topics": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--topic",
                metavar="COIN:TOPIC",
                help="Which of several topics steers a coin.",
                rich_help_panel=_DATA,
                show_default=False,
            ),
        ],
        None,
    ),
    "start": (From, None),
    "end": (To, None),
    "allow_gaps": (
        Annotated[bool, typer.Option("--allow-gaps", help="Take prices with missing rows.", rich_help_panel=_DATA)],
        False,
    ),
    "cash": (
        Annotated[str, typer.Option(metavar="USD", help="In the account at the start.", rich_help_panel=_WORLD)],
        "500",
    ),
    "spread_bps": (
        Annotated[
            str,
            typer.Option(metavar="BPS", help="Best bid to best ask, in 1/100 % of the price.", rich_help_panel=_WORLD),
        ],
        "2",
    ),
    "slippage_bps": (
        Annotated[str, typer.Option(metavar="BPS", help="How much worse every order fills.", rich_help_panel=_WORLD)],
        "1",
    ),
    "funding_rate": (
        Annotated[
            str,
            typer.Option(
                metavar="SHARE",
                help="Paid by longs to shorts each hour, as a fraction, where the data has no funding_rate.",
                rich_help_panel=_WORLD,
            ),
        ],
        "0.0000125",
    ),
    "delay_s": (
        Annotated[
            float,
            typer.Option(
                metavar="SECONDS", help="Until a prediction is known.", rich_help_panel=_WORLD, min=0, max=86_400
            ),
        ],
        5.0,
    ),
    "resume_after_h": (
        Annotated[
            float | None,
            typer.Option(
                metavar="HOURS",
                help="Until somebody resets a limit on losses that was reached; never without.",
                rich_help_panel=_WORLD,
                min=0,
                show_default=False,
            ),
        ],
        None,
    ),
    "changes": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="KEY=VALUE",
                help="A runtime setting; TRADE_… of the environment and .env without.",
                show_default=False,
            ),
        ],
        None,
    ),
    "out": (
        Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Keep result.json and report.html here.", show_default=False),
        ],
        None,
    ),
    "title": (Annotated[str, typer.Option(metavar="TEXT", help="Of the report.", show_default=False)], ""),
}
"""The options of every command that tries something on the past: annotation and default, by name."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("record", rich_help_panel=PANEL)(record)
    app.command("backtest", rich_help_panel=PANEL)(backtest)
    app.command("sweep", rich_help_panel=PANEL)(sweep)
    app.command("report", rich_help_panel=PANEL)(report)


def _on_the_past(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_CASE`; it gets their values as `case`."""
    own = inspect.signature(function, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _CASE.items()
    ]

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed through
        function(*args, case={name: kwargs.pop(name) for name in _CASE}, **kwargs)

    kept = [parameter for name, parameter in own.parameters.items() if name != "case"]
    command.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined] # read by Typer
    return command


@takes(*CONNECTION, "timeout", "json")
def record(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to keep them in, a file a day.")],
    seconds: Annotated[
        float | None, typer.Option(help="End after this long; without, at Ctrl-C.", min=0.1, show_default=False)
    ] = None,
) -> None:
    """Keep prices and predictions of a running bot, for backtests.

    Reads what the bot publishes about its active coins; needs no keys and changes nothing.
    """
    from allora_mqtt_cli import recording

    recording.record(Invocation.of(ctx), out, seconds)


@takes(*LOCAL)
@_on_the_past
def backtest(ctx: typer.Context, case: dict[str, Any]) -> None:
    """Try the bot's rules on past prices.

    The rules are those of the live bot; orders run on the simulated exchange, with fees and funding.

    A prediction is known only from its time on. What is assumed is told in docs/research.md.

    Example: allora-mqtt backtest --prices BTC=hours.csv --skill 0.2 --set price_gap_pct=0.5 --out result
    """
    from allora_mqtt_cli import research

    research.backtest(Invocation.of(ctx), research.CaseOptions(**case))


@takes(*LOCAL)
@_on_the_past
def sweep(
    ctx: typer.Context,
    case: dict[str, Any],
    gap: Annotated[str, typer.Option(metavar="LIST", help="Values of price_gap_pct.")] = "0.25,0.5,1,2",
    tp: Annotated[str, typer.Option(metavar="LIST", help="Values of tp_ratio.")] = "0.5,1,2",
    sl: Annotated[str, typer.Option(metavar="LIST", help="Values of sl_ratio.")] = "0.5,1",
    train: Annotated[float, typer.Option(help="Share of the time to choose by; the rest judges.")] = 0.6,
    workers: Annotated[
        int | None, typer.Option(help="Processes; one a core, without.", min=1, show_default=False)
    ] = None,
) -> None:
    """Try many combinations of price gap, target and stop.

    Choose by the first part of the time, judge by the rest: the best of many is the best by luck too.
    """
    from allora_mqtt_cli import research

    grid = research.GridOptions(gap, tp, sl, train, workers)
    research.sweep(Invocation.of(ctx), research.CaseOptions(**case), grid)


@takes(*LOCAL)
def report(
    ctx: typer.Context,
    result: Annotated[
        Path | None,
        typer.Argument(help="result.json of `backtest` or `sweep`; the bot's own books, without.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("report.html"),
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The bot's database; BOT_DATABASE_URL without.", show_default=False),
    ] = None,
    start: From = None,
    end: To = None,
) -> None:
    """Draw a result, or the bot's own trades, as one HTML page that opens offline."""
    from allora_mqtt_cli import research

    research.report(Invocation.of(ctx), result, out, database, start, end)
