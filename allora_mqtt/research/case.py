"""A case to be tried: which prices, which predictions, under which settings and assumptions; and the trying of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.metadata import entry_points
from pathlib import Path

from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.research.backtest import Backtest
from allora_mqtt.research.predictions import Known, Skill, in_order, of_topics, read_predictions, synthetic
from allora_mqtt.research.prices import Series, read_bars, read_ticks
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.run import Assumptions, Run
from allora_mqtt.simulator.universe import Universe
from allora_mqtt.trading.strategy import GROUP, installed


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks to be tried.

    Attributes:
        bars: a CSV file of bars for each coin.
        recording: a folder that `allora-mqtt record` has written; instead of `bars`.
        predictions: CSV files of predictions; those of the recording or synthetic ones, without.
        skill: how synthetic predictions are made, where there are no others.
        topics: the topic that steers a coin, where several predict it.
        delay_s: how long a prediction takes to arrive.
        start: the first time that counts, unix seconds.
        end: the last.
    """

    bars: Mapping[str, Path]
    recording: Path | None
    predictions: Sequence[Path]
    skill: Skill | None
    topics: Mapping[str, int]
    delay_s: float
    start: float | None
    end: float | None
    allow_gaps: bool


@dataclass(frozen=True, slots=True)
class Case:
    """Prices and predictions that belong together.

    Attributes:
        series: the prices of each coin that is predicted.
        predictions: all of them, for hit rates.
        steering: those of the topics that steer.
        files: where the predictions come from; none for synthetic ones.
        skill: how synthetic predictions were made; None for recorded ones.
    """

    series: tuple[Series, ...]
    predictions: tuple[Known, ...]
    steering: tuple[Known, ...]
    files: tuple[Path, ...]
    skill: Skill | None
    delay_s: float

    @property
    def start(self) -> float:
        """When the first price holds."""
        return min(series.start for series in self.series)

    @property
    def end(self) -> float:
        """When the last price holds."""
        return max(series.end for series in self.series)

    def between(self, start: float | None, end: float | None) -> "Case":
        """Return the part of it that lies between two times, with the predictions that were known by its end.

        Raises:
            ResearchError: `EMPTY_RANGE`.
        """
        series = tuple(each.between(start, end) for each in self.series)
        last = max(each.end for each in series)
        predictions, steering = (
            tuple(known for known in all_of_them if known.known_at <= last)
            for all_of_them in (self.predictions, self.steering)
        )
        return replace(self, series=series, predictions=predictions, steering=steering)


def open_case(request: Request, universe: Universe) -> Case:
    """Read what was asked for.

    Raises:
        ResearchError: what is wrong with it.
    """
    series = [each.between(request.start, request.end) for each in _prices(request)]
    files = list(request.predictions)
    if not files and request.skill is None and request.recording is not None:
        files = _recorded(request.recording, "predictions")
    if files and request.skill is not None:
        raise ResearchError(Problem.BAD_OPTION, "Predictions come from a file or from --skill, not from both.")
    if request.skill is not None:
        made = (synthetic(each, universe, request.skill, request.delay_s) for each in series)
        predictions = in_order(known for some in made for known in some)
    elif files:
        predictions = read_predictions(files, request.delay_s)
    else:
        raise ResearchError(
            Problem.NO_PREDICTIONS,
            "There are no predictions: name a file with --predictions, or have some made up with --skill 0.2.",
        )
    steering = of_topics(predictions, [each.symbol for each in series], request.topics)
    predicted = {known.prediction.symbol for known in steering}
    case = Case(
        series=tuple(each for each in series if each.symbol in predicted),
        predictions=tuple(predictions),
        steering=tuple(steering),
        files=tuple(files),
        skill=request.skill,
        delay_s=request.delay_s,
    )
    return case.between(None, None)


def try_case(
    case: Case,
    settings: RuntimeSettings,
    assumptions: Assumptions,
    universe: Universe,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> Run:
    """Run a backtest of a case.

    Raises:
        ResearchError: `UNKNOWN_SYMBOL`, or `BAD_OPTION` for an assumption that cannot hold.
    """
    check(assumptions)
    strategies, _ = installed(entry_points(group=GROUP))
    if settings.strategy not in strategies:
        message = f"There is no strategy {settings.strategy!r}; there are {', '.join(sorted(strategies))}."
        raise ResearchError(Problem.BAD_OPTION, message)
    return Backtest(case.series, case.steering, settings, assumptions, universe, strategies).go(on_progress)


def check(assumptions: Assumptions) -> None:
    """Refuse assumptions that cannot hold.

    Raises:
        ResearchError: `BAD_OPTION`.
    """
    bounds = (
        (assumptions.cash_usd, Decimal(1), Decimal(10) ** 9, "--cash"),
        (assumptions.spread_bps, Decimal(0), Decimal(1000), "--spread-bps"),
        (assumptions.slippage_bps, Decimal(0), Decimal(1000), "--slippage-bps"),
        (assumptions.funding_rate, Decimal("-0.04"), Decimal("0.04"), "--funding-rate"),
    )
    for value, low, high, option in bounds:
        if not low <= value <= high:
            raise ResearchError(Problem.BAD_OPTION, f"{option} {value} is not between {low} and {high}.")


def _prices(request: Request) -> list[Series]:
    if request.recording is not None and request.bars:
        raise ResearchError(Problem.BAD_OPTION, "Prices come from --prices or from --data, not from both.")
    if request.recording is not None:
        series = read_ticks(_recorded(request.recording, "prices"))
        if not series:
            raise ResearchError(Problem.EMPTY_RANGE, f"{request.recording} holds no prices yet.")
        return series
    if not request.bars:
        raise ResearchError(
            Problem.BAD_OPTION, "There are no prices: name a file with --prices BTC=hours.csv, or a folder with --data."
        )
    return [read_bars(path, symbol, allow_gaps=request.allow_gaps) for symbol, path in request.bars.items()]


def _recorded(folder: Path, what: str) -> list[Path]:
    files = sorted(folder.glob(f"{what}-*.csv"))
    if not files:
        raise ResearchError(
            Problem.NO_FILE,
            f"{folder} holds no {what}-….csv; `allora-mqtt record --out {folder}` writes them while a bot runs.",
        )
    return files
