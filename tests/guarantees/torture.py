"""`python -m tests.guarantees.torture`: the long form of every promise, and one line for each at the end."""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
RESULTS: Final = ROOT / "docs" / "guarantees.md"
KEPT: Final = ROOT / "docs" / "guarantees.json"
_BEGIN, _END = "<!-- results: written by make torture -->", "<!-- end of results -->"

PROMISES: Final = {
    "G1": "no command is lost",
    "G2": "none runs twice",
    "G3": "never backwards",
    "G4": "STANDBY means it",
    "G5": "starts in STANDBY",
    "G6": "what is published is what is",
    "G7": "orders go out once",
    "G8": "limits hold",
    "G9": "every position has its stop",
    "G10": "bad input harms nothing",
    "G11": "one bot per base topic",
    "G12": "no secret leaves",
    "G13": "only who may, can",
    "G14": "it recovers by itself",
    "G15": "it stays small",
    "G16": "a pair is one bot",
}


def main() -> int:
    """Run, and say what was seen; returns pytest's exit code."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats an earlier run; a new one is drawn without")
    parser.add_argument("--only", nargs="+", metavar="G", choices=PROMISES, help="these promises alone")
    parser.add_argument("--short", action="store_true", help="the short form, as `make test` runs it")
    parser.add_argument("--workers", default="3", help="how many tests run at once")
    parser.add_argument("--write", action="store_true", help=f"keep the results in {RESULTS.relative_to(ROOT)}")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**8) if options.seed is None else options.seed
    console = Console()
    console.print(f"Seed {seed}; the same again with [bold]make torture SEED={seed}[/bold]")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        environment = {**os.environ, "TORTURE_SEED": str(seed), "TORTURE_REPORT_DIR": folder}
        if not options.short:
            environment["TORTURE"] = "long"
        words = [
            *(sys.executable, "-m", "pytest", *_files(options.only), "-v", "-n", options.workers),
            *("--dist", "loadgroup", f"--hypothesis-seed={seed}", "-p", "no:cacheprovider"),
        ]
        code = subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode
        rows = sorted((json.loads(file.read_text()) for file in Path(folder).glob("*.json")), key=_order)
    minutes = (time.monotonic() - started) / 60
    _show(console, rows)
    verdict = "every promise was kept" if code == 0 else "NOT every promise was kept: see above"
    which = "all" if options.only is None else " ".join(options.only)
    summary = f"{which}, {minutes:.0f} min, seed {seed}: {verdict}."
    console.print(summary)
    if options.write:
        _write(rows, summary)
    return code


def _files(only: list[str] | None) -> list[str]:
    """Return the test files of these promises; what else lies in the folder belongs to all of them."""
    files = sorted(HERE.glob("test_*.py"))
    if only is None:
        return [str(file) for file in files]
    # The storm judges G3 and G6 as well, in the file of G2.
    wanted = {each.lower() for each in only} | ({"g2"} if {"G3", "G6"} & set(only) else set())
    return [str(file) for file in files if file.name.split("_")[1] in wanted]


def _order(row: dict[str, Any]) -> tuple[int, str]:
    return int(row["promise"].removeprefix("G")), row["where"]


def _counts(row: dict[str, Any]) -> str:
    skipped = {"promise", "where", "seed", "date"}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in row.items() if key not in skipped)


def _show(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table("", "promise", "where", "counted", box=None, padding=(0, 1))
    for row in rows:
        table.add_row(row["promise"], PROMISES[row["promise"]], row["where"], _counts(row))
    console.print(table)


def _write(rows: list[dict[str, Any]], summary: str) -> None:
    """Keep what this run has shown, beside what earlier ones have shown of other promises."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    kept = {(row["promise"], row["where"]): row for row in (json.loads(KEPT.read_text()) if KEPT.exists() else [])}
    kept |= {(row["promise"], row["where"]): {**row, "date": today} for row in rows}
    rows = sorted(kept.values(), key=_order)
    KEPT.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    before, _, rest = RESULTS.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    lines = [
        _BEGIN,
        f"`make torture SEED=…`, {machine}; the last run on {today}: {summary}",
        "",
        "| | promise | where | counted | seed | date |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['promise']} | {PROMISES[row['promise']]} | {row['where']} | {_counts(row)} | {row['seed']} "
            f"| {row['date']} |"
            for row in rows
        ),
        "",
    ]
    RESULTS.write_text(before + "\n".join(lines) + _END + after)


if __name__ == "__main__":
    sys.exit(main())
