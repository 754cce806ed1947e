from dataclasses import replace
from decimal import Decimal

from allora_mqtt.simulator.account import Order
from tests.unit.simulator.bench import ETH, Bench, exit_order, limit, market_order


def enter(bench: Bench, size: str = "1", share: str = "1") -> list[object]:
    exits = [exit_order(ETH, f"-{size}", "2100", "tp"), exit_order(ETH, f"-{size}", "1900", "sl")]
    return bench.place(market_order(ETH, size), *exits, grouping="normalTpsl", share=share)


def test_exits_rest_once_the_entry_has_filled(bench: Bench) -> None:
    assert enter(bench)[1:] == ["waitingForTrigger", "waitingForTrigger"]
    assert [order.is_waiting for order in bench.account.orders.values()] == [False, False]


def test_a_stop_fires_at_its_price_and_cancels_its_sibling(bench: Bench) -> None:
    enter(bench)
    assert not bench.go(ETH=1_900.1)
    assert bench.go(ETH=1_900.0)
    assert bench.account.positions == {}
    assert bench.account.orders == {}
    assert bench.statuses() == ["filled", "filled", "siblingFilledCanceled"]


def test_a_take_profit_of_a_short_fires_below(bench: Bench) -> None:
    exits = [exit_order(ETH, "1", "1900", "tp"), exit_order(ETH, "1", "2100", "sl")]
    bench.place(market_order(ETH, "-1"), *exits, grouping="normalTpsl")
    bench.go(ETH=1_899.0)
    assert bench.account.positions == {}
    assert Decimal(bench.account.fills[-1]["closedPnl"]) > 100


def test_the_exits_of_an_entry_that_lapsed_in_part_are_cancelled_with_it(bench: Bench) -> None:
    assert enter(bench, share="0.3")[1:] == ["waitingForFill", "waitingForFill"]
    assert bench.account.szi(ETH) == Decimal("0.3")
    assert bench.account.orders == {}
    assert bench.statuses() == ["canceled", "canceled", "canceled"]


def partly_filled_entry(bench: Bench) -> Order:
    """A resting entry of 1 ETH, 0.4 of it filled, with a sleeping stop."""
    bench.place(limit(ETH, "1", "2001"), exit_order(ETH, "-1", "1900", "sl"), grouping="normalTpsl", share="0.4")
    return next(order for order in bench.account.orders.values() if order.children)


def test_the_exits_of_an_entry_sleep_while_it_is_filled_in_part(bench: Bench) -> None:
    entry = partly_filled_entry(bench)
    assert (bench.account.szi(ETH), entry.size) == (Decimal("0.4"), Decimal("0.6"))
    assert bench.account.orders[entry.children[0]].is_waiting
    bench.exchange.cancel(bench.account, ETH, entry.oid, bench.now_s)
    assert bench.account.orders == {}
    assert bench.account.szi(ETH) == Decimal("0.4")


def test_an_entry_that_can_be_carried_no_further_leaves_exits_of_what_has_filled(bench: Bench) -> None:
    entry = partly_filled_entry(bench)
    bench.account.cash_usd = Decimal(30)
    bench.go(ETH=1_999.0)
    assert entry.status == "marginCanceled"
    (stop,) = bench.account.orders.values()
    assert (stop.is_waiting, stop.size) == (False, Decimal("0.4"))
    bench.go(ETH=1_899.0)
    assert bench.account.positions == {}


def test_exits_of_a_resting_entry_sleep_until_it_fills(bench: Bench) -> None:
    exits = [exit_order(ETH, "-1", "1970", "tp"), exit_order(ETH, "-1", "1900", "sl")]
    statuses = bench.place(limit(ETH, "1", "1950"), *exits, grouping="normalTpsl")
    assert statuses[1:] == ["waitingForFill", "waitingForFill"]
    bench.go(ETH=1_980.0)
    assert len(bench.account.orders) == 3
    bench.go(ETH=1_949.0)
    assert bench.account.szi(ETH) == 1
    bench.go(ETH=1_975.0)
    assert bench.account.positions == {}
    assert bench.account.orders == {}


def test_cancelling_a_resting_entry_cancels_its_sleeping_exits(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "1950"), exit_order(ETH, "-1", "1900", "sl"), grouping="normalTpsl")
    bench.exchange.cancel(bench.account, ETH, next(iter(bench.account.orders)), bench.now_s)
    assert bench.account.orders == {}
    assert bench.statuses() == ["canceled", "canceled"]


def test_a_refused_entry_leaves_no_exits(bench: Bench) -> None:
    assert len(enter(bench, size="150")) == 1
    assert bench.account.orders == {}


def test_an_exit_on_the_wrong_side_refuses_entry_and_all(bench: Bench) -> None:
    statuses = bench.place(market_order(ETH, "1"), exit_order(ETH, "-1", "2050", "sl"), grouping="normalTpsl")
    assert statuses == [{"error": "Invalid TP/SL price."}]
    assert bench.account.positions == {}


def test_closing_the_position_cancels_its_exits(bench: Bench) -> None:
    enter(bench)
    bench.place(market_order(ETH, "-1", reduce_only=True))
    assert bench.account.orders == {}
    assert bench.statuses()[-2:] == ["reduceOnlyCanceled", "reduceOnlyCanceled"]


def test_a_position_stop_follows_the_position_s_size(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    stop = replace(exit_order(ETH, "-1", "1900", "sl"), size=Decimal(0))
    bench.place(stop, grouping="positionTpsl")
    bench.place(market_order(ETH, "2"))
    bench.go(ETH=1_890.0)
    assert bench.account.positions == {}
    assert bench.account.orders == {}


def test_a_stop_limit_rests_when_the_market_has_run_past_it(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    bench.place(exit_order(ETH, "-1", "1900", "sl", is_market=False))
    bench.go(ETH=1_800.0)
    assert bench.account.szi(ETH) == 1
    (order,) = bench.account.orders.values()
    assert (order.status, order.awaits_trigger) == ("triggered", False)
    bench.go(ETH=1_901.0)
    assert bench.account.positions == {}


def test_a_modified_exit_stays_with_its_sibling(bench: Bench) -> None:
    enter(bench)
    stop = next(order for order in bench.account.orders.values() if order.request.px == 1900)
    bench.exchange.modify(bench.account, stop.oid, exit_order(ETH, "-1", "1950", "sl"), bench.now_s)
    bench.go(ETH=1_940.0)
    assert bench.account.positions == {}
    assert bench.statuses()[-1] == "siblingFilledCanceled"


def test_modified_sleeping_exits_wake_with_their_modified_entry(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "1950"), exit_order(ETH, "-1", "1900", "sl"), grouping="normalTpsl")
    entry, stop = bench.account.orders
    bench.exchange.modify(bench.account, stop, exit_order(ETH, "-1", "1910", "sl"), bench.now_s)
    bench.exchange.modify(bench.account, entry, limit(ETH, "1", "1960"), bench.now_s)
    bench.go(ETH=1_959.0)
    assert bench.account.szi(ETH) == 1
    bench.go(ETH=1_909.0)
    assert bench.account.positions == {}
    assert bench.account.orders == {}


def test_a_resting_entry_that_can_no_longer_be_carried_is_cancelled(bench: Bench) -> None:
    bench.place(limit(ETH, "60", "1950"))
    bench.account.cash_usd = Decimal(100)
    bench.go(ETH=1_940.0)
    assert bench.account.positions == {}
    assert bench.statuses() == ["marginCanceled"]
