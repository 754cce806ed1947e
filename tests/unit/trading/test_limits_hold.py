"""G8 in small: whatever happens between entries, none is let through that would cross a limit."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from allora_mqtt.market.account import PositionState, RestingOrder
from allora_mqtt.market.precision import is_valid_size
from allora_mqtt.protocol.messages import Direction, Side
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.trading.portfolio import Portfolio
from allora_mqtt.trading.risk import ORDERS_PER_ENTRY, EntryPlan, OrderPace, Refused, plan_entry
from tests.unit.trading import things

COINS = {"BTC": ("97531", 5), "ETH": ("2099.9", 4), "SOL": ("133.77", 2), "DOGE": ("0.09473", 0), "XRP": ("2.3456", 0)}
LEVERAGES = {"BTC": 40, "ETH": 25, "SOL": 20, "DOGE": 10, "XRP": 3}
MONEY = st.decimals(min_value=5, max_value=2000, places=2)
CHOICE: dict[str, st.SearchStrategy[Any]] = {
    # Chosen from what makes each limit the one that stops an entry, some of the time.
    "amount_usd": st.sampled_from([Decimal("33.33"), 50, 20, 15, 120]),
    "max_exposure_usd": st.sampled_from([250, 150, 400, 900]),
    "max_symbol_exposure_usd": st.sampled_from([250, 800, 100, 60]),
    "max_open_positions": st.sampled_from([5, 3, 2, 1]),
    "max_leverage": st.sampled_from([2, 3, 8, 1]),
    "max_orders_per_minute": st.sampled_from([9, 6, 24, 4]),
}


@dataclass
class Known:
    """What the bot has been told, kept apart from how it keeps it.

    Attributes:
        shown: by coin, what a position was worth at the last look at the account.
        free_usd: what the exchange said was free then.
        entered: by coin, entries accepted and not shown since: at most this much, and this much margin.
        resting: by coin, somebody else's orders.
        sent_at: when each order was sent.
    """

    shown: dict[str, Decimal] = field(default_factory=dict)
    free_usd: Decimal = Decimal(0)
    entered: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    resting: dict[str, Decimal] = field(default_factory=dict)
    sent_at: list[float] = field(default_factory=list)

    def exposed(self, coin: str) -> Decimal:
        entered = self.entered.get(coin, (Decimal(0), Decimal(0)))[0]
        return max(self.shown.get(coin, Decimal(0)), entered) + self.resting.get(coin, Decimal(0))

    def coins(self) -> set[str]:
        return set(self.shown) | set(self.entered) | set(self.resting)

    def check(self, plan: EntryPlan, limits: RuntimeSettings, now: float) -> None:
        coins = self.coins()
        assert plan.symbol not in coins
        assert len(coins) + 1 <= limits.max_open_positions
        assert sum((self.exposed(coin) for coin in coins), plan.notional_usd) <= limits.max_exposure_usd
        assert self.exposed(plan.symbol) + plan.notional_usd <= limits.max_symbol_exposure_usd
        assert sum((margin for _, margin in self.entered.values()), plan.margin_usd) <= self.free_usd
        assert sum(1 for at in self.sent_at if at > now - 60) + ORDERS_PER_ENTRY <= limits.max_orders_per_minute
        assert plan.leverage <= min(limits.max_leverage, LEVERAGES[plan.symbol])
        assert plan.notional_usd <= limits.amount_usd * plan.leverage


class Trading(RuleBasedStateMachine):
    """Entries fill in part or whole or not at all and are seen sooner or later, while all else moves."""

    def __init__(self) -> None:
        super().__init__()
        self.portfolio, self.pace, self.known = Portfolio(), OrderPace(), Known()
        self.settings = RuntimeSettings()
        self.now = things.NOW_S
        self.marks = {coin: Decimal(mark) for coin, (mark, _) in COINS.items()}
        self.positions: dict[str, Decimal] = {}
        self.margins: dict[str, Decimal] = {}
        self.cash = Decimal(0)
        self.stopped_at: dict[str, float] = {}

    @initialize(cash=st.sampled_from([120, 60, 400, 30]), limits=st.fixed_dictionaries(CHOICE))
    def begin(self, cash: int, limits: dict[str, Any]) -> None:
        self.cash = Decimal(cash)
        self.settings = things.settings(**limits)
        self.look()

    @rule(coin=st.sampled_from(sorted(COINS)), direction=st.sampled_from([Direction.BUY, Direction.SELL]))
    def signal(self, coin: str, direction: Direction) -> None:
        gap = Decimal(1 if direction is Direction.BUY else -1)
        asset = things.asset(coin, COINS[coin][1], LEVERAGES[coin])
        book = self.portfolio.book(self.pace.last_minute(self.now))
        plan = plan_entry(
            direction, gap, things.quote(str(self.marks[coin]), coin), asset, self.settings, book, self.now
        )
        if isinstance(plan, Refused):
            return
        self.known.check(plan, self.settings, self.now)
        assert self.now >= self.stopped_at.get(coin, 0) + self.settings.cooldown_s
        self.portfolio.pending[coin] = plan
        self.pace.note(ORDERS_PER_ENTRY, self.now)
        self.known.entered[coin] = (plan.notional_usd, plan.margin_usd)
        self.known.sent_at += [self.now] * ORDERS_PER_ENTRY

    @rule(coins=st.permutations(sorted(COINS)), pause_s=st.sampled_from([61, 0, 30]))
    def signals(self, coins: list[str], pause_s: int) -> None:
        """Many coins at once, before anything is known of the first."""
        self.now += pause_s
        for coin in coins:
            self.signal(coin, Direction.BUY)

    @precondition(lambda self: self.portfolio.pending)
    @rule(data=st.data(), share=st.sampled_from(["0", "0.3", "0.5", "1"]))
    def fill(self, data: st.DataObject, share: str) -> None:
        """The exchange fills some of it; the bot learns that before or after the account shows it."""
        coin = data.draw(st.sampled_from(sorted(self.portfolio.pending)))
        plan = self.portfolio.pending[coin]
        size = plan.size * Decimal(share)
        if size:
            # Nothing fills at a worse price than the limit, and a sale at the mark is worth the most.
            price = plan.notional_usd / plan.size
            self.positions[coin] = size if plan.is_buy else -size
            self.margins[coin] = size * price / plan.leverage
            if data.draw(st.booleans()):
                self.look()
            self.portfolio.holdings[coin] = replace(
                things.holding(coin), size=size, entry_price=price, side=Side.LONG if plan.is_buy else Side.SHORT
            )
            if coin in self.known.entered:
                self.known.entered[coin] = (size * price, self.margins[coin])
        else:
            self.known.entered.pop(coin, None)
        del self.portfolio.pending[coin]

    @rule(data=st.data())
    def fill_all(self, data: st.DataObject) -> None:
        for _ in list(self.portfolio.pending):
            self.fill(data, "1")

    @precondition(lambda self: self.portfolio.holdings)
    @rule(data=st.data(), by_stop=st.booleans(), orders=st.integers(0, 3))
    def close(self, data: st.DataObject, by_stop: bool, orders: int) -> None:  # noqa: FBT001 - drawn
        coin = data.draw(st.sampled_from(sorted(self.portfolio.holdings)))
        self.positions.pop(coin, None)
        self.margins.pop(coin, None)
        self.pace.note(orders, self.now)
        self.known.sent_at += [self.now] * orders
        self.look()
        del self.portfolio.holdings[coin]
        self.known.entered.pop(coin, None)
        if by_stop:
            self.stopped_at[coin] = self.now
            self.portfolio.cooling_until[coin] = self.now + self.settings.cooldown_s

    @rule()
    def look(self) -> None:
        free = self.cash - sum(self.margins.values(), Decimal(0))
        shown = [self._shown(coin, size) for coin, size in self.positions.items()]
        self.portfolio.take(things.account(*shown, equity=str(self.cash), free=str(free)))
        self.known.free_usd = free
        self.known.shown = {one.symbol: one.position_value_usd for one in shown}
        on_their_way = set(self.portfolio.pending)
        self.known.entered = {
            coin: entered
            for coin, entered in self.known.entered.items()
            if coin in on_their_way or coin not in self.known.shown
        }

    @rule(coin=st.sampled_from(sorted(COINS)), factor=st.sampled_from(["0.7", "0.99", "1.013", "1.4"]))
    def move(self, coin: str, factor: str) -> None:
        self.marks[coin] = (self.marks[coin] * Decimal(factor)).quantize(Decimal("0.00001"))

    @rule(coin=st.sampled_from(sorted(COINS)), usd=st.sampled_from([0, 0, 0, 0, 60, 400]))
    def by_hand(self, coin: str, usd: int) -> None:
        """Somebody opens, changes or closes a position that is none of the bot's."""
        if coin in self.portfolio.holdings or coin in self.portfolio.pending:
            return
        if usd:
            self.positions[coin] = -Decimal(usd) / self.marks[coin]
        else:
            self.positions.pop(coin, None)
        self.look()

    @rule(coin=st.sampled_from(sorted(COINS)), usd=st.sampled_from([0, 0, 0, 0, 40, 300]))
    def rest(self, coin: str, usd: int) -> None:
        """Somebody places an order that rests, or takes it back."""
        others = [order for order in self.portfolio.resting if order.symbol != coin]
        price = Decimal(COINS[coin][0])
        order = RestingOrder(coin, 1, None, "BUY", Decimal(usd) / price, price, None, None, reduce_only=False)
        self.portfolio.resting = [*others, order] if usd else others
        self.known.resting = {one.symbol: one.size * one.limit_price for one in self.portfolio.resting}

    @rule(data=st.data(), key=st.sampled_from(sorted(CHOICE)))
    def change(self, data: st.DataObject, key: str) -> None:
        """A limit is raised, or lowered below what is open; nothing is closed for that."""
        held = dict(self.portfolio.holdings)
        self.settings = self.settings.model_copy(update={key: data.draw(CHOICE[key])})
        assert self.portfolio.holdings == held

    @rule(seconds=st.sampled_from([1, 59, 60, 600, 900]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    def _shown(self, coin: str, size: Decimal) -> PositionState:
        return things.position(str(size), coin, str(self.marks[coin]))


Trading.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestLimitsHoldWhateverHappens = Trading.TestCase


@settings(max_examples=300, deadline=None)
@given(
    amount=MONEY,
    leverage=st.integers(1, 50),
    coin_leverage=st.integers(1, 50),
    mark=st.decimals(min_value="0.0001", max_value=200_000, places=6),
    decimals=st.integers(0, 5),
    gap=st.decimals(min_value="-20", max_value=20, places=3),
)
def test_no_entry_is_larger_than_its_amount_times_its_leverage(
    amount: Decimal, leverage: int, coin_leverage: int, mark: Decimal, decimals: int, gap: Decimal
) -> None:
    limits = things.settings(
        amount_usd=amount, max_leverage=leverage, max_exposure_usd=1_000_000, max_symbol_exposure_usd=1_000_000
    )
    direction = Direction.BUY if gap > 0 else Direction.SELL
    coin = things.asset("ETH", decimals, coin_leverage)
    plan = plan_entry(direction, gap, things.quote(str(mark)), coin, limits, things.book("1000000"), 0)
    if isinstance(plan, EntryPlan):
        assert plan.leverage == min(leverage, coin_leverage)
        assert is_valid_size(plan.size, decimals)
        assert plan.size * max(plan.limit_price, mark) == plan.notional_usd
        assert plan.margin_usd == plan.notional_usd / plan.leverage
        slip_pct = (plan.limit_price - mark) / mark * 100
        assert (slip_pct if plan.is_buy else -slip_pct) <= limits.max_slippage_pct
        assert Decimal(10) <= plan.notional_usd <= amount * plan.leverage
        below, above = plan.stop_price, plan.target_price
        if not plan.is_buy:
            below, above = above, below
        assert below < mark < above
