import math
import statistics

import pytest

from allora_mqtt.simulator.market import Market, MarketClock
from allora_mqtt.simulator.predictions import Network, Topic, topics
from allora_mqtt.simulator.prices import RandomPrices
from tests.unit.simulator.bench import UNIVERSE

TOPICS = {topic.topic_id: topic for topic in topics(UNIVERSE)}
BITCOIN = UNIVERSE.assets[0]


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(UNIVERSE, RandomPrices(7, UNIVERSE), MarketClock(0.0, 0.0))


def test_topics_have_the_network_s_own_numbers() -> None:
    hours = {number: (TOPICS[number].coin, TOPICS[number].kind, TOPICS[number].horizon_s / 3600) for number in TOPICS}
    assert [hours[number] for number in (14, 9, 10)] == [("BTC", "price", 8), ("ETH", "price", 8), ("SOL", "price", 8)]
    assert [hours[number][:2] for number in (1, 2, 3, 19)] == [
        (coin, "log_return") for coin in ("BTC", "ETH", "SOL", "NEAR")
    ]
    assert [hours[number][2] for number in (15, 16, 17, 18, 13)] == [24, 24, 24, pytest.approx(1 / 3), 1 / 12]
    assert len([number for number in TOPICS if number > 100]) >= 15
    assert not TOPICS[21].is_active
    assert TOPICS[20].kind == "volatility"


def test_every_topic_is_about_a_live_asset_and_has_its_own_number() -> None:
    live = {asset.name for asset in UNIVERSE.live}
    assert len(TOPICS) == len(topics(UNIVERSE))
    assert all(topic.coin in live for topic in TOPICS.values())


@pytest.mark.parametrize("skill", [0.0, 0.6, 1.0])
def test_predictions_are_as_good_as_the_skill_says(market: Market, skill: float) -> None:
    network, topic, count = Network(market, seed=7, skill=skill, epoch_s=15), TOPICS[18], 250
    predicted, true = [], []
    for number in range(count):
        inference = network.infer(topic, number * 7_919.0)
        begin_s = float(inference.time_s)
        ends = [market.price_at(BITCOIN, begin_s + ahead_s, begin_s) for ahead_s in (0, topic.horizon_s)]
        predicted.append(inference.value)
        true.append(math.log(ends[1] / ends[0]))
    assert statistics.correlation(predicted, true) == pytest.approx(skill, abs=0.15)
    assert statistics.pstdev(predicted) == pytest.approx(statistics.pstdev(true), rel=0.15)
    # How often the direction is right, of two normal variables with this correlation; fat tails take a little off.
    right = sum((one > 0) == (other > 0) for one, other in zip(predicted, true, strict=True)) / count
    expected = 0.5 + math.asin(skill) / math.pi
    error = math.sqrt(expected * (1 - expected) / count)
    assert expected - 3 * error - 0.02 <= right <= expected + 3 * error


@pytest.mark.parametrize("speed", [1.0, 3_600.0])
def test_a_faster_market_is_predicted_as_well(speed: float) -> None:
    fast = Market(UNIVERSE, RandomPrices(7, UNIVERSE), MarketClock(0.0, 0.0, speed))
    network, topic = Network(fast, seed=7, skill=1.0, epoch_s=1), TOPICS[14]
    for number in range(20):
        inference = network.infer(topic, float(number * 7))
        arrives_s = inference.time_s + topic.horizon_s / speed
        assert inference.value == pytest.approx(fast.price_at(BITCOIN, arrives_s, arrives_s), rel=1e-9)


def test_an_inference_stands_for_an_epoch_and_then_changes(market: Market) -> None:
    network = Network(market, seed=7, skill=0.6, epoch_s=15)
    first, same, other = (network.infer(TOPICS[14], wall_s) for wall_s in (30.0, 44.9, 45.0))
    assert first == same
    assert first.time_s == 30
    assert (other.value, other.time_s) != (first.value, first.time_s)


def test_price_and_interval_belong_together(market: Market) -> None:
    inference = Network(market, seed=7, skill=0.6, epoch_s=15).infer(TOPICS[14], 0.0)
    assert inference.interval[2] == pytest.approx(inference.value)
    assert list(inference.interval) == sorted(inference.interval)
    assert 0.8 < inference.value / float(BITCOIN.start_px) < 1.25


def test_faster_market_time_brings_the_horizon_nearer() -> None:
    fast = Market(UNIVERSE, RandomPrices(7, UNIVERSE), MarketClock(0.0, 0.0, speed=100.0))
    oracle = Network(fast, seed=7, skill=1.0, epoch_s=15)
    value = oracle.infer(Topic(14, "BTC 8h Price Prediction", "BTC", "price", 28_800), 0.0).value
    assert value == pytest.approx(fast.price_at(BITCOIN, 288.0, 288.0))
