"""Past predictions, each with the time from which it was known: recorded ones, or made up with a stated skill."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Final

from allora_mqtt.market.predictions import Interval, Prediction
from allora_mqtt.protocol.errors import excerpt
from allora_mqtt.research.prices import Series
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.rows import read_rows, to_moment, to_price, to_span_s
from allora_mqtt.simulator.market import Market, MarketClock
from allora_mqtt.simulator.predictions import Network, Topic
from allora_mqtt.simulator.universe import Asset, Universe

COLUMNS: Final = ("at", "topic", "symbol", "horizon", "price")
_MAX_SYNTHETIC: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """A prediction, and from when on it was known, in unix seconds."""

    prediction: Prediction
    known_at: float


@dataclass(frozen=True, slots=True)
class Skill:
    """How synthetic predictions are made.

    Attributes:
        skill: correlation of predicted and true move, from 0 (noise) to 1 (an oracle).
        seed: same seed, same errors.
        horizon_s: how far ahead they look.
        every_s: how often there is one.
    """

    skill: float
    seed: int
    horizon_s: int
    every_s: int


def read_predictions(paths: Sequence[Path], delay_s: float) -> list[Known]:
    """Read predictions: `at,topic,symbol,horizon,price`, perhaps with `known_at`, `low_68`, `high_68`.

    Args:
        paths: the files.
        delay_s: a prediction is known this long after `at`, or from `known_at` on where that is later.

    Returns:
        Them in the order in which they became known; the same one twice counts once.

    Raises:
        ResearchError: what is wrong, and in which line; `CONTRADICTION` for two prices of one topic and time.
    """
    found: dict[tuple[int, float], Known] = {}
    for path in paths:
        for where, row in read_rows(path, COLUMNS, torn_end=True):
            known = _known(where, row, delay_s)
            key = known.prediction.topic_id, known.prediction.at
            earlier = found.setdefault(key, known)
            if earlier.prediction.price != known.prediction.price:
                raise ResearchError(
                    Problem.CONTRADICTION,
                    f"{where}: topic {key[0]} has another price at the same time further up. Remove one of them.",
                )
    return in_order(found.values())


def in_order(predictions: Iterable[Known]) -> list[Known]:
    """Return predictions in the order in which they became known."""
    return sorted(predictions, key=lambda known: (known.known_at, known.prediction.at, known.prediction.topic_id))


def of_topics(predictions: Sequence[Known], symbols: Iterable[str], chosen: Mapping[str, int]) -> list[Known]:
    """Return the predictions that steer, one topic for each coin, as live.

    Args:
        predictions: all of them.
        symbols: the coins that there are prices of.
        chosen: the topic of each coin that has more than one.

    Raises:
        ResearchError: `AMBIGUOUS_TOPIC`, or `NO_PREDICTIONS`.
    """
    topics: dict[str, set[int]] = defaultdict(set)
    for known in predictions:
        topics[known.prediction.symbol].add(known.prediction.topic_id)
    steering: set[tuple[str, int]] = set()
    for symbol in symbols:
        ids = topics.get(symbol, set())
        if symbol in chosen and chosen[symbol] not in ids:
            has = ", ".join(map(str, sorted(ids))) or "none"
            message = f"There are no predictions of {symbol} by topic {chosen[symbol]} (there are of topics: {has})."
            raise ResearchError(Problem.NO_PREDICTIONS, message)
        if symbol not in chosen and len(ids) > 1:
            raise ResearchError(
                Problem.AMBIGUOUS_TOPIC,
                f"{symbol} is predicted by the topics {', '.join(map(str, sorted(ids)))}, and one steers it: "
                f"say which with --topic {symbol}:{min(ids)}.",
            )
        steering |= {(symbol, chosen.get(symbol, topic_id)) for topic_id in ids}
    kept = [known for known in predictions if (known.prediction.symbol, known.prediction.topic_id) in steering]
    if not kept:
        has = ", ".join(sorted(topics)) or "nothing"
        message = f"There are no predictions of {', '.join(symbols)} (the file has those of {has})."
        raise ResearchError(Problem.NO_PREDICTIONS, message)
    return kept


def synthetic(series: Series, universe: Universe, skill: Skill, lead_s: float) -> list[Known]:
    """Make predictions up, as the simulator does: a share of the truth, and noise.

    They know the future to the degree of `skill`, so a result on them says how the rules use predictions of that
    quality and nothing about how good real ones are.

    Args:
        series: the prices, whose future they know.
        universe: names the asset.
        skill: how good they are and how often there is one.
        lead_s: each is made this long before the price at which it is known: the time that it takes to arrive.

    Raises:
        ResearchError: `BAD_OPTION`, or `UNKNOWN_SYMBOL`.
    """
    asset = universe.by_name(series.symbol)
    if asset is None or asset.is_delisted:
        message = f"{series.symbol} is not among the simulated exchange's coins."
        raise ResearchError(Problem.UNKNOWN_SYMBOL, message)
    if (series.end - series.start) / skill.every_s > _MAX_SYNTHETIC:
        raise ResearchError(Problem.BAD_OPTION, f"--every {skill.every_s} makes more than a million predictions.")
    # Market time lies behind by the lead: a value that is known on the hour was made shortly before it.
    market = Market(universe, _Past(series), MarketClock(lead_s, 0.0))
    network = Network(market, skill.seed, skill.skill, float(skill.every_s))
    topic = Topic(asset.index + 1, f"{series.symbol} synthetic", series.symbol, "price", skill.horizon_s)
    return [
        Known(_prediction(network, topic, known_at, lead_s), known_at) for known_at in _beats(series, skill, lead_s)
    ]


def _beats(series: Series, skill: Skill, lead_s: float) -> Iterator[float]:
    """Yield the times at which a synthetic prediction becomes known, as long as the data holds its outcome."""
    number = math.ceil((series.start + lead_s) / skill.every_s)
    while (known_at := float(number * skill.every_s)) - lead_s + skill.horizon_s <= series.end:
        yield known_at
        number += 1


def _prediction(network: Network, topic: Topic, known_at: float, lead_s: float) -> Prediction:
    inference = network.infer(topic, known_at)
    prices = [_as_price(value) for value in inference.interval]
    return Prediction(
        topic_id=topic.topic_id,
        symbol=topic.coin,
        price=_as_price(inference.value),
        interval_68=(prices[1], prices[3]),
        interval_95=(prices[0], prices[4]),
        horizon_s=topic.horizon_s,
        at=known_at - lead_s,
    )


def _as_price(value: float) -> Decimal:
    return Decimal(f"{value:.12g}")


class _Past:
    """A series as the simulator's predictions look at prices."""

    def __init__(self, series: Series) -> None:
        self._series = series
        logs = [math.log(bar.open) for bar in series.bars]
        squares = sum((later - earlier) ** 2 for earlier, later in pairwise(logs))
        self._sigma_1s = math.sqrt(squares / (series.bars[-1].at - series.bars[0].at))

    @property
    def start_s(self) -> float:
        """The time of the first price."""
        return self._series.start

    def price(self, asset: Asset, time_s: float) -> float:
        """The price at a time."""
        del asset
        return float(self._series.price_at(time_s))

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        """The usual move over a span, estimated from the whole series."""
        del asset
        return self._sigma_1s * math.sqrt(horizon_s)


def _known(where: str, row: dict[str, str], delay_s: float) -> Known:
    at = to_moment(row["at"], where)
    known_at = to_moment(row["known_at"], where) if row.get("known_at", "").strip() else at
    return Known(
        Prediction(
            topic_id=_topic(row["topic"], where),
            symbol=row["symbol"].strip(),
            price=to_price(row["price"], where),
            interval_68=_interval(where, row.get("low_68", ""), row.get("high_68", "")),
            interval_95=None,
            horizon_s=to_span_s(row["horizon"], where),
            at=at,
        ),
        max(at + delay_s, known_at),
    )


def _topic(text: str, where: str) -> int:
    if not text.strip().isdecimal():
        raise ResearchError(Problem.BAD_NUMBER, f"{where}: {excerpt(text)} is no topic id.")
    return int(text)


def _interval(where: str, low: str, high: str) -> Interval | None:
    if not low.strip() or not high.strip():
        return None
    return to_price(low, where), to_price(high, where)
