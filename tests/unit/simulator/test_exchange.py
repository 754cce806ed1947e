from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.simulator.account import Leverage, OrderRequest
from allora_mqtt.simulator.errors import ActionError
from allora_mqtt.simulator.margin import summarize
from tests.unit.simulator.bench import BTC, ETH, OWNER, SOL, UNIVERSE, Bench, exit_order, limit, market_order

MATIC = 3
LIVE_ISOLATED = next((asset for asset in UNIVERSE.live if asset.is_isolated_only), None)


def errors(statuses: list[Any]) -> list[str]:
    return [status["error"] for status in statuses]


@pytest.mark.parametrize(
    ("request_", "text", "status"),
    [
        (limit(ETH, "1", "2000.05"), "Price must be divisible by tick size.", "tickRejected"),
        (limit(ETH, "1.00001", "2000"), "Order has invalid size.", "rejected"),
        (limit(ETH, "0", "2000"), "Order has zero size.", "rejected"),
        (limit(ETH, "1", "0"), "Order has invalid price.", "rejected"),
        (limit(MATIC, "100", "0.4"), "Trading is halted.", "rejected"),
        (limit(ETH, "0.004", "2000"), "Order must have minimum value of $10.", "minTradeNtlRejected"),
        (limit(ETH, "1", "400"), "Order price cannot be more than 80% away", "oracleRejected"),
        (limit(ETH, "1", "10001"), "Order price cannot be more than 80% away", "oracleRejected"),
        (limit(ETH, "150", "2000"), "Insufficient margin to place order.", "perpMarginRejected"),
        (market_order(ETH, "150"), "Insufficient margin to place order.", "perpMarginRejected"),
        (limit(ETH, "1", "1900", tif="Ioc"), "Order could not immediately match", "iocCancelRejected"),
        (limit(ETH, "1", "2001", tif="Alo"), "bbo was 1999.8@2000.2.", "badAloPxRejected"),
        (market_order(ETH, "1", reduce_only=True), "Reduce only order would increase", "reduceOnlyRejected"),
        (exit_order(ETH, "-1", "1900", "sl"), "Reduce only order would increase", "reduceOnlyRejected"),
    ],
)
def test_refusals(bench: Bench, request_: OrderRequest, text: str, status: str) -> None:
    (error,) = errors(bench.place(request_))
    assert text in error
    assert bench.statuses() == [status]
    assert bench.account.orders == {}
    assert bench.account.cash_usd == 10_000


def test_an_unknown_asset_is_refused(bench: Bench) -> None:
    assert errors(bench.place(limit(229, "1", "2000"))) == ["Order has invalid asset."]


def test_a_static_fault_refuses_the_whole_batch_with_one_status(bench: Bench) -> None:
    statuses = bench.place(limit(ETH, "1", "1990"), limit(ETH, "1", "2000.05"), limit(ETH, "1", "1980"))
    assert errors(statuses) == ["Price must be divisible by tick size."]
    assert bench.account.orders == {}


def test_other_faults_refuse_one_order_of_a_batch(bench: Bench) -> None:
    statuses = bench.place(limit(ETH, "1", "1990"), limit(ETH, "0.001", "2000"), limit(ETH, "1", "1980"))
    assert [next(iter(status)) for status in statuses] == ["resting", "error", "resting"]


def test_an_order_larger_than_the_book_fills_in_part(bench: Bench) -> None:
    bench.account.cash_usd = Decimal(10**9)
    (status,) = bench.place(market_order(SOL, "1000000"))
    filled = Decimal(status["filled"]["totalSz"])
    assert 0 < filled < 1_000_000
    assert bench.account.szi(SOL) == filled
    assert bench.statuses() == ["canceled"]
    assert bench.account.orders == {}


def test_a_reduce_only_order_is_cut_to_the_position_and_may_be_small(bench: Bench) -> None:
    bench.place(market_order(ETH, "0.006"))
    bench.place(market_order(ETH, "-0.002", reduce_only=True))
    (status,) = bench.place(market_order(ETH, "-5", reduce_only=True))
    assert status["filled"]["totalSz"] == "0.004"
    assert bench.account.positions == {}


def test_resting_orders_reserve_margin(bench: Bench) -> None:
    assert "resting" in bench.place(limit(ETH, "60", "1990"))[0]
    assert errors(bench.place(limit(ETH, "60", "1990"))) == ["Insufficient margin to place order."]


def test_a_higher_leverage_needs_less_margin(bench: Bench) -> None:
    bench.exchange.set_leverage(bench.account, BTC, Leverage(40, is_cross=True), bench.now_s)
    assert "filled" in bench.place(market_order(BTC, "7"))[0]
    with pytest.raises(ActionError, match="Insufficient margin"):
        bench.exchange.set_leverage(bench.account, BTC, Leverage(20, is_cross=True), bench.now_s)
    with pytest.raises(ActionError, match="Cannot switch"):
        bench.exchange.set_leverage(bench.account, BTC, Leverage(40, is_cross=False), bench.now_s)


@pytest.mark.parametrize(("asset", "leverage"), [(BTC, 41), (BTC, 0), (ETH, 26), (MATIC, 1), (229, 1)])
def test_leverage_beyond_an_asset_s_limit_is_refused(bench: Bench, asset: int, leverage: int) -> None:
    with pytest.raises(ActionError):
        bench.exchange.set_leverage(bench.account, asset, Leverage(leverage, is_cross=True), bench.now_s)


def test_an_isolated_position_risks_only_its_own_margin(bench: Bench) -> None:
    bench.exchange.set_leverage(bench.account, ETH, Leverage(10, is_cross=False), bench.now_s)
    bench.place(market_order(ETH, "1"))
    position = bench.account.positions[ETH]
    assert position.isolated_usd == Decimal("200.02")
    bench.place(market_order(ETH, "-0.25", reduce_only=True))
    assert position.isolated_usd == Decimal("200.02") * Decimal("0.75")
    summary = summarize(bench.account, UNIVERSE, bench.mark_of)
    assert summary.cross_equity_usd == bench.account.cash_usd - position.isolated_usd


def test_an_isolated_only_asset_defaults_to_isolated() -> None:
    if LIVE_ISOLATED is None:
        pytest.skip("the universe lists no live isolated-only asset")
    bench = Bench()
    with pytest.raises(ActionError, match="Cross margin"):
        bench.exchange.set_leverage(bench.account, LIVE_ISOLATED.index, Leverage(1, is_cross=True), bench.now_s)


def test_cancel_by_number_and_by_cloid_and_never_twice(bench: Bench) -> None:
    cloid = "0x" + "0" * 31 + "1"
    bench.place(limit(ETH, "1", "1990", cloid=cloid), limit(ETH, "1", "1980"))
    first, second = bench.account.orders
    assert bench.exchange.cancel(bench.account, BTC, first, bench.now_s) == {
        "error": "Order was never placed, already canceled, or filled. asset=0"
    }
    assert bench.exchange.cancel(bench.account, ETH, cloid, bench.now_s) == "success"
    assert bench.exchange.cancel(bench.account, ETH, second, bench.now_s) == "success"
    assert "error" in bench.exchange.cancel(bench.account, ETH, second, bench.now_s)
    assert bench.statuses() == ["canceled", "canceled"]


def test_the_cloid_of_a_finished_order_may_be_used_again(bench: Bench) -> None:
    cloid = "0x" + "0" * 32
    for _ in range(2):
        assert "filled" in bench.place(market_order(ETH, "1", cloid=cloid))[0]
    assert bench.account.szi(ETH) == 2
    assert "resting" in bench.place(limit(ETH, "1", "1990", cloid=cloid))[0]
    assert "error" in bench.place(limit(ETH, "1", "1990", cloid=cloid))[0]


def test_modify_replaces_an_order_or_leaves_it_as_it_was(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "1990"))
    (old,) = bench.account.orders
    refused = bench.exchange.modify(bench.account, old, limit(ETH, "0.001", "1995"), bench.now_s)
    assert errors([refused]) == ["Order must have minimum value of $10."]
    assert list(bench.account.orders) == [old]
    replaced: Any = bench.exchange.modify(bench.account, old, limit(ETH, "2", "1995"), bench.now_s)
    assert list(bench.account.orders) == [replaced["resting"]["oid"]]
    assert errors([bench.exchange.modify(bench.account, old, limit(ETH, "2", "1995"), bench.now_s)]) == [
        "Cannot modify canceled or filled order"
    ]


def test_an_account_is_funded_once(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    assert bench.exchange.open_account(OWNER.upper().replace("X", "x")) is bench.account
    assert bench.account.cash_usd < 10_000


def test_an_agent_acts_for_its_master_and_a_stranger_for_nobody(bench: Bench) -> None:
    agent = "0x" + "bb" * 20
    assert bench.exchange.account_for(agent) is None
    bench.exchange.state.agents[agent] = OWNER
    assert bench.exchange.account_for(agent) is bench.account
