from decimal import Decimal

import pytest

from allora_mqtt.simulator.account import Leverage
from allora_mqtt.simulator.margin import liquidation_px, maintenance_usd, summarize
from tests.unit.simulator.bench import BTC, ETH, UNIVERSE, Bench, limit, market_order

ETHER = UNIVERSE.assets[ETH]


def test_maintenance_is_half_the_margin_at_the_highest_leverage_and_continuous_over_tiers() -> None:
    bitcoin = UNIVERSE.assets[BTC]
    assert maintenance_usd(bitcoin, Decimal(80_000)) == 1_000
    at_bound = maintenance_usd(bitcoin, Decimal(150_000_000))
    assert at_bound == Decimal(1_875_000)
    assert maintenance_usd(bitcoin, Decimal(150_000_040)) == at_bound + 1


@pytest.mark.parametrize("size", ["90", "-90"])
def test_a_cross_account_is_liquidated_just_beyond_the_stated_price(size: str) -> None:
    bench = Bench()
    bench.place(market_order(ETH, size))
    bench.place(limit(BTC, "0.001", "40000"))
    position = bench.account.positions[ETH]
    summary = summarize(bench.account, UNIVERSE, bench.mark_of)
    available = summary.cross_equity_usd - summary.cross_maintenance_usd
    px = liquidation_px(ETHER, position, bench.mark(ETH), available_usd=available)
    assert px is not None
    away = 1 if Decimal(size) > 0 else -1
    bench.go(ETH=float(px) + away)
    assert bench.account.positions
    bench.go(ETH=float(px) - away)
    assert bench.account.positions == {}
    assert bench.account.orders == {}
    assert bench.account.cash_usd >= 0
    assert bench.account.fills[-1]["dir"] == f"Liquidated Cross {'Long' if away > 0 else 'Short'}"
    assert "liquidatedCanceled" in bench.statuses()


def test_a_gap_beyond_bankruptcy_leaves_nothing_but_no_debt(bench: Bench) -> None:
    bench.place(market_order(ETH, "90"))
    bench.go(ETH=1_000.0)
    assert bench.account.cash_usd == 0


def test_an_isolated_liquidation_costs_only_what_was_set_aside(bench: Bench) -> None:
    bench.exchange.set_leverage(bench.account, ETH, Leverage(20, is_cross=False), bench.now_s)
    bench.place(market_order(BTC, "0.1"))
    bench.place(market_order(ETH, "1"))
    before = bench.account.cash_usd
    bench.go(ETH=1_500.0)
    assert list(bench.account.positions) == [BTC]
    assert bench.account.cash_usd == before - Decimal("2000.2") / 20


def test_a_position_without_debt_has_no_liquidation_price(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    assert liquidation_px(ETHER, bench.account.positions[ETH], bench.mark(ETH), available_usd=Decimal(9_000)) is None
