"""`python -m benchmarks`: measure, keep what was measured as JSON, and show it."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import backtest, fanout, fleet, history, latency, machine, signals, standby, start
from benchmarks.bench import Bench
from benchmarks.figures import Section
from benchmarks.ground import folder
from benchmarks.report import Report, publish, show
from benchmarks.scale import FULL, SHORT, TINY, Scale

_SECTIONS: Final[Mapping[str, Callable[[Bench], Section]]] = {
    "latency": latency.run,
    "history": history.run,
    "start": start.run,
    "standby": standby.run,
    "signals": signals.run,
    "fanout": fanout.run,
    "backtest": backtest.run,
    "fleet": fleet.run,
}
_CHECKOUT: Final = Path(__file__).parent.parent
_BARS: Final = _CHECKOUT / "examples" / "backtest" / "btc_2021-09.csv"
_SCALES: Final[Mapping[str, Scale]] = {"tiny": TINY, "short": SHORT, "full": FULL}


def main() -> int:
    """Run what was asked for; returns the exit code."""
    words = _parser().parse_args()
    console = Console(stderr=True)
    if not words.publish_only:
        report = _measure(words, console)
        words.out.write_text(report.model_dump_json(indent=1) + "\n")
        show(report, Console())
    if words.publish or words.publish_only:
        return _publish(words.out, console)
    return 0


def _publish(measured: Path, console: Console) -> int:
    report = Report.model_validate_json(measured.read_text())
    if not report.machine.was_quiet:
        console.print(
            f"Nothing is published: the load was {report.machine.load_at_start} when {measured} was begun, and numbers "
            f"from a busy machine say little. Measure again when it is below {machine.QUIET_LOAD:g}."
        )
        return 1
    if report.scale == "tiny":
        console.print("Nothing is published: --tiny only shows that everything runs.")
        return 1
    publish(report, _CHECKOUT / "docs")
    return 0


def _measure(words: argparse.Namespace, console: Console) -> Report:
    wanted = list(_SECTIONS) if words.only is None else words.only.split(",")
    if unknown := set(wanted) - set(_SECTIONS):
        raise SystemExit(f"There is no section {', '.join(sorted(unknown))}; there are {', '.join(_SECTIONS)}.")
    here = machine.look()
    if not here.was_quiet:
        console.print(f"[yellow]The load is {here.load_at_start}: what is measured now says little.[/]")
    sections = []
    for key in wanted:
        started = time.monotonic()
        with folder() as place, console.status(f"{key} …") as status:

            def say(what: str, key: str = key, status_update: Callable[[str], None] = status.update) -> None:
                status_update(f"{key}: {what} …")
                if not console.is_terminal:
                    console.print(f"{time.strftime('%H:%M:%S')} {key}: {what}")

            section = _SECTIONS[key](Bench(_SCALES[words.scale], place, say, words.bars))
        sections.append(section.model_copy(update={"took_s": round(time.monotonic() - started, 1)}))
        console.print(f"{section.title}: {sections[-1].took_s:.0f} s")
    return Report(machine=here, scale=words.scale, sections=tuple(sections))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", dest="scale", action="store_const", const="full", help="long, for numbers to publish")
    size.add_argument("--tiny", dest="scale", action="store_const", const="tiny", help="only to see that it runs")
    parser.set_defaults(scale="short")
    parser.add_argument("--only", metavar="SECTION,…", help=f"of {', '.join(_SECTIONS)}")
    parser.add_argument("--bars", type=Path, default=_BARS, metavar="CSV", help="real BTC hours for the backtest")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), metavar="JSON", help="what was measured")
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md from it")
    parser.add_argument("--publish-only", action="store_true", help="measure nothing; publish what --out holds")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(_CHECKOUT))
    sys.exit(main())
