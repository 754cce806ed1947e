import math
import os
import statistics
import subprocess
import sys
from itertools import pairwise

import pytest

from allora_mqtt.simulator.market import Market, MarketClock
from allora_mqtt.simulator.prices import YEAR_S, RandomPrices, yearly_volatility
from allora_mqtt.simulator.universe import Asset
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


ATOM = UNIVERSE.assets[2]


def moves(prices: RandomPrices, asset: Asset, lag_s: float, count: int) -> list[float]:
    """Log moves over `lag_s`, spread over a long time."""
    starts = [number * 5_000.0 * 1.37 for number in range(count)]
    return [math.log(prices.price(asset, t + lag_s) / prices.price(asset, t)) for t in starts]


@pytest.mark.parametrize("lag_s", [300.0, 3_600.0, 28_800.0])
def test_moves_have_the_stated_size_and_correlation(prices: RandomPrices, lag_s: float) -> None:
    found = {asset.name: moves(prices, asset, lag_s, 400) for asset in (BITCOIN, ETHER, ATOM)}
    for asset in (BITCOIN, ETHER, ATOM):
        yearly = statistics.pstdev(found[asset.name]) * math.sqrt(YEAR_S / lag_s)
        assert yearly == pytest.approx(yearly_volatility(asset), rel=0.15)
        stated = prices.sigma(asset, lag_s) * math.sqrt(YEAR_S / lag_s)
        assert stated == pytest.approx(yearly_volatility(asset), rel=0.05)
    assert statistics.correlation(found["BTC"], found["ETH"]) == pytest.approx(0.775**2, abs=0.12)
    assert statistics.correlation(found["BTC"], found["ATOM"]) == pytest.approx(0.775 * 0.6, abs=0.12)


def kurtosis(values: list[float]) -> float:
    mean = statistics.fmean(values)
    return statistics.fmean([(one - mean) ** 4 for one in values]) / statistics.pvariance(values) ** 2


def test_hourly_moves_have_fat_tails(prices: RandomPrices) -> None:
    # A sample of 1200 from a normal distribution has a kurtosis of 3 and stays below 3.6 with near certainty.
    found = moves(prices, BITCOIN, 3_600.0, 1_200)
    assert 3.9 < kurtosis(found) < 12.0


def test_wild_hours_come_in_groups(prices: RandomPrices) -> None:
    hourly = [prices.price(BITCOIN, hour * 3_600.0) for hour in range(1_000)]
    hours = [abs(math.log(end / begin)) for begin, end in pairwise(hourly)]
    near = statistics.correlation(hours[:-1], hours[1:])
    far = statistics.correlation(hours[:-500], hours[500:])
    assert near > 0.08 > abs(far)


def test_there_is_no_drift(prices: RandomPrices) -> None:
    found = moves(prices, BITCOIN, 3_600.0, 1_000)
    error = statistics.stdev(found) / math.sqrt(len(found))
    assert abs(statistics.fmean(found)) < 3 * error


def test_the_same_market_moment_has_the_same_price_however_fast_it_comes() -> None:
    slow, fast = (Market(UNIVERSE, RandomPrices(7, UNIVERSE), MarketClock(0.0, 0.0, speed)) for speed in (1.0, 3_600.0))
    for hour in range(0, 48, 5):
        assert slow.mark_at(BITCOIN, hour * 3_600.0) == fast.mark_at(BITCOIN, float(hour))
        assert slow.funding_hour(hour * 3_600.0) == fast.funding_hour(float(hour))


def test_another_process_makes_the_same_prices() -> None:
    program = """
from allora_mqtt.simulator.prices import RandomPrices
from allora_mqtt.simulator.universe import Universe
universe = Universe.load()
print([RandomPrices(7, universe).price(asset, 12345.6).hex() for asset in universe.assets[:3]])
"""
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    here = [RandomPrices(7, UNIVERSE).price(asset, 12345.6).hex() for asset in UNIVERSE.assets[:3]]
    assert said.stdout.strip() == str(here)


def test_the_price_is_continuous(prices: RandomPrices) -> None:
    for step in range(200):
        time_s = 1_000.0 + step * 0.7
        assert prices.price(BITCOIN, time_s + 1e-6) == pytest.approx(prices.price(BITCOIN, time_s), rel=1e-7)


def test_the_price_never_leaves_a_plausible_range(prices: RandomPrices) -> None:
    days = [prices.price(BITCOIN, day * 86_400.0) for day in range(400)]
    assert min(days) > 40_000
    assert max(days) < 120_000
