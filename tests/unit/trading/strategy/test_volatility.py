import math
from dataclasses import replace
from decimal import Decimal

import pytest

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.strategy import PriceHistory, Situation, judge, volatility_pct
from allora_mqtt.trading.strategy.history import SAMPLE_S, volatility_over_pct
from tests.unit.trading.things import NOW_S, prediction, quote, samples, situation

MOVE = 0.002
LIVELY = samples(*(2000 * math.exp(MOVE * (number % 2)) for number in range(25)))
"""Twelve steps up and twelve down, each of 0.2 %."""
DEVIATION = MOVE * math.sqrt(24 / 23)


def test_the_volatility_is_the_deviation_of_24_log_returns_times_the_root_of_24() -> None:
    found = volatility_pct(LIVELY)
    assert found is not None
    assert float(found) == pytest.approx(DEVIATION * math.sqrt(24) * 100)


def test_only_the_newest_24_returns_count() -> None:
    jump = samples(1000, *(float(sample.mark) for sample in LIVELY))
    assert volatility_pct(jump) == volatility_pct(LIVELY)


def test_24_prices_are_one_too_few() -> None:
    assert volatility_pct(LIVELY[1:]) is None
    assert volatility_pct(()) is None


def test_the_volatility_grows_with_the_root_of_time() -> None:
    window, horizon = volatility_pct(LIVELY), volatility_over_pct(LIVELY, 8 * 3600)
    assert window is not None
    assert horizon is not None
    assert float(horizon / window) == pytest.approx(2)


def at_gap(gap_pct: float, **changes: object) -> Situation:
    predicted = repr(round(2000 * (1 + gap_pct / 100), 6))
    return situation("2000", predicted, LIVELY, strategy="volatility", **changes)


@pytest.mark.parametrize(
    ("gap", "direction"),
    [(2.1, Direction.BUY), (1.9, Direction.HOLD), (-1.9, Direction.HOLD), (-2.1, Direction.SELL)],
)
def test_a_gap_must_reach_the_volatility_over_the_horizon(gap: float, direction: Direction) -> None:
    # 0.2043 % a sample, and 96 samples in eight hours: 2.002 %.
    assert judge(at_gap(gap)).direction is direction


def test_the_ratio_and_the_threshold_both_bound_it_from_below() -> None:
    assert judge(at_gap(1.1, volatility_ratio="0.5")).direction is Direction.BUY
    assert judge(at_gap(0.9, volatility_ratio="0.5")).direction is Direction.HOLD
    assert judge(at_gap(1.1, volatility_ratio="0.5", price_gap_pct="1.2")).direction is Direction.HOLD


def test_a_shorter_horizon_wants_a_smaller_gap() -> None:
    short = replace(prediction("2012"), horizon_s=300)
    assert judge(replace(at_gap(0.6), prediction=short)).direction is Direction.BUY
    assert judge(at_gap(0.6)).direction is Direction.HOLD


def test_it_says_what_it_compared() -> None:
    (reason,) = judge(at_gap(2.1)).reasons
    assert reason.startswith("gap +2.100 % against 2.002 %: 1.0 times the volatility of 2.002 % over the horizon")


def test_without_enough_samples_it_holds_and_says_how_many_there_are() -> None:
    few = situation("2000", "2200", LIVELY[:10], strategy="volatility")
    assert judge(few).direction is Direction.HOLD
    assert judge(few).reasons == ("the volatility needs 24 samples and there are 9",)
    none = situation("2000", "2200", strategy="volatility")
    assert judge(none).reasons == ("the volatility needs 24 samples and there are 0",)


def taken(*times: float) -> list[float]:
    history = PriceHistory()
    for at in times:
        history.take({"ETH": replace(quote(), at=at)}, at)
    return [sample.at for sample in history.of("ETH")]


def test_a_sample_is_taken_every_five_minutes() -> None:
    assert taken(*(float(at) for at in range(0, 1000, 3))) == [0, 300, 600, 900]


def test_a_pause_breaks_the_row() -> None:
    assert taken(0, 300, 600 + 149) == [0, 300, 749]
    assert taken(0, 300, 600 + 151) == [751]
    assert taken(1000, 300) == [300]


def test_a_price_that_nobody_confirmed_is_no_sample() -> None:
    history = PriceHistory()
    history.take({"ETH": replace(quote(), at=NOW_S - 61)}, NOW_S)
    assert history.of("ETH") == ()
    history.take({"ETH": replace(quote(mark="7"), at=NOW_S)}, NOW_S + 3)
    history.take({"ETH": replace(quote(mark="8"), at=NOW_S + 3)}, NOW_S + 6)
    assert [sample.mark for sample in history.of("ETH")] == [Decimal(7)]
    history.take({"ETH": replace(quote(mark="9"), at=NOW_S + 250)}, NOW_S + 3 + SAMPLE_S)
    assert [sample.mark for sample in history.of("ETH")] == [Decimal(7), Decimal(9)]
    assert history.of("BTC") == ()
