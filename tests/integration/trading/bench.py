"""The trading room put together as the bot does it, against the real simulator with prices and a clock in hand."""

import asyncio
import contextlib
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import aiohttp
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from psycopg.types.string import TextLoader

from allora_mqtt.database_url import is_postgresql
from allora_mqtt.market.allora import AlloraClient
from allora_mqtt.market.budget import RequestBudget
from allora_mqtt.market.gate import SendGate
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.nonces import NonceSource
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.messages import FillView, OrderView, PositionClosed, SignalView
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.simulator import account as sim
from allora_mqtt.simulator.faults import FAULT_RULES
from allora_mqtt.simulator.server import RunningSimulator, SimulatorOptions, serve
from allora_mqtt.simulator.universe import Asset
from allora_mqtt.simulator.world import Arrival
from allora_mqtt.store.database import Database, open_engine
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.predictions import PredictionBook
from allora_mqtt.trading.engine import Engine, Orders
from allora_mqtt.trading.execution import Executor
from allora_mqtt.trading.feed import Feed
from allora_mqtt.trading.portfolio import Portfolio
from allora_mqtt.trading.reconciler import Reconciler
from allora_mqtt.trading.review import Panel
from allora_mqtt.trading.signals import Signals
from allora_mqtt.trading.skill_keeper import SkillKeeper
from allora_mqtt.trading.strategy import BUILT_IN, Strategies

WALLET: LocalAccount = Account.from_key("0x" + "31" * 32)
ON_BOTH = pytest.mark.parametrize("engine", ["SQLite", "PostgreSQL"])
"""For tests that are about what the books keep."""

EPOCH_S = 600.0
_START_S = 1_800_000_000.0 + 60
"""A minute into an epoch and a few hours into a UTC day."""
_FAR_S = 60.0

ETH, BTC, SOL = 9, 14, 10
"""Topics that predict a price 8 h ahead."""
ETH_SHORT = 13
"""A topic that predicts 5 minutes ahead."""
FIRST_EXTRA = 101
EXTRA_COINS = ["AVAX", "BNB", "DOGE", "XRP", "LINK", "ADA", "ARB", "OP", "SUI", "LTC", "ATOM", "DOT", "UNI", "NEAR"]
EXTRA_COINS += ["APT", "INJ", "TIA", "AAVE", "HYPE", "BCH", "TRX"]


class Clock:
    """Runs like any other and can be put forward."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._ahead_s = 0.0

    def __call__(self) -> float:
        return _START_S + self._ahead_s + time.monotonic() - self._begin

    def now(self) -> datetime:
        return datetime.fromtimestamp(self(), UTC)

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


@dataclass
class FlatPrices:
    """Prices that stand still, and futures that are as far away as a test says: predictions of skill 1 know them."""

    market_now: Callable[[], float]
    gaps: dict[str, float] = field(default_factory=dict)

    @property
    def start_s(self) -> float:
        return 0.0

    def price(self, asset: Asset, time_s: float) -> float:
        is_future = time_s > self.market_now() + _FAR_S
        return float(asset.start_px) * (1 + (self.gaps.get(asset.name, 0.0) if is_future else 0.0))

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        del asset, horizon_s
        return 0.001


@dataclass
class Recorder:
    """An observer that remembers."""

    signals: list[SignalView] = field(default_factory=list)
    orders: list[OrderView] = field(default_factory=list)
    fills: list[FillView] = field(default_factory=list)
    closed: list[PositionClosed] = field(default_factory=list)
    trips: list[tuple[str, str]] = field(default_factory=list)
    breakers: list[tuple[str, bool]] = field(default_factory=list)
    account_looks: int = 0

    def on_signal(self, signal: SignalView) -> None:
        self.signals.append(signal)

    def on_order(self, order: OrderView) -> None:
        self.orders.append(order)

    def on_fill(self, fill: FillView) -> None:
        self.fills.append(fill)

    def on_position_closed(self, closed: PositionClosed) -> None:
        self.closed.append(closed)

    def on_market(self) -> None: ...

    def on_account(self) -> None:
        self.account_looks += 1

    def on_catalog(self) -> None: ...

    def on_trip(self, name: str, reason: str) -> None:
        self.trips.append((name, reason))

    def on_breaker(self, name: str, reason: str, *, opened: bool) -> None:
        del reason
        self.breakers.append((name, opened))


@dataclass
class Bot:
    """One run of the trading room."""

    engine: Engine
    gate: SendGate
    ledger: Ledger
    portfolio: Portfolio
    feed: Feed
    hyperliquid: Hyperliquid
    database: Database
    seen: Recorder
    _session: aiohttp.ClientSession
    _task: "asyncio.Task[None]"

    @property
    def is_running(self) -> bool:
        return not self._task.done()

    def follow(self, active: dict[str, int], mode: Mode = Mode.ACTIVE, **changes: Any) -> None:
        orders = Orders(mode, active, settings(**changes))
        self.engine.follow(orders, may_trade=mode is Mode.ACTIVE)

    async def stop(self) -> None:
        """End it as a crash would: at once, whatever is under way."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self.hyperliquid.close()
        await self._session.close()
        await self.database.close()


@dataclass
class Bench:
    """The simulator, a database, and the bots that run on them."""

    simulator: RunningSimulator
    clock: Clock
    prices: FlatPrices
    database_url: str
    bots: list[Bot] = field(default_factory=list)
    weight_per_minute: int = 10**9
    """What the bots take for the exchange's limit; the simulator keeps none unless a test says so."""

    async def start(
        self,
        active: dict[str, int] | None = None,
        mode: Mode = Mode.ACTIVE,
        *,
        strategies: Strategies = BUILT_IN,
        panel: Callable[[aiohttp.ClientSession], Panel] | None = None,
        max_age_s: float = 1800,
        standby_exits: Literal["manage", "hold"] = "manage",
        adopts: bool = False,
        reconcile_interval_s: float = 0.5,
        timeout_s: float = 10.0,
        **changes: Any,
    ) -> Bot:
        database = Database(self.database_url)
        ledger, gate, portfolio, seen = Ledger(database), SendGate(), Portfolio(), Recorder()
        saved = await Journal(database).saved()
        session = aiohttp.ClientSession()
        hyperliquid = Hyperliquid(
            base_url=self.simulator.url,
            timeout_s=timeout_s,
            account_address=WALLET.address,
            wallet=WALLET,
            vault_address=None,
            clock=self.clock,
            steady=self.clock,
        )
        hyperliquid.line.budget = RequestBudget(self.weight_per_minute)
        allora = AlloraClient(f"{self.simulator.url}/v2", "sim", "allora-mainnet-1", timeout_s, session)
        feed = Feed(hyperliquid, allora, [], 0.15, self.clock, requests_per_minute=1_000_000)
        nonces = NonceSource(lambda: int(self.clock() * 1000), await ledger.highest_nonce())
        executor = Executor(hyperliquid, ledger, gate, nonces, _new_id, self.clock.now, seen)
        orders = Orders(mode, active or {}, settings(**changes))
        reconciler = Reconciler(
            hyperliquid, ledger, portfolio, executor, orders.settings, reconcile_interval_s, self.clock.now, seen
        )
        await reconciler.load(saved.state)
        skill = SkillKeeper(PredictionBook(database, "sim"), hyperliquid.minute_closes, self.clock)
        reviewers = None if panel is None else panel(session)
        engine = Engine(
            feed,
            executor,
            portfolio,
            reconciler,
            Signals(ledger, strategies, skill, reviewers, max_age_s, _new_id, self.clock.now),
            gate,
            orders,
            standby_exits,
            self.clock.now,
            seen,
            adopts=adopts,
        )
        engine.follow(orders, may_trade=mode is Mode.ACTIVE)
        task = asyncio.create_task(engine.run())
        bot = Bot(engine, gate, ledger, portfolio, feed, hyperliquid, database, seen, session, task)
        self.bots.append(bot)
        return bot

    async def stop(self, bot: Bot) -> None:
        self.bots.remove(bot)
        await bot.stop()

    def signal(self, **gaps: float) -> None:
        """Let the network expect these moves, as fractions."""
        self.prices.gaps = gaps

    def next_epoch(self) -> None:
        """Let the network make new predictions."""
        self.clock.advance(EPOCH_S)

    def faults(self, *rules: dict[str, Any]) -> None:
        self.simulator.world.faults.rules = FAULT_RULES.validate_python(list(rules))

    def faults_left(self) -> int:
        return len(self.simulator.world.faults.rules)

    async def shift(self, coin: str, factor: float) -> None:
        """Let a price jump."""
        body = {"coin": coin, "factor": factor}
        url = f"{self.simulator.url}/sim/price"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            assert response.status == 200, await response.text()

    @property
    def account(self) -> sim.Account:
        """The account from the exchange's side."""
        return self.simulator.world.account(WALLET.address)

    def positions(self) -> dict[str, Decimal]:
        """Sizes by coin, as the exchange has them."""
        names = self.simulator.world.market.universe.assets
        return {names[index].name: position.szi for index, position in self.account.positions.items()}

    def resting(self, coin: str) -> dict[str, sim.Order]:
        """What rests at the exchange for a coin, by `sl`, `tp` or `limit`."""
        asset = self.asset(coin)
        orders = [order for order in self.account.orders.values() if order.request.asset == asset.index]
        return {order.request.trigger.kind if order.request.trigger else "limit": order for order in orders}

    def asset(self, coin: str) -> Asset:
        asset = self.simulator.world.market.universe.by_name(coin)
        assert asset is not None
        return asset

    def mark(self, coin: str) -> Decimal:
        return self.simulator.world.market.mark(self.asset(coin), self.clock())

    def by_hand(self, coin: str, size: str, *, is_buy: bool, reduce_only: bool = False) -> None:
        """Trade at the market on the exchange's own page, past the bot."""
        price = (self.mark(coin) * (Decimal("1.05") if is_buy else Decimal("0.95"))).quantize(Decimal(1))
        request = sim.OrderRequest(
            self.asset(coin).index, is_buy, max(price, Decimal(1)), Decimal(size), reduce_only, "Ioc"
        )
        world = self.simulator.world
        world.remember(self.account, self.clock())
        statuses = world.exchange.place(self.account, [request], "na", self.clock())
        assert "filled" in statuses[0], statuses

    def remove(self, order: sim.Order) -> None:
        """Cancel an order on the exchange's own page."""
        assert (
            self.simulator.world.exchange.cancel(self.account, order.request.asset, order.oid, self.clock())
            == "success"
        )

    def sent(self, kind: str = "order") -> list[Arrival]:
        """What reached the exchange, by the type of action."""
        return [
            arrival
            for arrival in self.simulator.world.arrivals
            if isinstance(arrival.action, dict) and arrival.action["type"] == kind
        ]

    def entries(self, coin: str | None = None) -> list[Arrival]:
        """The orders that reached the exchange and raise exposure."""
        wanted = None if coin is None else self.asset(coin).index
        return [
            arrival
            for arrival in self.sent()
            if any(not order["r"] and wanted in {None, order["a"]} for order in arrival.action["orders"])
        ]

    def stored(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What is committed to the database, read past the bot."""
        if is_postgresql(self.database_url):
            engine = open_engine(self.database_url, read_only=True)
            with engine.connect() as connection:
                server: Any = connection.connection.driver_connection
                # As SQLite has it, the text.
                server.adapters.register_loader("json", TextLoader)
                found = server.execute(query.replace("%", "%%").replace("?", "%s"), values or None).fetchall()
            return [tuple(row) for row in found]
        with contextlib.closing(sqlite3.connect(self.database_url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query, values).fetchall()

    async def holding(self, *coins: str) -> None:
        """Wait until the bot holds these and nothing else, each seen on the exchange with its stop."""
        portfolio = self.bots[-1].portfolio
        await until(
            lambda: (
                set(portfolio.holdings) == set(coins)
                and all(holding.seen for holding in portfolio.holdings.values())
                and all(portfolio.exit_order(coin, "sl") for coin in coins)
            ),
            f"{coins} are held",
        )

    async def closed(self, reason: str) -> PositionClosed:
        """Wait until a position is booked as closed for this reason."""
        seen = self.bots[-1].seen
        await until(lambda: any(one.reason == reason for one in seen.closed), f"closed for {reason}: {seen.closed}")
        return next(one for one in seen.closed if one.reason == reason)

    async def looks(self, count: int = 3) -> None:
        """Wait until the bot has looked at the account, prices and predictions a few times more."""
        seen = self.bots[-1].seen
        target = seen.account_looks + count
        await until(lambda: seen.account_looks >= target, "the account is looked at")


async def serve_bench(database_url: str) -> Bench:
    clock = Clock()
    options = SimulatorOptions(skill=1.0, epoch_s=EPOCH_S, rate_limit=False)
    simulator = await serve(options, clock)
    market = simulator.world.market
    prices = FlatPrices(lambda: market.clock.market_s(clock()))
    market.source = prices
    bench = Bench(simulator, clock, prices, database_url)
    simulator.world.remember(bench.account, clock())
    return bench


def settings(**changes: Any) -> RuntimeSettings:
    room = {"max_exposure_usd": 2000, "max_symbol_exposure_usd": 2000, "max_orders_per_minute": 600}
    return RuntimeSettings.model_validate({**room, **changes})


async def until(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition; fail with what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.01)


def _new_id() -> str:
    return secrets.token_hex(16)
