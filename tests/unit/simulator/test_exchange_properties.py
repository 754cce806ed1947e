"""What must hold whatever is done."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.simulator.account import Leverage
from allora_mqtt.simulator.margin import summarize
from tests.unit.simulator.bench import BTC, ETH, SOL, UNIVERSE, Bench, exit_order, limit, market_order

START = {BTC: 50_000, ETH: 2_000, SOL: 100}
SIZES = {BTC: "0.01", ETH: "0.25", SOL: "5"}

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("market"), st.sampled_from([BTC, ETH, SOL]), st.integers(-300, 300)),
        st.tuples(st.just("close"), st.sampled_from([BTC, ETH, SOL]), st.integers(-300, 300)),
        st.tuples(st.just("limit"), st.sampled_from([BTC, ETH, SOL]), st.integers(-300, 300)),
        st.tuples(st.just("exits"), st.sampled_from([BTC, ETH, SOL]), st.integers(-100, 100)),
        st.tuples(st.just("price"), st.sampled_from([BTC, ETH, SOL]), st.integers(-8, 8)),
        st.tuples(st.just("leverage"), st.sampled_from([BTC, ETH, SOL]), st.integers(-20, 20)),
        st.tuples(st.just("cancel"), st.just(BTC), st.integers(0, 3)),
    ),
    max_size=25,
)


def do(bench: Bench, step: tuple[str, int, int]) -> list[Any]:
    kind, asset, number = step
    size = str(Decimal(SIZES[asset]) * number)
    name = UNIVERSE.assets[asset].name
    if kind == "price":
        bench.go(60, **{name: bench.source.prices[name] * (1 + number / 100)})
    elif kind == "leverage":
        leverage = Leverage(abs(number) or 1, is_cross=number > 0)
        bench.account.leverages.setdefault(asset, leverage)
    elif kind == "cancel":
        for oid in list(bench.account.orders)[:number]:
            order = bench.account.orders.get(oid)
            if order is not None:
                bench.exchange.cancel(bench.account, order.request.asset, oid, bench.now_s)
    elif number:
        px = int(bench.mark(asset) * (Decimal("0.99") if number > 0 else Decimal("1.01")))
        if kind == "market":
            return bench.place(market_order(asset, size))
        if kind == "close":
            return bench.place(market_order(asset, size, reduce_only=True))
        if kind == "limit":
            return bench.place(limit(asset, size, str(px)))
        way = 1 if number > 0 else -1
        exits = [
            exit_order(asset, str(-Decimal(size)), str(int(bench.mark(asset) * (100 + 3 * way) / 100)), "tp"),
            exit_order(asset, str(-Decimal(size)), str(int(bench.mark(asset) * (100 - 2 * way) / 100)), "sl"),
        ]
        return bench.place(market_order(asset, size), *exits, grouping="normalTpsl")
    return []


def books_balance(bench: Bench) -> None:
    """Money and coins come and go only by fills, fees and funding."""
    account = bench.account
    cash = Decimal(10_000)
    coins = dict.fromkeys(START, Decimal(0))
    by_name = {UNIVERSE.assets[index].name: index for index in START}
    for fill in account.fills:
        signed = Decimal(fill["sz"]) * (1 if fill["side"] == "B" else -1)
        assert Decimal(fill["startPosition"]) == coins[by_name[fill["coin"]]]
        coins[by_name[fill["coin"]]] += signed
        cash -= signed * Decimal(fill["px"]) + Decimal(fill["fee"])
    for line in account.fundings:
        cash += Decimal(line["delta"]["usdc"])
    assert {index: account.szi(index) for index in START} == coins
    equity = cash + sum(size * bench.mark(index) for index, size in coins.items())
    was_liquidated = any("liquidation" in fill for fill in account.fills)
    # A profit is booked in millionths of a USD, and so each fill may be half of one away.
    rounding = Decimal("0.5e-6") * len(account.fills) + Decimal("1e-9")
    assert bench.equity() - equity < rounding or was_liquidated
    assert bench.equity() - equity > -rounding
    told = [Decimal(fill["closedPnl"]) - Decimal(fill["fee"]) for fill in account.fills]
    told += [Decimal(line["delta"]["usdc"]) for line in account.fundings]
    assert account.cash_usd == 10_000 + sum(told) or was_liquidated


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_books_balance_and_margin_is_never_exceeded(steps: list[tuple[str, int, int]]) -> None:
    bench = Bench()
    for step in steps:
        account = bench.account
        before = {index: account.szi(index) for index in START}
        statuses = do(bench, step)
        books_balance(bench)
        filled = [status for status in statuses if isinstance(status, dict) and "filled" in status]
        if filled and abs(account.szi(step[1])) > abs(before[step[1]]):
            summary = summarize(account, UNIVERSE, bench.mark_of)
            assert summary.cross_margin_used_usd <= summary.cross_equity_usd + Decimal("1e-9")
        if step[0] == "close":
            assert abs(account.szi(step[1])) <= abs(before[step[1]])
            assert account.szi(step[1]) * before[step[1]] >= 0
        for order in account.orders.values():
            if order.request.reduce_only and not order.is_waiting:
                assert account.szi(order.request.asset) != 0
