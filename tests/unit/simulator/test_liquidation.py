from decimal import Decimal

import pytest

from allora_mqtt.simulator.account import Leverage, Position
from allora_mqtt.simulator.margin import liquidation_px, maintenance_usd, summarize
from allora_mqtt.simulator.ticks import to_wire
from tests.unit.simulator.bench import BTC, ETH, UNIVERSE, Bench, limit, market_order

ETHER = UNIVERSE.assets[ETH]


def test_maintenance_is_half_the_margin_at_the_highest_leverage_and_continuous_over_tiers() -> None:
    bitcoin = UNIVERSE.assets[BTC]
    assert maintenance_usd(bitcoin, Decimal(80_000)) == 1_000
    at_bound = maintenance_usd(bitcoin, Decimal(150_000_000))
    assert at_bound == Decimal(1_875_000)
    assert maintenance_usd(bitcoin, Decimal(150_000_040)) == at_bound + 1


@pytest.mark.parametrize("size", ["45", "-45"])
def test_a_cross_account_is_liquidated_just_beyond_the_stated_price(size: str) -> None:
    bench = Bench()
    bench.account.cash_usd = Decimal(5_000)
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
    line = bench.account.fills[-1]
    assert line["dir"] == f"Liquidated Cross {'Long' if away > 0 else 'Short'}"
    assert line["liquidation"] == {
        "liquidatedUser": bench.account.address,
        "markPx": to_wire(bench.mark(ETH)),
        "method": "market",
    }
    assert "liquidatedCanceled" in bench.statuses()
    # Sent to the book in time: what is left of the margin stays the account's.
    assert bench.account.cash_usd > 1_500
    assert bench.account.forfeited_usd == 0


def test_a_fifth_of_a_large_position_goes_first_and_within_half_a_minute_the_rest(bench: Bench) -> None:
    bench.place(market_order(ETH, "90"))
    position = bench.account.positions[ETH]
    summary = summarize(bench.account, UNIVERSE, bench.mark_of)
    available = summary.cross_equity_usd - summary.cross_maintenance_usd
    px = liquidation_px(ETHER, position, bench.mark(ETH), available_usd=available)
    assert px is not None
    bench.go(ETH=float(px) - 0.5)
    assert position.szi == 72
    bench.go()
    assert position.szi == 72
    bench.go(ETH=float(px) * 0.985)
    assert bench.account.positions == {}


def test_below_two_thirds_of_the_maintenance_margin_the_liquidator_takes_all(bench: Bench) -> None:
    bench.account.cash_usd = Decimal(5_000)
    bench.place(market_order(ETH, "45"))
    bench.go(ETH=1_905.0)
    assert bench.account.positions == {}
    assert bench.account.cash_usd == 0
    assert bench.account.forfeited_usd > 0
    assert bench.account.fills[-1]["liquidation"]["method"] == "backstop"


@pytest.mark.parametrize(("size", "mark"), [("2000", 60_000), ("-3000", 60_000)])
def test_the_liquidation_price_of_a_large_position_uses_the_tier_it_falls_into(size: str, mark: int) -> None:
    # 120 and 180 million USD of BTC; above 150 million its maintenance margin doubles.
    bitcoin, szi = UNIVERSE.assets[BTC], Decimal(size)
    position = Position(szi=szi, entry_px=Decimal(mark))
    equity = Decimal(12_000_000)
    available = equity - maintenance_usd(bitcoin, abs(szi) * mark)
    px = liquidation_px(bitcoin, position, Decimal(mark), available_usd=available)
    assert px is not None
    left = equity + szi * (px - mark) - maintenance_usd(bitcoin, abs(szi) * px)
    assert abs(left) < Decimal("0.01")


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
