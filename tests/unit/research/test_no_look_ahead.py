"""What is decided up to a time must not depend on anything that came after it; and the test of that can fail."""

import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.research.backtest import Backtest
from allora_mqtt.research.predictions import Known
from allora_mqtt.research.prices import Bar
from allora_mqtt.research.steps import Kind, Step
from allora_mqtt.trading.strategy import Opinion, Situation
from tests.unit.research.things import HOUR_S, backtest, hour, known, series

HOURS = 24
LIVELY: dict[str, Any] = {
    "price_gap_pct": "0.3",
    "cooldown_s": 3600,
    "max_daily_loss_pct": 3,
    "amount_usd": 200,
    "max_symbol_exposure_usd": 10_000,
}

Story = tuple[list[Bar], list[Known]]


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - stories, no secrets


def told(chance: random.Random) -> Story:
    """Make up a day: hours that move by percents, predictions at any time, each for a few hours."""
    history: list[Bar] = []
    price = 50_000
    for number in range(HOURS):
        low, high = price - chance.randrange(900), price + chance.randrange(900)
        close = chance.randint(low, high)
        history.append(Bar(hour(number), HOUR_S, *map(Decimal, (price, high, low, close))))
        price = close
    predictions = [
        known(
            hour(chance.uniform(-0.2, HOURS)),
            int(50_000 * chance.uniform(0.96, 1.04)),
            horizon_s=chance.choice([3600, 2 * 3600, 8 * 3600]),
            delay_s=chance.choice([0, 5, 600]),
        )
        for _ in range(HOURS)
    ]
    return history, predictions


def with_another_future(story: Story, after: float, other: Story) -> Story:
    """Return the story up to a time, and what another one tells from there on."""
    history = []
    for mine, others in zip(story[0], other[0], strict=True):
        if mine.at > after:
            history.append(others)
        elif mine.at + mine.span_s / 2 > after:
            history.append(replace(others, open=mine.open))
        elif mine.end > after:
            history.append(replace(mine, close=others.close))
        else:
            history.append(mine)
    predictions = [known for known in story[1] if known.known_at <= after]
    return history, predictions + [known for known in other[1] if known.known_at > after]


def traces(story: Story, until: float, kind: type[Backtest]) -> dict[str, Any]:
    run = backtest([series(story[0])], story[1], kind=kind, **LIVELY).go()
    return {
        "decisions": [decision for decision in run.decisions if decision.at <= until],
        "equity": [moment for moment in run.equity if moment.at <= until],
        "trades": [trade for trade in run.trades if trade.closed_at <= until],
        "tripped": [trip for trip in run.tripped if trip.at <= until],
    }


def is_blind_to_the_future(kind: type[Backtest], seed: int, after: float) -> bool:
    chance = _chance(seed)
    story = told(chance)
    other = with_another_future(story, after, told(chance))
    return traces(story, after, kind) == traces(other, after, kind)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.floats(0, 1))
def test_no_decision_order_or_equity_depends_on_what_came_later(seed: int, share: float) -> None:
    # The last hour is left out: that the data ends is known to nobody but the test.
    assert is_blind_to_the_future(Backtest, seed, hour(share * (HOURS - 1)))


def test_the_stories_are_lively_enough_to_tell() -> None:
    run = backtest([series(told(_chance(1))[0])], told(_chance(1))[1], **LIVELY).go()
    assert len(run.trades) >= 3
    assert any(decision.reason for decision in run.decisions)


class KnowsPredictionsEarly(Backtest):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._predictions = [replace(known, known_at=known.known_at - HOUR_S) for known in self._predictions]


class SeesTheCloseAtTheOpen(Backtest):
    def _take(self, step: Step) -> None:
        if step.kind is Kind.OPEN:
            bar = next(bar for bar in self._series[0].bars if bar.at == step.at)
            step = replace(step, prices=(bar.close,))
        super()._take(step)


class AsksTheNextBar(Backtest):
    def _opinion(self, situation: Situation) -> Opinion:
        quote, prediction = situation.quote, situation.prediction
        later = self._series[0].first_price_from(quote.at + HOUR_S)
        wrong = later is not None and (later > quote.mark) is not (prediction.price > quote.mark)
        opinion = super()._opinion(situation)
        return replace(opinion, direction=Direction.HOLD) if wrong else opinion


class LosesOnlyWhatTheBarEndsWith(Backtest):
    def _take(self, step: Step) -> None:
        if step.kind is Kind.RANGE:
            bar = next(bar for bar in self._series[0].bars if bar.at < step.at < bar.end)
            step = replace(step, prices=(bar.close, bar.close))
        super()._take(step)


@pytest.mark.parametrize(
    "cheat", [KnowsPredictionsEarly, SeesTheCloseAtTheOpen, AsksTheNextBar, LosesOnlyWhatTheBarEndsWith]
)
def test_one_that_looks_ahead_is_caught(cheat: type[Backtest]) -> None:
    assert any(not is_blind_to_the_future(cheat, seed, after) for seed, after in _moments())


def test_the_same_moments_do_not_accuse_the_honest_one() -> None:
    assert all(is_blind_to_the_future(Backtest, seed, after) for seed, after in _moments())


def _moments() -> Iterator[tuple[int, float]]:
    chance = _chance(7)
    return ((seed, hour(chance.uniform(0, HOURS - 1))) for seed in range(12))
