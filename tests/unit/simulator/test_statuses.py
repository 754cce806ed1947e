"""Every status an order can have, and how it gets there."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from allora_mqtt.simulator import dead_man
from allora_mqtt.simulator.errors import ActionError
from tests.unit.simulator.bench import ETH, Bench, exit_order, limit, market_order


def opened(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "1990"))


def filled(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))


def canceled(bench: Bench) -> None:
    opened(bench)
    bench.exchange.cancel(bench.account, ETH, next(iter(bench.account.orders)), bench.now_s)


def triggered(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    bench.place(exit_order(ETH, "-1", "1900", "sl", is_market=False))
    bench.go(ETH=1_800.0)


def margin_canceled(bench: Bench) -> None:
    bench.place(limit(ETH, "60", "1950"))
    bench.account.cash_usd = Decimal(100)
    bench.go(ETH=1_940.0)


def reduce_only_canceled(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    bench.place(exit_order(ETH, "-1", "1900", "sl"))
    bench.place(market_order(ETH, "-1"))


def sibling_filled(bench: Bench) -> None:
    exits = [exit_order(ETH, "-1", "2100", "tp"), exit_order(ETH, "-1", "1900", "sl")]
    bench.place(market_order(ETH, "1"), *exits, grouping="normalTpsl")
    bench.go(ETH=1_899.0)


def scheduled_cancel(bench: Bench) -> None:
    opened(bench)
    bench.account.volume_usd = Decimal(1_000_000)
    dead_man.schedule(bench.account, int(bench.now_s * 1000) + 5_000, int(bench.now_s * 1000))
    bench.go(4)
    assert bench.account.orders
    bench.go(1)


def liquidated(bench: Bench) -> None:
    bench.place(market_order(ETH, "90"))
    bench.place(limit(ETH, "0.1", "1000"))
    bench.go(ETH=1_900.0)


def off_tick(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "2000.05"))


def too_small(bench: Bench) -> None:
    bench.place(limit(ETH, "0.001", "2000"))


def no_margin(bench: Bench) -> None:
    bench.place(market_order(ETH, "150"))


def not_reducing(bench: Bench) -> None:
    bench.place(market_order(ETH, "1", reduce_only=True))


def no_match(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "1900", tif="Ioc"))


def crossing_post_only(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "2010", tif="Alo"))


def bad_trigger(bench: Bench) -> None:
    bench.place(market_order(ETH, "1"))
    bench.place(exit_order(ETH, "-1", "2100", "sl"))


def far_from_the_oracle(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "100"))


def invalid(bench: Bench) -> None:
    bench.place(limit(ETH, "1.00001", "2000"))


@pytest.mark.parametrize(
    ("way", "status"),
    [
        (opened, "open"),
        (filled, "filled"),
        (canceled, "canceled"),
        (triggered, "triggered"),
        (margin_canceled, "marginCanceled"),
        (reduce_only_canceled, "reduceOnlyCanceled"),
        (sibling_filled, "siblingFilledCanceled"),
        (scheduled_cancel, "scheduledCancel"),
        (liquidated, "liquidatedCanceled"),
        (off_tick, "tickRejected"),
        (too_small, "minTradeNtlRejected"),
        (no_margin, "perpMarginRejected"),
        (not_reducing, "reduceOnlyRejected"),
        (no_match, "iocCancelRejected"),
        (crossing_post_only, "badAloPxRejected"),
        (bad_trigger, "badTriggerPxRejected"),
        (far_from_the_oracle, "oracleRejected"),
        (invalid, "rejected"),
    ],
)
def test_a_status_is_reached(bench: Bench, way: Callable[[Bench], None], status: str) -> None:
    way(bench)
    orders = [*bench.account.orders.values(), *bench.account.closed_orders]
    assert status in {order.status for order in orders}


def test_the_switch_has_ten_triggers_a_day(bench: Bench) -> None:
    bench.account.volume_usd = Decimal(1_000_000)
    for _ in range(10):
        dead_man.schedule(bench.account, int(bench.now_s * 1000) + 5_000, int(bench.now_s * 1000))
        bench.go(5)
    with pytest.raises(ActionError, match="used up"):
        dead_man.schedule(bench.account, int(bench.now_s * 1000) + 5_000, int(bench.now_s * 1000))
    dead_man.schedule(bench.account, None, int(bench.now_s * 1000))
    bench.go(86_400)
    dead_man.schedule(bench.account, int(bench.now_s * 1000) + 5_000, int(bench.now_s * 1000))
