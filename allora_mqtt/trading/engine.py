"""The cycle: new prices and predictions in, signals, entries and exits out; and the account kept in view.

It wakes on each new quote, prediction and command and does not sleep in between. The exchange is the truth: the
account is read at start before anything else, after each order, and on an interval.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from allora_mqtt.market.catalog import Catalog
from allora_mqtt.market.dependency import Dependency
from allora_mqtt.market.gate import SendGate
from allora_mqtt.market.line import for_exit
from allora_mqtt.market.orders import OutcomeUnknown
from allora_mqtt.market.predictions import Prediction
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.messages import Direction, Side, SignalView
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.store.predictions import HitRate
from allora_mqtt.trading.adoption import Adoption
from allora_mqtt.trading.closing import Closer
from allora_mqtt.trading.exchange_watch import ExchangeWatch
from allora_mqtt.trading.execution import Executor
from allora_mqtt.trading.feed import Feed
from allora_mqtt.trading.observer import Observer
from allora_mqtt.trading.portfolio import Holding, Portfolio, exit_reason
from allora_mqtt.trading.reconciler import Reconciler
from allora_mqtt.trading.risk import ORDERS_PER_ENTRY, TRADED_ON, EntryPlan, Refused, plan_entry
from allora_mqtt.trading.signals import REVIEWING, Asking, Signals
from allora_mqtt.trading.skill import Skill
from allora_mqtt.trading.strategy import Opinion, Situation, Strategies

log = logging.getLogger(__name__)

_GATE_TIMEOUT_S: Final = 2.0
_MAX_ACCOUNT_AGE_S: Final = 30.0
_MAX_QUOTE_AGE_S: Final = 30.0
_CLOCK_TOLERANCE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What the bot has been told, as far as trading is concerned.

    Attributes:
        active: topic id by symbol.
    """

    mode: Mode
    active: Mapping[str, int]
    settings: RuntimeSettings


class Engine:
    """Trades.

    Args:
        feed: prices and predictions.
        executor: sends orders.
        portfolio: what is held.
        reconciler: keeps the portfolio true to the exchange.
        thoughts: strategy, gates, reviewers and the record of what they say.
        gate: closed unless entries are allowed.
        orders: what the bot has been told at start.
        standby_exits: whether exit rules close positions in STANDBY.
        clock: the time, with its zone.
        observer: told what happens.
        adopts: whether positions that somebody else opened become the bot's own.
    """

    def __init__(
        self,
        feed: Feed,
        executor: Executor,
        portfolio: Portfolio,
        reconciler: Reconciler,
        thoughts: Signals,
        gate: SendGate,
        orders: Orders,
        standby_exits: Literal["manage", "hold"],
        clock: Callable[[], datetime],
        observer: Observer,
        *,
        adopts: bool = False,
    ) -> None:
        self.feed = feed
        self.portfolio = portfolio
        self.reconciler = reconciler
        self._executor = executor
        self._thoughts = thoughts
        self._gate = gate
        self._orders = orders
        self._standby_exits = standby_exits
        self._clock = clock
        self._observer = observer
        self._may_trade = False
        self._stands_aside = False
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._entered: set[tuple[int, float]] = set()
        self._closer = Closer(feed, executor, portfolio, reconciler, clock)
        self.adoption = Adoption(feed, executor, portfolio, reconciler, self._closer) if adopts else None
        reconciler.recovery.may_open = self._may_still_open
        feed.on_quotes = self._on_news
        feed.on_prediction = lambda _symbol: self._on_news()
        feed.on_catalog = observer.on_catalog
        for dependency in feed.dependencies():
            dependency.on_change = self._on_breaker

    async def run(self) -> None:
        """Trade until cancelled; what the exchange says of the account comes before everything else."""
        self._entered = await self._thoughts.load()
        await self._executor.load_pace()
        self._follow_topics()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.feed.run())
                tasks.create_task(self.reconciler.run(self._protect, self._adopt))
                tasks.create_task(self._thoughts.run())
                tasks.create_task(self.reconciler.bookkeeping.run())
                tasks.create_task(ExchangeWatch(self.feed.hyperliquid, self._executor, self._clock).run())
                tasks.create_task(self._cycle())
        finally:
            # Nothing of the engine outlives it: what these would still store belongs to the next start.
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def signals(self) -> Mapping[str, SignalView]:
        """The newest signal of each active symbol."""
        return self._thoughts.newest

    @property
    def strategies(self) -> Strategies:
        """The strategies that can be chosen."""
        return self._thoughts.strategies

    # what commands ask for

    def follow(self, orders: Orders, *, may_trade: bool) -> None:
        """Take over what the bot has been told; entries are allowed from now on when `may_trade`."""
        self._orders = orders
        self.reconciler.settings = orders.settings
        self._may_trade = may_trade
        self._set_gate()
        for symbol in [symbol for symbol in self.signals if symbol not in orders.active]:
            self._thoughts.forget(symbol)
        self._follow_topics()
        self._on_news()

    async def block_entries(self) -> bool:
        """Let no further entry leave; when this returns True none is on its way to the socket either."""
        self._may_trade = False
        return await self._gate.aclose(_GATE_TIMEOUT_S)

    def stand_aside(self, *, aside: bool) -> None:
        """Make no entries for as long as another bot is in the way, whatever the mode."""
        self._stands_aside = aside
        self._set_gate()
        self._on_news()

    async def catalog(self, timeout_s: float) -> Catalog:
        """Return the catalog, waiting for it when the bot has only just started.

        Raises:
            BotError: `EXCHANGE_UNREACHABLE`, when it did not come in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self.feed.catalog_ready.wait()
        except TimeoutError as error:
            why = self.feed.hyperliquid_health.last_error or self.feed.allora_health.last_error or "no answer yet"
            message = f"It is not known yet what can be traded ({why}). Send the command again later."
            raise BotError(ErrorCode.EXCHANGE_UNREACHABLE, message) from error
        if self.feed.catalog is None:
            raise RuntimeError("the catalog is said to be there and is not")
        return self.feed.catalog

    async def close(self, symbol: str, reason: str) -> Decimal:
        """Close our position in a symbol, to the end.

        Returns:
            How many coins were closed.

        Raises:
            BotError: `NO_POSITION`; `NOT_ALLOWED` for a position that is not ours; or the exchange's refusal.
        """
        with for_exit():
            return await self._closer.close(symbol, reason)

    async def cancel_entries(self) -> int:
        """Cancel entry orders that rest on the exchange; stops and targets stay. Returns how many there were.

        Raises:
            BotError: the exchange did not answer, or refused.
        """
        with for_exit():
            return await self._closer.cancel_entries()

    async def flatten(self, reason: str) -> tuple[list[str], list[str]]:
        """Cancel entries and close every position of ours, confirmed by the exchange. Entries must be blocked.

        Returns:
            The symbols closed, and those of foreign positions, which were left alone.

        Raises:
            BotError: not everything could be closed; the message says what is left.
        """
        with for_exit():
            return await self._closer.flatten(reason)

    def stand_down(self, *, flat: bool) -> None:
        """Cancel resting entries, now that the bot is stopped, and close every position too when `flat`."""
        self._spawn(self._stand_down(flat=flat))

    def clock_wrong_by_s(self) -> float | None:
        """Return how far this machine's clock is ahead of the exchange's (below 0: behind), None when it is right."""
        ahead_s = self._executor.clock_ahead_s
        return ahead_s if abs(ahead_s) > _CLOCK_TOLERANCE_S else None

    def usable_prediction(self, symbol: str) -> Prediction | None:
        """Return the newest prediction of a symbol, if it may be traded on."""
        prediction, quote = self.feed.predictions.get(symbol), self.feed.quotes.get(symbol)
        if prediction is None or quote is None:
            return None
        return prediction if self._thoughts.unusable_because(prediction, quote.mark) is None else None

    def skill(self, topic_id: int) -> Skill:
        """Return how far a topic can be trusted, by its newest resolved predictions."""
        return self._thoughts.skill.skill(topic_id, self._orders.settings.skill_window)

    async def hit_rates(self, since: datetime) -> list[HitRate]:
        """Return how often each topic foresaw the direction, of the predictions made since a time.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        return await self._thoughts.skill.hit_rates(since)

    # the cycle

    def _set_gate(self) -> None:
        if self._may_trade and not self._stands_aside:
            self._gate.open()
        else:
            self._gate.close(0)

    def _on_breaker(self, dependency: Dependency, is_open: bool) -> None:  # noqa: FBT001 - a callback's arguments
        recovery = "it answers again" if dependency.last_error is None else "reset by a command"
        self._observer.on_breaker(
            dependency.name, (dependency.last_error or "") if is_open else recovery, opened=is_open
        )
        # Exits have waited for this.
        self._on_news()

    def _on_news(self) -> None:
        self._wake.set()

    def _follow_topics(self) -> None:
        held = {holding.symbol: holding.topic_id for holding in self.portfolio.holdings.values()}
        self.feed.want(held | dict(self._orders.active))

    async def _cycle(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._thoughts.look(self.feed.quotes, self.feed.predictions)
            if self._orders.mode is not Mode.STOPPED:
                self._look_for_exits()
                for symbol, topic_id in self._orders.active.items():
                    self._look_at(symbol, topic_id)
            self._observer.on_market()

    def _look_at(self, symbol: str, topic_id: int) -> None:
        quote, prediction = self.feed.quotes.get(symbol), self.feed.predictions.get(symbol)
        if quote is None or prediction is None or prediction.topic_id != topic_id:
            return
        now = self._clock()
        situation = self._thoughts.situation(quote, prediction, self._orders.settings)
        opinion = self._thoughts.opinion(situation)
        plan = self._plan(opinion, situation, now)
        signal = self._thoughts.view(situation, opinion, plan)
        if isinstance(plan, EntryPlan):
            self._thoughts.log_decision(signal, None)
            self.portfolio.pending[symbol] = plan
            self._executor.pace.note(ORDERS_PER_ENTRY, now.timestamp())
            self._entered.add((topic_id, prediction.at))
            self._spawn(self._enter(plan, signal, prediction))
        elif self._thoughts.is_news(signal):
            if opinion.fault is not None:
                log.warning("%s: %s", symbol, opinion.reasons[0], exc_info=opinion.fault)
            self._thoughts.log_decision(signal, plan)
            self._spawn(self._note(signal))

    def _plan(self, opinion: Opinion, situation: Situation, now: datetime) -> EntryPlan | Refused | None:
        """Return the entry to make; or why there is none, though the strategy wants one; or None when it does not."""
        if opinion.direction is Direction.HOLD:
            return None
        quote = situation.quote
        obstacle = self._obstacle(quote, situation.prediction, now)
        obstacle = obstacle or self._thoughts.gate_refusal(situation, opinion.direction)
        if obstacle is not None:
            return Refused(obstacle)
        plan = plan_entry(
            opinion.direction,
            opinion.gap_pct,
            quote,
            self.feed.asset(quote.symbol),
            self._orders.settings,
            self.portfolio.book(self._executor.pace.last_minute(now.timestamp())),
            now.timestamp(),
        )
        return plan if isinstance(plan, Refused) else self._reviewed(plan, situation, opinion)

    def _reviewed(self, plan: EntryPlan, situation: Situation, opinion: Opinion) -> EntryPlan | Refused:
        """Hold a plan back until the reviewers have approved; it is made anew then, by what holds at that moment."""
        reviewed = self._thoughts.reviewed(plan, situation, opinion)
        if isinstance(reviewed, EntryPlan | Refused):
            return reviewed
        self._spawn(self._ask_reviewers(reviewed))
        return Refused(REVIEWING)

    async def _ask_reviewers(self, ask: Asking) -> None:
        await ask()
        self._on_news()

    def _obstacle(self, quote: Quote, prediction: Prediction, now: datetime) -> str | None:
        """Return what stands against any entry in this symbol now, apart from the limits."""
        account = self.portfolio.account
        obstacles = (
            (self._stands_aside, "another bot uses this base topic"),
            (self._orders.mode is not Mode.ACTIVE, f"no entries in {self._orders.mode}"),
            (not self._gate.is_open, "a command that may forbid entries has not been carried out yet"),
            (self.clock_wrong_by_s() is not None, "the clock of this machine is wrong"),
            (bool(self.reconciler.losses.trips), "a limit on losses was reached"),
            (self.reconciler.losses.cash.is_waiting, "money has moved, and it is not known yet why"),
            *((one.is_open, f"the breaker {one.name} is open") for one in self.feed.dependencies()),
            ((prediction.topic_id, prediction.at) in self._entered, TRADED_ON),
            (account is None or abs(now.timestamp() - account.at) > _MAX_ACCOUNT_AGE_S, "the account is not known"),
            (abs(now.timestamp() - quote.at) > _MAX_QUOTE_AGE_S, "the price is old"),
            (self.reconciler.unresolved(quote.symbol), "it is not known yet what became of an earlier order"),
        )
        return next((why for stands, why in obstacles if stands), None) or self.feed.hyperliquid.budget.obstacle()

    def _may_still_open(self, symbol: str) -> bool:
        """Tell whether an entry that was sent a moment ago, and counts as on its way, would be decided on now too."""
        account, settings = self.portfolio.account, self._orders.settings
        notional = self.portfolio.notional_usd()
        return (
            symbol in self._orders.active
            and account is not None
            and symbol not in account.positions
            and not self.reconciler.losses.trips
            and not self.reconciler.losses.cash.is_waiting
            and self.clock_wrong_by_s() is None
            and len(notional) <= settings.max_open_positions
            and notional.get(symbol, Decimal(0)) <= settings.max_symbol_exposure_usd
            and sum(notional.values(), Decimal(0)) <= settings.max_exposure_usd
        )

    async def _note(self, signal: SignalView) -> None:
        # Stored first: what has been published must not be missing in the books when the bot ends now.
        try:
            await self._thoughts.store(signal)
        except BotError as error:
            log.warning("A signal could not be stored: %s", error.message)
        self._observer.on_signal(signal)

    async def _enter(self, plan: EntryPlan, signal: SignalView, prediction: Prediction) -> None:
        order_id = self._executor.new_order_id()
        ids = {"signal": signal.signal_id, "order": order_id}
        now = self._clock()
        expected = Holding(
            position_id=order_id,
            symbol=plan.symbol,
            side=Side.LONG if plan.is_buy else Side.SHORT,
            size=Decimal(0),
            entry_price=plan.limit_price,
            stop_price=plan.stop_price,
            target_price=plan.target_price,
            topic_id=signal.topic_id,
            signal_id=signal.signal_id,
            opened_at=now,
            expires_at=max(now, datetime.fromtimestamp(prediction.at + prediction.horizon_s, UTC)),
        )
        try:
            asset = self.feed.asset(plan.symbol)
            # Without the store nothing trades: what is about to happen is written down first.
            await asyncio.gather(self._thoughts.store(signal), self.reconciler.expect(expected))
            self._observer.on_signal(signal)
            filled = await self._executor.enter(plan, asset, order_id, signal.signal_id, signal.reasons[0])
            await self.reconciler.opened(plan.symbol, filled)
        except OutcomeUnknown as error:
            log.warning("Entry in %s: %s", plan.symbol, error.message, extra=ids)
        except BotError as error:
            log.warning("No entry in %s: %s", plan.symbol, error.message, extra=ids)
            await self._drop(plan.symbol)
        finally:
            self.reconciler.answered(plan.symbol)
            if not self.reconciler.unresolved(plan.symbol):
                self.portfolio.pending.pop(plan.symbol, None)
            self._follow_topics()
            self.reconciler.look_soon()

    async def _drop(self, symbol: str) -> None:
        try:
            await self.reconciler.dropped(symbol)
        except BotError as error:
            # It stays expected, and the reconciler finds out that there is none.
            log.warning("That %s was not entered could not be stored: %s", symbol, error.message)

    async def _stand_down(self, *, flat: bool) -> None:
        try:
            if flat:
                await self.flatten("stopped")
            else:
                await self.cancel_entries()
        except BotError as error:
            log.error("Stopped, but: %s", error.message)  # noqa: TRY400 - the sentence says it all

    def _look_for_exits(self) -> None:
        if self._orders.mode is Mode.STANDBY and self._standby_exits == "hold":
            return
        if self.feed.hyperliquid_health.is_open or self.feed.hyperliquid.exchange_health.is_open:
            # Without prices or orders nothing is closed; the stops rest on the exchange.
            return
        # A wrong clock is no reason to close anything early.
        now = self._executor.exchange_time()
        now_s = self._clock().timestamp()
        for holding in list(self.portfolio.holdings.values()):
            if not holding.seen or self._closer.is_busy(holding.symbol):
                continue
            quote = self.feed.quotes.get(holding.symbol)
            if quote is not None and abs(now_s - quote.at) > _MAX_QUOTE_AGE_S:
                quote = None
            prediction = self.usable_prediction(holding.symbol)
            reason = exit_reason(holding, prediction, quote, self._orders.settings, now)
            if reason is not None:
                self._spawn(self._leave(self._closer.leave(holding.symbol, reason)))

    async def _leave(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            with for_exit():
                await work
        finally:
            # What has failed is tried again though no new price may come meanwhile.
            self._on_news()

    async def _protect(self, holding: Holding) -> None:
        with for_exit():
            await self._closer.protect(holding)

    async def _adopt(self) -> None:
        # What another bot on this base topic has opened is its business.
        if self.adoption is None or self._stands_aside or self._orders.mode is Mode.STOPPED:
            return
        with for_exit():
            await self.adoption.look(self._orders.active, self._orders.settings, self._clock())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("A task of the engine failed", exc_info=fault)
