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


def test_the_sign_of_what_is_paid() -> None:
    bench = Bench()
    rate = bench.market.funding_rate(UNIVERSE.assets[ETH], 1)
    bench.place(market_order(ETH, "1"))
    bench.go(3_600)
    paid, shown = bench.account.funding_usd[ETH], Decimal(bench.account.fundings[0]["delta"]["usdc"])
    assert (paid > 0) == (rate > 0)
    assert shown == -paid


def test_funding_that_is_noticed_late_has_its_hour_s_time_and_price() -> None:
    bench = Bench()
    bench.place(market_order(ETH, "1"))
    begin_s = bench.now_s
    bench.source.moving = lambda time_s: 2_000 + time_s / 3_600
    bench.go(2 * 3_600 + 900)
    assert [line["time"] for line in bench.account.fundings] == [
        int((begin_s + hour * 3_600) * 1000) for hour in (1, 2)
    ]
    for hour, line in enumerate(bench.account.fundings, start=1):
        rate = bench.market.funding_rate(UNIVERSE.assets[ETH], hour)
        assert -Decimal(line["delta"]["usdc"]) == ((2_000 + hour) * rate).quantize(Decimal("1e-6"))


def test_hours_missed_are_paid_later() -> None:
    bench = Bench()
    bench.place(market_order(ETH, "-1"))
    bench.go(3 * 3_600)
    assert len(bench.account.fundings) == 3
    assert bench.account.funding_usd[ETH] == bench.account.positions[ETH].funding_open_usd
