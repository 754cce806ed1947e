import math
import statistics

import pytest

from allora_mqtt.simulator.prices import YEAR_S, RandomPrices
from tests.unit.simulator.bench import UNIVERSE

BITCOIN, ETHER = UNIVERSE.assets[0], UNIVERSE.assets[1]


@pytest.fixture(scope="module")
def prices() -> RandomPrices:
    return RandomPrices(7, UNIVERSE)


def test_a_run_begins_at_the_universe_s_prices(prices: RandomPrices) -> None:
    assert prices.price(BITCOIN, prices.start_s) == float(BITCOIN.start_px)


def test_a_price_does_not_depend_on_what_was_asked_before(prices: RandomPrices) -> None:
    times_s = [5.0, 1e6, -3e5, 5.25, 86_400.0, 5.0]
    fresh = [RandomPrices(7, UNIVERSE).price(ETHER, time_s) for time_s in times_s[:3]]
    assert [prices.price(ETHER, time_s) for time_s in times_s][:3] == fresh
    assert prices.price(ETHER, 5.0) == fresh[0]


def test_another_seed_is_another_world(prices: RandomPrices) -> None:
    assert RandomPrices(8, UNIVERSE).price(BITCOIN, 3_600.0) != prices.price(BITCOIN, 3_600.0)


@pytest.mark.parametrize("lag_s", [300.0, 28_800.0])
def test_moves_have_the_stated_size_and_correlation(prices: RandomPrices, lag_s: float) -> None:
    starts = [number * lag_s * 1.37 for number in range(400)]
    moves = {
        asset.name: [math.log(prices.price(asset, t + lag_s) / prices.price(asset, t)) for t in starts]
        for asset in (BITCOIN, ETHER)
    }
    yearly = statistics.pstdev(moves["BTC"]) * math.sqrt(YEAR_S / lag_s)
    assert yearly == pytest.approx(0.5, rel=0.15)
    assert prices.sigma(BITCOIN, lag_s) * math.sqrt(YEAR_S / lag_s) == pytest.approx(0.5, rel=0.05)
    assert statistics.correlation(moves["BTC"], moves["ETH"]) == pytest.approx(0.6, abs=0.12)


def test_the_price_is_continuous(prices: RandomPrices) -> None:
    for step in range(200):
        time_s = 1_000.0 + step * 0.7
        assert prices.price(BITCOIN, time_s + 1e-6) == pytest.approx(prices.price(BITCOIN, time_s), rel=1e-7)


def test_the_price_never_leaves_a_plausible_range(prices: RandomPrices) -> None:
    days = [prices.price(BITCOIN, day * 86_400.0) for day in range(400)]
    assert min(days) > 40_000
    assert max(days) < 120_000
