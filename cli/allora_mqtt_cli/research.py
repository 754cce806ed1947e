"""`backtest`, `sweep` and `report`: from options to a request, a bar that moves, and a table."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from allora_mqtt.database_url import in_schema
from allora_mqtt.protocol.errors import Rejected, excerpt
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings
from allora_mqtt.research import desk
from allora_mqtt.research.case import Request
from allora_mqtt.research.predictions import Skill
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.result import Figures, Result, SweepResult, Warned
from allora_mqtt.research.rows import to_day, to_span_s
from allora_mqtt.research.run import Assumptions
from allora_mqtt.research.sweep import Grid, Split, rank_agreement
from allora_mqtt_cli import render
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.output import Output

_BEST: Final = 12
"""Rows of a sweep that a terminal shows."""


@dataclass(frozen=True, slots=True)
class CaseOptions:
    """What is to be tried, as written on the command line."""

    prices: Sequence[str] | None
    data: Path | None
    predictions: Sequence[Path] | None
    skill: float | None
    seed: int
    horizon: str
    every: str
    topics: Sequence[str] | None
    start: str | None
    end: str | None
    allow_gaps: bool
    cash: str
    spread_bps: str
    slippage_bps: str
    funding_rate: str
    delay_s: float
    resume_after_h: float | None
    changes: Sequence[str] | None
    out: Path | None
    title: str

    def request(self) -> Request:
        """Return which data is asked for.

        Raises:
            ResearchError: an option cannot be read.
        """
        skill = None
        if self.skill is not None:
            horizon_s, every_s = to_span_s(self.horizon, "--horizon"), to_span_s(self.every, "--every")
            skill = Skill(self.skill, self.seed, horizon_s, every_s)
        return Request(
            bars=_by_coin(self.prices or ()),
            recording=self.data,
            predictions=self.predictions or (),
            skill=skill,
            topics=_topics(self.topics or ()),
            delay_s=self.delay_s,
            start=None if self.start is None else to_day(self.start, "--from"),
            end=None if self.end is None else to_day(self.end, "--to"),
            allow_gaps=self.allow_gaps,
        )

    def assumptions(self, max_age_s: float) -> Assumptions:
        """Return what is assumed of the world; a prediction older than `max_age_s` is not traded on.

        Raises:
            ResearchError: an option is no number.
        """
        return Assumptions(
            cash_usd=_number(self.cash, "--cash"),
            spread_bps=_number(self.spread_bps, "--spread-bps"),
            slippage_bps=_number(self.slippage_bps, "--slippage-bps"),
            funding_rate=_number(self.funding_rate, "--funding-rate"),
            resume_after_h=self.resume_after_h,
            max_age_s=max_age_s,
        )


@dataclass(frozen=True, slots=True)
class GridOptions:
    """What is combined, as written on the command line."""

    gap: str
    tp: str
    sl: str
    train: float
    workers: int | None

    def grid(self) -> Grid:
        """Return what is combined.

        Raises:
            ResearchError: a list cannot be read.
        """
        return Grid(_numbers(self.gap, "--gap"), _numbers(self.tp, "--tp"), _numbers(self.sl, "--sl"))


def backtest(invocation: Invocation, case: CaseOptions) -> None:
    """Run a backtest and write what came of it.

    Raises:
        CliError: the data or an option cannot be used.
    """
    with _told():
        settings, _ = _settings(invocation, case.changes or ())
        assumptions = case.assumptions(invocation.load().settings.allora.max_age_s)
        with _progress(invocation.output, "bars") as on_progress:
            result = desk.backtest(case.request(), settings, assumptions, case.title, on_progress)
        files = _keep(invocation.output, result, case.out)
    if invocation.output.as_json:
        document = {"figures": result.figures.model_dump(mode="json"), "files": [str(path) for path in files]}
        warnings = [warning.model_dump(mode="json") for warning in result.warnings]
        invocation.output.document({**document, "warnings": warnings})
        return
    _warn(invocation.output, result.warnings)
    invocation.output.show(render.pairs(_rows(result.figures)))
    _name(invocation.output, files)


def sweep(invocation: Invocation, case: CaseOptions, combined: GridOptions) -> None:
    """Run the backtests of a grid and write the best of them.

    Raises:
        CliError: the data or an option cannot be used.
    """
    with _told():
        settings, hard_limits = _settings(invocation, case.changes or ())
        combinations = combined.grid().combinations(settings, hard_limits)
        assumptions = case.assumptions(invocation.load().settings.allora.max_age_s)
        split = Split(combined.train, combined.workers)
        with _progress(invocation.output, "combinations") as on_progress:
            result = desk.sweep(case.request(), combinations, settings, split, assumptions, case.title, on_progress)
        files = _keep(invocation.output, result, case.out)
    if invocation.output.as_json:
        cells = [cell.model_dump(mode="json") for cell in result.cells]
        invocation.output.document({"cells": cells, "files": [str(path) for path in files]})
        return
    _show_sweep(invocation.output, result)
    _name(invocation.output, files)


def report(
    invocation: Invocation, source: Path | None, out: Path, database: str | None, start: str | None, end: str | None
) -> None:
    """Write a page about a result, or about the bot's own books.

    Raises:
        CliError: there is nothing to draw, or no place to draw it.
    """
    with _told():
        if source is not None:
            if database is not None or start is not None or end is not None:
                message = "--database, --from and --to are for the bot's own books; leave out the file, or them."
                raise ResearchError(Problem.BAD_OPTION, message)
            result = desk.read_result(source)
        else:
            settings = invocation.load().settings
            result = desk.read_books(
                settings.database_url if database is None else in_schema(database, settings.mqtt.base_topic),
                None if start is None else to_day(start, "--from"),
                None if end is None else to_day(end, "--to"),
            )
        path = desk.write_report(result, out)
    if invocation.output.as_json:
        invocation.output.document({"file": str(path), "bytes": path.stat().st_size})
    else:
        invocation.output.say(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB; opens offline).", "green")


@contextmanager
def _told() -> Iterator[None]:
    """Turn the errors of research into those of the command line."""
    try:
        yield
    except ResearchError as error:
        raise CliError(ExitCode.USAGE, error.code, error.message) from error
    except Rejected as error:
        raise CliError(ExitCode.USAGE, error.code, error.message) from error


@contextmanager
def _progress(output: Output, what: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar on standard error, on a terminal only."""
    console = output.console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=output.as_json or not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _settings(invocation: Invocation, changes: Sequence[str]) -> tuple[RuntimeSettings, HardLimits]:
    """Return the runtime settings as the bot would have them, with those of the command line on top."""
    trade = invocation.load().settings.trade
    wanted: dict[str, str] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key:
            message = f"--set {excerpt(change)} is not KEY=VALUE, for example price_gap_pct=0.5."
            raise ResearchError(Problem.BAD_OPTION, message)
        wanted[key.strip()] = value.strip()
    return trade.runtime.changed(wanted, trade.hard_limits), trade.hard_limits


def _by_coin(prices: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for given in prices:
        head, equals, tail = given.partition("=")
        coin, path = (head, tail) if equals else ("BTC", given)
        if coin in files:
            raise ResearchError(Problem.BAD_OPTION, f"--prices names {excerpt(coin)} twice.")
        files[coin] = Path(path)
    return files


def _topics(given: Sequence[str]) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for each in given:
        coin, _, topic = each.partition(":")
        if not topic.isdecimal():
            message = f"--topic {excerpt(each)} is not COIN:TOPIC, for example BTC:14."
            raise ResearchError(Problem.BAD_OPTION, message)
        chosen[coin] = int(topic)
    return chosen


def _number(text: str, option: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation as error:
        raise ResearchError(Problem.BAD_OPTION, f"{option} {excerpt(text)} is no number.") from error
    if not value.is_finite():
        raise ResearchError(Problem.BAD_OPTION, f"{option} {excerpt(text)} is no number to count with.")
    return value


def _numbers(text: str, option: str) -> tuple[Decimal, ...]:
    return tuple(_number(part, option) for part in text.split(","))


def _rows(figures: Figures) -> list[tuple[str, Text | str]]:
    percent, usd, cell = render.percent, render.usd, render.cell

    def share(value: float | None) -> Text:
        return percent(None if value is None else Decimal(value))

    def ratio(value: float | None) -> Text:
        return cell(None if value is None else f"{value:.2f}")

    worst = "" if figures.worst_day_on is None else f" on {figures.worst_day_on}"
    holding = figures.average_holding_h
    return [
        ("Return", percent(figures.return_pct)),
        ("Buy & hold", share(figures.hold_return_pct)),
        ("CAGR", share(figures.cagr_pct)),
        ("At the end", usd(figures.end_usd)),
        ("Max drawdown", cell(f"{figures.max_drawdown_pct:.2f} %")),
        ("Sharpe, Sortino", cell(f"{ratio(figures.sharpe)}, {ratio(figures.sortino)}")),
        ("Trades", cell(figures.trades)),
        ("Win rate", cell(None if figures.win_rate_pct is None else f"{figures.win_rate_pct:.1f} %")),
        ("Profit factor", ratio(figures.profit_factor)),
        ("Expectancy", usd(figures.expectancy_usd, signed=True)),
        ("Exposure", cell(f"{figures.exposure_pct:.1f} % of the time")),
        ("Average holding", cell(None if holding is None else f"{holding:.1f} h")),
        ("Fees", usd(figures.fees_usd)),
        ("Funding paid", usd(figures.funding_usd)),
        (f"Worst day{worst}", usd(figures.worst_day_usd, signed=True)),
    ]


def _show_sweep(output: Output, result: SweepResult) -> None:
    _warn(output, result.warnings)
    table = render.sheet("gap", "target", "stop", "return", "drawdown", "trades", "in the rest", "drawdown", "trades")
    best = sorted(result.cells, key=lambda cell: -cell.train.return_pct)[:_BEST]
    for cell in best:
        parts = [
            column
            for part in (cell.train, cell.test)
            for column in (
                render.percent(part.return_pct),
                render.cell(f"{part.max_drawdown_pct:.2f} %"),
                render.cell(part.trades),
            )
        ]
        table.add_row(*(render.cell(f"{x:f}") for x in (cell.price_gap_pct, cell.tp_ratio, cell.sl_ratio)), *parts)
    output.show(table)
    agreement = rank_agreement(result.cells)
    said = "cannot be told" if agreement is None else f"is {agreement:+.2f}"
    output.say(
        f"The best {len(best)} of {len(result.cells)} by the time until {result.split:%Y-%m-%d %H:%M} UTC. How far "
        f"their order holds in the rest (rank correlation) {said}: 1 is the same order, 0 is chance."
    )


def _keep(output: Output, result: Result | SweepResult, folder: Path | None) -> list[Path]:
    """Write a result and its page; without the library that draws, the result alone, and say so."""
    if folder is None:
        return []
    files = [desk.write_result(result, folder / "result.json")]
    try:
        files.append(desk.write_report(result, folder / "report.html"))
    except ResearchError as error:
        if error.code is not Problem.NO_LIBRARY:
            raise
        output.note(f"{error.message} ({error.code})")
    return files


def _name(output: Output, files: Sequence[Path]) -> None:
    for path in files:
        output.say(f"Written to {path}.", "green")


def _warn(output: Output, warnings: Sequence[Warned]) -> None:
    for warning in warnings:
        output.note(f"{warning.message} ({warning.code})")
