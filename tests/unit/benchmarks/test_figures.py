"""The suite's own arithmetic: what is summed up, divided and called met."""

import pytest

from benchmarks.figures import Goal, Spread, percentile, ratios, short, spread
from benchmarks.market import wide_topics, wide_universe
from benchmarks.scale import COINS
from benchmarks.signals import own_times_ms


def test_a_spread_is_the_median_with_the_lowest_and_the_highest_round() -> None:
    assert spread([3, 1, 2]) == Spread(median=2, low=1, high=3)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1, 100), (0, 1)])
def test_a_percentile_is_a_sample(share: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([2, 30], [1, 10]) == Spread(median=2.5, low=2, high=3)


@pytest.mark.parametrize(
    ("is_least", "measured", "verdict"),
    [
        (False, 1.5, "met"),
        (False, 3.0, "missed by a factor of 2.00"),
        (True, 2.0, "met"),
        (True, 0.5, "missed by a factor of 3.00"),
    ],
)
def test_a_goal_says_by_how_much_it_was_missed(is_least: bool, measured: float, verdict: str) -> None:  # noqa: FBT001
    goal = Goal(what="a goal", limit=1.5, measured=spread([measured]), unit="x", is_least=is_least)
    assert goal.verdict() == verdict


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.01234, "0.0123"), (1.5, "1.50"), (22.86, "22.9"), (1234.5, "1,234")]
)
def test_numbers_have_the_digits_that_count(value: float, shown: str) -> None:
    assert short(value) == shown


def test_the_wide_market_predicts_every_coin_that_is_traded() -> None:
    universe = wide_universe()
    predicted = {topic.coin for topic in wide_topics(universe) if topic.kind == "price"}
    assert len(universe.live) == COINS
    assert {asset.name for asset in universe.live} <= predicted
    assert len({topic.topic_id for topic in wide_topics(universe)}) == len(wide_topics(universe))


def test_an_order_is_paired_with_the_news_that_caused_it() -> None:
    asset = next(asset for asset in wide_universe().live if asset.name == "BTC").index
    order = {"path": "/exchange", "assets": [asset]}
    asked = {"path": "/v2/allora/consumer/x", "type": "inference", "topic": 14}
    log = [
        {**asked, "of": 1, "came_at": 10.0, "ready_at": 10.01},
        {**order, "came_at": 10.02, "ready_at": 10.03},
        {**asked, "of": 1, "came_at": 12.0, "ready_at": 12.01},
        {"path": "/info", "type": "metaAndAssetCtxs", "came_at": 12.5, "ready_at": 12.6},
        {**order, "came_at": 12.605, "ready_at": 12.7},
    ]
    assert own_times_ms(log, 0, {"BTC": 14}) == pytest.approx([10, 5])
    assert own_times_ms(log, 11, {"BTC": 14}) == pytest.approx([5])
