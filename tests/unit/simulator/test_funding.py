from decimal import Decimal

from tests.unit.simulator.bench import ETH, UNIVERSE, Bench, market_order


def test_longs_pay_the_rate_on_their_notional_each_market_hour() -> None:
    bench = Bench(speed=60)
    bench.place(market_order(ETH, "1"))
    before = bench.account.cash_usd
    bench.go(59)
    assert bench.account.fundings == []
    bench.go(2)
    rate = bench.market.funding_rate(UNIVERSE.assets[ETH], 1)
    assert bench.account.cash_usd == before - (2_000 * rate).quantize(Decimal("1e-6"))
    assert bench.account.fundings[0]["delta"]["fundingRate"] == f"{rate:f}".rstrip("0")


def test_hours_missed_are_paid_later() -> None:
    bench = Bench()
    bench.place(market_order(ETH, "-1"))
    bench.go(3 * 3_600)
    assert len(bench.account.fundings) == 3
    assert bench.account.funding_usd[ETH] == bench.account.positions[ETH].funding_open_usd
