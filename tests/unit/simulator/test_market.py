from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from allora_mqtt.simulator.market import MarketClock
from allora_mqtt.simulator.ticks import is_on_price_grid, is_on_size_grid
from allora_mqtt.simulator.universe import Asset
from tests.unit.simulator.bench import UNIVERSE, Bench


def test_market_time_runs_at_its_speed_and_keeps_its_place_when_that_changes() -> None:
    clock = MarketClock(anchor_wall_s=100, anchor_market_s=7, speed=10)
    assert clock.market_s(102) == 27
    assert clock.wall_s(27) == 102
    faster = clock.with_speed(60, wall_s=102)
    assert faster.market_s(102) == 27
    assert faster.market_s(103) == 87
    assert clock.with_speed(10, wall_s=500) is clock


@given(asset=st.sampled_from(UNIVERSE.live), factor=st.floats(0.05, 20))
def test_the_book_is_ordered_on_the_grid_and_around_the_price(asset: Asset, factor: float) -> None:
    bench = Bench()
    bench.source.prices[asset.name] = float(asset.start_px) * factor
    bid, ask = bench.market.bbo(asset, bench.now_s)
    assert bid < ask
    for asks in (True, False):
        levels = bench.market.levels(asset, bench.now_s, asks=asks)
        prices = [level.px for level in levels]
        assert prices == sorted(prices, reverse=not asks)
        assert len(set(prices)) == len(prices) or min(prices) * 10**6 < 100
        assert all(is_on_price_grid(px, asset.sz_decimals) for px in prices)
        assert all(level.size > 0 and is_on_size_grid(level.size, asset.sz_decimals) for level in levels)


def test_a_delisted_asset_has_no_book(bench: Bench) -> None:
    matic = UNIVERSE.assets[3]
    assert bench.market.mid(matic, bench.now_s) is None
    assert bench.market.levels(matic, bench.now_s, asks=True) == []
    assert bench.market.mark(matic, bench.now_s) == matic.start_px


def test_a_shift_counts_from_its_time_on(bench: Bench) -> None:
    bitcoin = UNIVERSE.assets[0]
    bench.market.shift("BTC", 0.5, bench.now_s + 10)
    assert bench.market.mark(bitcoin, bench.now_s) == 50_000
    assert bench.market.mark(bitcoin, bench.now_s + 10) == 25_000
    bench.market.shift("BTC", 4, bench.now_s + 20)
    assert bench.market.mark(bitcoin, bench.now_s + 20) == 100_000


def test_the_spread_of_a_large_coin_is_about_two_basis_points(bench: Bench) -> None:
    bid, ask = bench.market.bbo(UNIVERSE.assets[0], bench.now_s)
    assert (ask - bid) / bid == Decimal(10) / 49_995
