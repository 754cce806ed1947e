"""What must hold whatever is done: a random walk of actions beside a bookkeeper that knows nothing of the exchange."""

import contextlib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from allora_mqtt.simulator.account import Leverage, Order
from allora_mqtt.simulator.errors import ActionError
from allora_mqtt.simulator.margin import summarize
from tests.unit.simulator.bench import BTC, ETH, SOL, UNIVERSE, Bench, exit_order, limit, market_order

START = {BTC: 50_000, ETH: 2_000, SOL: 100}
SIZES = {BTC: "0.01", ETH: "0.25", SOL: "5"}
COINS = {UNIVERSE.assets[index].name: index for index in START}
CENT = Decimal("1e-9")

COIN = st.sampled_from([BTC, ETH, SOL])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["market", "close", "limit", "partial"]), COIN, st.integers(-300, 300)),
        st.tuples(st.sampled_from(["exits", "resting exits"]), COIN, st.integers(-100, 100)),
        st.tuples(st.sampled_from(["price", "modify"]), COIN, st.integers(-8, 8)),
        st.tuples(st.just("leverage"), COIN, st.integers(-20, 20)),
        st.tuples(st.just("isolated"), COIN, st.integers(-500, 500)),
        st.tuples(st.just("cancel"), st.just(BTC), st.integers(0, 3)),
    ),
    max_size=25,
)
Step = tuple[str, int, int]

OPEN = ["open", "triggered"]
ENDS = {
    "filled", "canceled", "marginCanceled", "reduceOnlyCanceled", "siblingFilledCanceled", "liquidatedCanceled",
    "rejected", "tickRejected", "minTradeNtlRejected", "perpMarginRejected", "reduceOnlyRejected", "iocCancelRejected",
    "badTriggerPxRejected", "marketOrderNoLiquidityRejected", "oracleRejected",
}  # fmt: skip


@dataclass
class Bookkeeper:
    """Keeps the books from what the exchange publishes, by the textbook, and looks at nothing else.

    Money comes and goes only by fills, fees, funding and what a liquidation forfeits; orders only move forward.
    """

    cash: Decimal = Decimal(10_000)
    coins: dict[int, Decimal] = field(default_factory=lambda: dict.fromkeys(START, Decimal(0)))
    fills: int = 0
    fundings: int = 0
    seen: dict[int, str] = field(default_factory=dict)

    def follow(self, bench: Bench) -> None:
        account = bench.account
        for fill in account.fills[self.fills :]:
            asset = COINS[fill["coin"]]
            size = Decimal(fill["sz"])
            assert Decimal(fill["startPosition"]) == self.coins[asset]
            assert size > 0
            assert -(size.normalize().as_tuple().exponent) <= UNIVERSE.assets[asset].sz_decimals  # type: ignore[operator] # finite
            signed = size if fill["side"] == "B" else -size
            self.coins[asset] += signed
            self.cash -= signed * Decimal(fill["px"]) + Decimal(fill["fee"])
        for line in account.fundings[self.fundings :]:
            self.cash += Decimal(line["delta"]["usdc"])
        self.fills, self.fundings = len(account.fills), len(account.fundings)
        assert {index: account.szi(index) for index in START} == self.coins
        worth = self.cash + sum(size * bench.mark(index) for index, size in self.coins.items())
        assert abs(bench.equity() - (worth - account.forfeited_usd)) < CENT
        self._watch_orders([*account.orders.values(), *account.closed_orders])

    def _watch_orders(self, orders: list[Order]) -> None:
        for order in orders:
            before = self.seen.get(order.oid, "open")
            if before in ENDS:
                assert order.status == before, "an order that has ended stays as it was"
            elif before == "triggered":
                assert order.status in ENDS | {"triggered"}
            assert order.status in {*OPEN, *ENDS}
            assert order.filled >= 0
            assert order.size >= 0
            assert order.filled + order.size <= order.request.size
            self.seen[order.oid] = order.status


def do(bench: Bench, step: Step) -> list[Any]:
    kind, asset, number = step
    name = UNIVERSE.assets[asset].name
    if kind == "price":
        bench.go(3_600, **{name: bench.source.prices[name] * (1 + number / 100)})
    elif kind == "leverage":
        with contextlib.suppress(ActionError):
            bench.exchange.set_leverage(
                bench.account, asset, Leverage(abs(number) or 1, is_cross=number > 0), bench.now_s
            )
    elif kind == "isolated":
        with contextlib.suppress(ActionError):
            bench.exchange.move_isolated_margin(bench.account, asset, Decimal(number), bench.now_s)
    elif kind == "cancel":
        for oid in list(bench.account.orders)[:number]:
            order = bench.account.orders.get(oid)
            if order is not None:
                bench.exchange.cancel(bench.account, order.request.asset, oid, bench.now_s)
    elif number:
        return place(bench, kind, asset, number)
    return []


def place(bench: Bench, kind: str, asset: int, number: int) -> list[Any]:
    size = str(Decimal(SIZES[asset]) * number)
    way = 1 if number > 0 else -1
    mark = bench.mark(asset)
    px = str(int(mark * (100 - way) / 100))
    if kind == "market":
        return bench.place(market_order(asset, size))
    if kind == "partial":
        return bench.place(market_order(asset, size), share="0.37")
    if kind == "close":
        return bench.place(market_order(asset, size, reduce_only=True))
    if kind == "limit":
        return bench.place(limit(asset, size, px))
    if kind == "modify":
        resting = [order for order in bench.account.orders.values() if order.request.trigger is None]
        for order in resting[:1]:
            request = limit(order.request.asset, size, str(int(bench.mark(order.request.asset))))
            bench.exchange.modify(bench.account, order.oid, request, bench.now_s)
        return []
    exits = [
        exit_order(asset, str(-Decimal(size)), str(int(mark * (100 + 3 * way) / 100)), "tp"),
        exit_order(asset, str(-Decimal(size)), str(int(mark * (100 - 2 * way) / 100)), "sl"),
    ]
    entry = market_order(asset, size) if kind == "exits" else limit(asset, size, px)
    return bench.place(entry, *exits, grouping="normalTpsl")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(steps=STEPS)
# The liquidator takes all: of the account, and of an isolated position.
@example(steps=[("market", ETH, 241), ("price", ETH, -7)])
@example(steps=[("leverage", ETH, -20), ("market", ETH, 100), ("price", ETH, -8)])
def test_money_is_conserved_and_orders_only_move_forward(steps: list[Step]) -> None:
    bench, books = Bench(), Bookkeeper()
    for step in steps:
        account = bench.account
        before = {index: account.szi(index) for index in START}
        statuses = do(bench, step)
        books.follow(bench)
        filled = [status for status in statuses if isinstance(status, dict) and "filled" in status]
        if filled and abs(account.szi(step[1])) > abs(before[step[1]]):
            summary = summarize(account, UNIVERSE, bench.mark_of)
            assert summary.cross_margin_used_usd <= summary.cross_equity_usd + CENT
        if step[0] == "close":
            assert abs(account.szi(step[1])) <= abs(before[step[1]])
            assert account.szi(step[1]) * before[step[1]] >= 0
        for order in account.orders.values():
            assert order.request.tif != "Ioc" or order.request.trigger is not None, "an IOC order never rests"
            if order.request.reduce_only and not order.is_waiting:
                assert account.szi(order.request.asset) != 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    is_long=st.booleans(),
    entry_kind=st.sampled_from(["market", "resting", "partial"]),
    moves=st.lists(st.integers(-6, 6), max_size=12),
)
def test_of_a_stop_and_its_target_at_most_one_fills(is_long: bool, entry_kind: str, moves: list[int]) -> None:  # noqa: FBT001 - drawn
    bench = Bench()
    way = 1 if is_long else -1
    exits = [
        exit_order(ETH, str(-way), str(2_000 + 60 * way), "tp"),
        exit_order(ETH, str(-way), str(2_000 - 40 * way), "sl"),
    ]
    entry = limit(ETH, str(way), str(2_000 - 10 * way)) if entry_kind == "resting" else market_order(ETH, str(way))
    share = "0.5" if entry_kind == "partial" else "1"
    bench.place(entry, *exits, grouping="normalTpsl", share=share)
    for move in moves:
        bench.go(60, ETH=bench.source.prices["ETH"] * (1 + move / 100))
        exited = [order for order in bench.account.closed_orders if order.parent_oid is not None and order.filled]
        assert len(exited) <= 1
        if exited:
            assert bench.account.positions == {}
            assert bench.account.orders == {}
