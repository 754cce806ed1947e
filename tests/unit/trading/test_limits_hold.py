"""G8 in small: whatever happens between entries, the limits hold."""

from dataclasses import dataclass, field, replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allora_mqtt.market.account import PositionState
from allora_mqtt.protocol.messages import Direction, Side
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.trading.portfolio import Portfolio
from allora_mqtt.trading.risk import EntryPlan, plan_entry
from tests.unit.trading import things

COINS = {"BTC": ("97531", 5), "ETH": ("2099.9", 4), "SOL": ("133.77", 2), "DOGE": ("0.09473", 0), "XRP": ("2.3456", 0)}
MONEY = st.decimals(min_value=5, max_value=2000, places=2)


@dataclass
class World:
    """The exchange: positions by coin, with the price that each was filled at."""

    positions: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)

    def shown(self) -> list[PositionState]:
        return [things.position(str(size), coin, str(price)) for coin, (size, price) in self.positions.items()]


class Trading(RuleBasedStateMachine):
    """Entries are planned, fill in part or whole or not at all, are seen sooner or later, and are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.portfolio = Portfolio()
        self.world = World()
        self.settings = RuntimeSettings()

    @initialize(amount=MONEY, exposure=st.integers(10, 3000), positions=st.integers(1, 5), leverage=st.integers(1, 50))
    def begin(self, amount: Decimal, exposure: int, positions: int, leverage: int) -> None:
        self.settings = things.settings(
            amount_usd=amount, max_exposure_usd=exposure, max_open_positions=positions, max_leverage=leverage
        )
        self.portfolio.take(things.account(equity="100000", free="100000"), things.NOW)

    @rule(coin=st.sampled_from(sorted(COINS)), direction=st.sampled_from([Direction.BUY, Direction.SELL]))
    def signal(self, coin: str, direction: Direction) -> None:
        mark, decimals = COINS[coin]
        plan = plan_entry(
            direction,
            Decimal(1 if direction is Direction.BUY else -1),
            things.quote(mark, coin),
            things.asset(coin, decimals),
            self.settings,
            self.portfolio.book(),
            things.NOW_S,
        )
        if isinstance(plan, EntryPlan):
            assert plan.notional_usd <= self.settings.amount_usd * plan.leverage
            self.portfolio.pending[coin] = plan

    @precondition(lambda self: self.portfolio.pending)
    @rule(data=st.data(), share=st.sampled_from(["0", "0.3", "0.5", "1"]))
    def fill(self, data: st.DataObject, share: str) -> None:
        """The exchange fills some of it; the bot learns that before or after the account shows it."""
        coin = data.draw(st.sampled_from(sorted(self.portfolio.pending)))
        plan = self.portfolio.pending[coin]
        size = plan.size * Decimal(share)
        if size:
            # Nothing fills at a worse price than the limit, and a sale at the mark is worth the most.
            price = max(plan.limit_price, Decimal(COINS[coin][0]))
            self.world.positions[coin] = (size if plan.is_buy else -size, price)
            if data.draw(st.booleans()):
                self.look()
            self.portfolio.holdings[coin] = replace(
                things.holding(coin), size=size, entry_price=price, side=Side.LONG if plan.is_buy else Side.SHORT
            )
        del self.portfolio.pending[coin]

    @precondition(lambda self: self.portfolio.holdings)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        coin = data.draw(st.sampled_from(sorted(self.portfolio.holdings)))
        self.world.positions.pop(coin, None)
        self.look()
        del self.portfolio.holdings[coin]

    @rule()
    def look(self) -> None:
        self.portfolio.take(things.account(*self.world.shown(), equity="100000", free="100000"), things.NOW)

    @invariant()
    def the_limits_hold(self) -> None:
        held = sum((abs(size) * price for size, price in self.world.positions.values()), Decimal(0))
        assert held <= self.settings.max_exposure_usd
        assert self.portfolio.exposure_usd() <= self.settings.max_exposure_usd
        assert len(set(self.world.positions) | set(self.portfolio.pending)) <= self.settings.max_open_positions


Trading.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
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
    limits = things.settings(amount_usd=amount, max_leverage=leverage, max_exposure_usd=1_000_000)
    direction = Direction.BUY if gap > 0 else Direction.SELL
    coin = things.asset("ETH", decimals, coin_leverage)
    plan = plan_entry(direction, gap, things.quote(str(mark)), coin, limits, things.book("1000000"), 0)
    if isinstance(plan, EntryPlan):
        assert plan.leverage == min(leverage, coin_leverage)
        assert Decimal(10) <= plan.notional_usd <= amount * plan.leverage
        below, above = plan.stop_price, plan.target_price
        if not plan.is_buy:
            below, above = above, below
        assert below < mark < above
