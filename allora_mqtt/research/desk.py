"""The door of this room: what the command line asks for, done and kept."""

from collections.abc import Callable, Sequence
from pathlib import Path

from allora_mqtt.files import write_whole
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.research import report
from allora_mqtt.research.case import Case, Request, open_case, try_case
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.result import Result, SweepResult, parse_result
from allora_mqtt.research.rows import read_text
from allora_mqtt.research.run import Assumptions
from allora_mqtt.research.steps import count
from allora_mqtt.research.summary import result_of
from allora_mqtt.research.sweep import Split, try_all
from allora_mqtt.simulator.universe import Universe

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


def backtest(
    request: Request, settings: RuntimeSettings, assumptions: Assumptions, title: str, on_progress: Progress
) -> Result:
    """Run a backtest.

    Raises:
        ResearchError: what is wrong with the data or the request.
    """
    universe = Universe.load()
    case = open_case(request, universe)
    total = count(case.series)
    run = try_case(case, settings, assumptions, universe, lambda done: on_progress(done, total))
    return result_of(case, run, settings, assumptions, title or _title_of(case, "backtest"))


def sweep(
    request: Request,
    combinations: Sequence[RuntimeSettings],
    settings: RuntimeSettings,
    split: Split,
    assumptions: Assumptions,
    title: str,
    on_progress: Progress,
) -> SweepResult:
    """Run the backtests of many settings.

    Raises:
        ResearchError: what is wrong with the data or the request.
    """
    case = open_case(request, Universe.load())
    name, total = title or _title_of(case, "sweep"), len(combinations)
    return try_all(case, combinations, settings, assumptions, split, name, lambda done: on_progress(done, total))


def write_result(result: Result | SweepResult, path: Path) -> Path:
    """Write a result as JSON.

    Raises:
        ResearchError: `NOT_WRITABLE`.
    """
    _write(path, result.model_dump_json(indent=1) + "\n")
    return path


def write_report(result: Result | SweepResult, path: Path) -> Path:
    """Write a result as an HTML page.

    Raises:
        ResearchError: `NO_LIBRARY`, or `NOT_WRITABLE`.
    """
    _write(path, report.render(result))
    return path


def read_result(path: Path) -> Result | SweepResult:
    """Read what a backtest or a sweep has written.

    Raises:
        ResearchError: `NO_FILE`, or `BAD_RESULT`.
    """
    return parse_result(read_text(path), str(path))


def read_books(url: str, start: float | None, end: float | None) -> Result:
    """Read what a bot really did from its database.

    Raises:
        ResearchError: there is none, it is of something else, or it holds nothing of that time.
    """
    from allora_mqtt.research import books  # noqa: PLC0415 - backtests need no database

    return books.read_books(url, start, end)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}. Choose another place with --out."
        raise ResearchError(Problem.NOT_WRITABLE, message) from error


def _title_of(case: Case, what: str) -> str:
    coins = ", ".join(series.symbol for series in case.series)
    return f"{coins}: {what}{' on synthetic predictions' if case.skill is not None else ''}"
