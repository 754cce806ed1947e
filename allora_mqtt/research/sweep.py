"""Many backtests that differ in price gap, target ratio and stop ratio, on all cores.

One part of the data is there to choose by, the rest to judge by.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from multiprocessing import active_children, get_context
from statistics import StatisticsError, correlation
from typing import Final

from allora_mqtt import __version__
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings
from allora_mqtt.research.case import Case, try_case
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.result import Figures, SweepCell, SweepResult, Warned
from allora_mqtt.research.rows import utc
from allora_mqtt.research.run import Assumptions
from allora_mqtt.research.summary import FEW_TRADES, assumptions_view, cautions, figures_of, prediction_source, sources
from allora_mqtt.simulator.universe import Universe

MAX_CELLS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Grid:
    """The values to combine."""

    price_gap_pct: tuple[Decimal, ...]
    tp_ratio: tuple[Decimal, ...]
    sl_ratio: tuple[Decimal, ...]

    def combinations(self, base: RuntimeSettings, hard_limits: HardLimits) -> list[RuntimeSettings]:
        """Return the settings of each combination.

        Raises:
            Rejected: a value is out of its range.
            ResearchError: `BAD_OPTION`, for too many combinations.
        """
        names = ("price_gap_pct", "tp_ratio", "sl_ratio")
        values = (self.price_gap_pct, self.tp_ratio, self.sl_ratio)
        if len(set(self.price_gap_pct)) * len(set(self.tp_ratio)) * len(set(self.sl_ratio)) > MAX_CELLS:
            raise ResearchError(Problem.BAD_OPTION, f"These are more than {MAX_CELLS} combinations; give fewer values.")
        each = product(*(sorted(set(some)) for some in values))
        return [base.changed(dict(zip(names, one, strict=True)), hard_limits) for one in each]


@dataclass(frozen=True, slots=True)
class Split:
    """How the work and the data are divided.

    Attributes:
        train_share: the first part of the time, to choose by; the rest judges.
        workers: processes; one for each core, without.
    """

    train_share: float
    workers: int | None


@dataclass(frozen=True, slots=True)
class _Work:
    """What a combination is tried on."""

    train: Case
    test: Case
    assumptions: Assumptions


def try_all(
    case: Case,
    combinations: Sequence[RuntimeSettings],
    base: RuntimeSettings,
    assumptions: Assumptions,
    division: Split,
    title: str,
    on_progress: Callable[[int], None],
) -> SweepResult:
    """Try every combination on both parts of the data.

    Args:
        case: prices and predictions.
        combinations: the settings to try.
        base: those that the combinations start from.
        assumptions: of the world.
        division: of the time and of the work.
        title: of the report.
        on_progress: told how many combinations are done.

    Raises:
        ResearchError: the data cannot be split, or a case cannot be tried.
    """
    if not 0.1 <= division.train_share <= 0.9:  # noqa: PLR2004 - a tenth is little enough
        raise ResearchError(Problem.BAD_OPTION, f"--train {division.train_share} is not between 0.1 and 0.9.")
    split = case.start + (case.end - case.start) * division.train_share
    work = _Work(case.between(None, split), case.between(split, None), assumptions)
    cells: list[SweepCell | None] = [None] * len(combinations)
    for done, (index, cell) in enumerate(_tried(work, combinations, division.workers or os.cpu_count() or 1), 1):
        cells[index] = cell
        on_progress(done)
    tried = [cell for cell in cells if cell is not None]
    whole = try_case(case, base, assumptions, Universe.load())
    return SweepResult(
        version=__version__,
        title=title,
        start=utc(case.start),
        split=utc(split),
        end=utc(case.end),
        settings=base.model_dump(mode="json", exclude={"price_gap_pct", "tp_ratio", "sl_ratio"}),
        assumptions=assumptions_view(assumptions),
        prices=sources(case),
        predictions=prediction_source(case, len(whole.used)),
        warnings=[_overfitting(len(combinations)), *_few(tried), *cautions(case, whole)],
        cells=tried,
    )


def rank_agreement(cells: Sequence[SweepCell]) -> float | None:
    """Return Spearman's rank correlation of the returns in both parts; None where it cannot be told."""
    train = _ranks([float(cell.train.return_pct) for cell in cells])
    test = _ranks([float(cell.test.return_pct) for cell in cells])
    try:
        return correlation(train, test)
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal ones share the mean of theirs."""
    order = sorted(values)
    first = {value: order.index(value) for value in set(values)}
    return [first[value] + (order.count(value) - 1) / 2 for value in values]


def _overfitting(count: int) -> Warned:
    return Warned(
        code="OVERFITTING",
        message=f"Of {count} combinations the best one is the best by luck too. What it made in the first part is no "
        "estimate of anything; only the rest of the data, which had no say in the choice, is, and only once.",
    )


def _few(cells: Sequence[SweepCell]) -> list[Warned]:
    fewest = min(min(cell.train.trades, cell.test.trades) for cell in cells)
    message = f"Some combinations made as few as {fewest} trades in one part of the data: luck decides there."
    return [Warned(code="FEW_TRADES", message=message)] if fewest < FEW_TRADES else []


def _tried(work: _Work, combinations: Sequence[RuntimeSettings], workers: int) -> Iterator[tuple[int, SweepCell]]:
    """Yield the cells as they are done, with their places."""
    # Spawned, not forked: a fork of a program with threads may hang.
    context = get_context("spawn")
    count = min(workers, len(combinations))
    # Ctrl-C is for the one who started them, and ends them.
    deaf = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(count, mp_context=context, initializer=signal.signal, initargs=deaf) as pool:
        pending = {pool.submit(_try, work, settings): index for index, settings in enumerate(combinations)}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()
            raise


def _try(work: _Work, settings: RuntimeSettings) -> SweepCell:
    return SweepCell(
        price_gap_pct=settings.price_gap_pct,
        tp_ratio=settings.tp_ratio,
        sl_ratio=settings.sl_ratio,
        train=_figures(work.train, settings, work.assumptions),
        test=_figures(work.test, settings, work.assumptions),
    )


def _figures(case: Case, settings: RuntimeSettings, assumptions: Assumptions) -> Figures:
    run = try_case(case, settings, assumptions, Universe.load())
    return figures_of(case, run, assumptions)
