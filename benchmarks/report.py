"""A run as tables in the terminal, and as docs/performance.md with its charts: nothing there is typed by hand."""

import subprocess
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.environments import peer
from benchmarks.figures import Goal, Model, Section, Spread, Table, short
from benchmarks.machine import QUIET_LOAD, Machine

_SIZES = {"tiny": "only to see that it runs", "short": "`make bench`", "full": "`make bench-full`"}


class Report(Model):
    """A whole run."""

    machine: Machine
    scale: Literal["tiny", "short", "full"]
    sections: tuple[Section, ...]


def show(report: Report, console: Console) -> None:
    """Print everything."""
    for section in report.sections:
        console.rule(section.title)
        for table in section.tables:
            shown = RichTable(*table.head, title=table.title, title_justify="left")
            for row in table.rows:
                shown.add_row(*map(_words, row))
            console.print(shown)
        for note in section.notes:
            console.print(note)
    goals = RichTable("goal", "wanted", "measured", "", title="Goals", title_justify="left")
    for section in report.sections:
        for goal in section.goals:
            goals.add_row(goal.what, _wanted(goal), _measured(goal), goal.verdict())
    console.print(goals)


def publish(report: Report, docs: Path) -> None:
    """Write `performance.md`, `performance.json` and the charts."""
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    document = docs / "performance.json"
    document.write_text(report.model_dump_json(indent=1) + "\n")
    subprocess.run(peer("plots", "plot.py", str(document), str(images)), check=True)
    (docs / "performance.md").write_text(to_markdown(report))


def to_markdown(report: Report) -> str:
    """Return the page; it names the charts, which `publish` draws."""
    lines = [
        "# How fast it is",
        "",
        "<!-- Written by `python -m benchmarks --publish` from performance.json; changes by hand are lost. -->",
        "",
        *_head(report),
        "",
        "## Goals",
        "",
        "| goal | wanted | measured | |",
        "|---|---|---|---|",
    ]
    for section in report.sections:
        lines += [_goal_row(goal) for goal in section.goals]
    for section in report.sections:
        lines += ["", f"## {section.title}", "", section.about]
        for chart in section.charts:
            lines += ["", f"![{chart.title}](images/performance-{chart.name}.svg)"]
        for table in section.tables:
            lines += ["", f"**{table.title}**", "", *_table(table)]
        for note in section.notes:
            lines += ["", note]
    return "\n".join([*lines, ""])


def _head(report: Report) -> list[str]:
    here = report.machine
    parts = ", ".join(f"{name} {version}" for name, version in here.parts.items())
    busy = "" if here.was_quiet else f" **The machine was busy (above {QUIET_LOAD:g}): read even ratios with care.**"
    on_what = (
        f"Measured at {here.measured_at:%Y-%m-%d %H:%M} UTC with {_SIZES[report.scale]}, version {here.version}, "
        f"commit `{here.commit}`, on {here.cores} cores ({here.processor}), {here.system}, Python {here.python}, "
        f"mosquitto {here.mosquitto}, {parts}. Load when it began: {here.load_at_start}.{busy}"
    )
    how_to_read = (
        "Everything runs on that one machine: broker, bot, exchange and the client that asks. Absolute times say more "
        "of the machine than of the bot; **what counts are the ratios**, taken side by side in one run. A value is the "
        "median of the rounds, in brackets the lowest and the highest round. `make bench` measures it anew."
    )
    return [on_what, "", how_to_read]


def _goal_row(goal: Goal) -> str:
    why = "" if goal.is_met or not goal.why else f": {goal.why}"
    return f"| {goal.what} | {_wanted(goal)} | {_measured(goal)} | {goal.verdict()}{why} |"


def _wanted(goal: Goal) -> str:
    return f"{'≥' if goal.is_least else '≤'} {short(goal.limit)} {goal.unit}".strip()


def _measured(goal: Goal) -> str:
    return f"{goal.measured.words()} {goal.unit}".strip()


def _table(table: Table) -> list[str]:
    return [
        f"| {' | '.join(table.head)} |",
        f"|{'---|' * len(table.head)}",
        *(f"| {' | '.join(map(_words, row))} |" for row in table.rows),
    ]


def _words(cell: str | Spread) -> str:
    return cell if isinstance(cell, str) else cell.words()
