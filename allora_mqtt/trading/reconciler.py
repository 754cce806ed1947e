"""Keeps the portfolio true to the exchange: positions, orders, fills, and what became of orders gone astray."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from allora_mqtt.market.account import RestingOrder
from allora_mqtt.market.budget import Use
from allora_mqtt.market.hyperliquid import ACCOUNT_WEIGHT, DEEP_WEIGHT, Hyperliquid
from allora_mqtt.market.line import for_exit
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.protocol.messages import Side
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.bookkeeping import Bookkeeping
from allora_mqtt.trading.execution import Executor, Filled
from allora_mqtt.trading.losses import Losses
from allora_mqtt.trading.observer import Observer
from allora_mqtt.trading.portfolio import Holding, Portfolio
from allora_mqtt.trading.protection import Protection
from allora_mqtt.trading.recovery import Recovery
from allora_mqtt.trading.risk import EntryPlan
from allora_mqtt.trading.settlement import Settlement, fill_view

__all__ = ["Reconciler", "fill_view"]

log = logging.getLogger(__name__)

_ACCOUNT_INTERVAL_S: Final = 5.0
_HOLDING_INTERVAL_S: Final = 2.0
"""While there are positions: a stop that fires, or leaves a part of its position, changes the account at once."""
_BUSY_INTERVAL_S: Final = 1.0
_COOLS_DOWN: Final = frozenset({"stop", "liquidation"})


class Reconciler:
    """Looks at the account at start, after each order, every few seconds, and in depth on an interval.

    Args:
        hyperliquid: the truth.
        ledger: what follows it.
        portfolio: what the rest of the bot sees of it.
        executor: for what became of orders, and for cancelling what nobody needs.
        settings: for the limits on losses; replaced when they change.
        interval_s: between two looks in depth (`BOT_RECONCILE_INTERVAL_S`).
        clock: the time, with its zone.
        observer: told what is found.
    """

    def __init__(
        self,
        hyperliquid: Hyperliquid,
        ledger: Ledger,
        portfolio: Portfolio,
        executor: Executor,
        settings: RuntimeSettings,
        interval_s: float,
        clock: Callable[[], datetime],
        observer: Observer,
    ) -> None:
        self._hyperliquid = hyperliquid
        self._ledger = ledger
        self._portfolio = portfolio
        self._executor = executor
        self._interval_s = interval_s
        self._clock = clock
        self._observer = observer
        self._looking = asyncio.Lock()
        self._soon = asyncio.Event()
        self._expected: dict[str, Holding] = {}
        self._in_flight: set[str] = set()
        self._has_moved = False
        self._known_orders: set[str] = set()
        self._last_deep: datetime | None = None
        self._settlement = Settlement(hyperliquid, ledger, clock, observer)
        self._protection = Protection(portfolio, clock)
        self.recovery = Recovery(hyperliquid, ledger, executor, self._settlement, portfolio, clock)
        self.bookkeeping = Bookkeeping(hyperliquid, ledger, portfolio, clock)
        self.losses = Losses(hyperliquid, ledger, portfolio, clock, observer)
        self.settings = settings

    async def load(self, state: Mapping[str, Any]) -> None:
        """Take over what an earlier run left.

        Args:
            state: the store's `state` table.
        """
        self.losses.load(state)
        for row in await self._ledger.open_positions():
            holding = Holding.from_row(row)
            if holding.size > 0:
                self._portfolio.holdings[holding.symbol] = holding
            else:
                await self._load_expected(holding)
        self._executor.load(state)
        await self.recovery.load()
        for symbol, at in (await self._ledger.last_stopped_at()).items():
            self._portfolio.cooling_until[symbol] = at.timestamp() + self.settings.cooldown_s
        await self._settlement.load()

    async def run(self, protect: Callable[[Holding], Awaitable[None]], adopt: Callable[[], Awaitable[None]]) -> None:
        """Look until cancelled.

        Args:
            protect: called with a position that has no stop on the exchange.
            adopt: called at the end of each look, to take over positions of others.
        """
        while True:
            try:
                await self._look_in_turn(protect, adopt)
            except BotError as error:
                log.warning("The account could not be checked: %s", error.message)
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._soon.wait()
            except TimeoutError:
                continue
            self._soon.clear()
            self._last_deep = None

    def _pause_s(self) -> float:
        is_busy = (
            self._expected
            or self._protection.is_missing
            or self._settlement.is_waiting
            or self.losses.cash.is_waiting
            or any(not holding.seen for holding in self._portfolio.holdings.values())
        )
        if is_busy:
            return _BUSY_INTERVAL_S
        return _HOLDING_INTERVAL_S if self._portfolio.holdings else _ACCOUNT_INTERVAL_S

    def look_soon(self) -> None:
        """Look in depth now: something was sent."""
        self._soon.set()

    def unresolved(self, symbol: str) -> bool:
        """Whether it is not known what became of an entry in this symbol."""
        return symbol in self._expected

    async def refresh(self, *, deep: bool = False) -> None:
        """Take over the account, and the resting orders and the fills too: in depth, or when a position has changed.

        Raises:
            BotError: the exchange or the store did not answer.
        """
        async with self._looking:
            account = await self._hyperliquid.user_state()
            now = self._clock()
            before, sizes = self._portfolio.account, self._sizes()
            self._portfolio.take(account)
            # Stays so until the orders and fills have been seen too, whatever fails meanwhile.
            self._has_moved |= before is None or (
                {symbol: position.size for symbol, position in before.positions.items()}
                != {symbol: position.size for symbol, position in account.positions.items()}
            )
            await self._executor.learn_leverage(account)
            for symbol, size in self._sizes().items():
                if size != sizes.get(symbol):
                    await self._ledger.put_position(self._portfolio.holdings[symbol].row())
            if deep or self._has_moved:
                self._portfolio.resting = await self._hyperliquid.open_orders()
                self._known_orders |= await self._ledger.known_orders(
                    [order.cloid for order in self._portfolio.resting if order.cloid is not None]
                )
                await self._settlement.take_fills()
                self._has_moved = False
            if deep:
                self._last_deep = now
            gone = self._portfolio.gone(now)
            self._settlement.present(gone)
            for holding in gone:
                await self._settle(holding)
            await self._cancel_left_over()
            await self.losses.look(self._settlement.realised_usd, self.settings)
            self._observer.on_account()

    async def _look_in_turn(
        self, protect: Callable[[Holding], Awaitable[None]], adopt: Callable[[], Awaitable[None]]
    ) -> None:
        is_deep, is_urgent = self._depth_is_due(), self._protection.is_missing
        if not is_urgent:
            await self._hyperliquid.room(Use.ACCOUNT, DEEP_WEIGHT if is_deep else ACCOUNT_WEIGHT)
        if self._hyperliquid.info_health.admits(self._clock().timestamp()):
            # Where a stop is missing, not even the exchange's wish for a pause keeps the bot from looking.
            with for_exit() if is_urgent else nullcontext():
                await self._look(protect, deep=is_deep)
            await adopt()

    async def _look(self, protect: Callable[[Holding], Awaitable[None]], *, deep: bool) -> None:
        await self.refresh(deep=deep)
        await self._protection.look(protect)
        if self._protection.is_missing:
            self._last_deep = None
        await self.resolve()
        await self.recovery.follow_exits()
        if deep:
            await self.recovery.finish()

    def ours_resting(self) -> list[RestingOrder]:
        """Return the orders on the exchange that the bot sent."""
        return [order for order in self._portfolio.resting if order.cloid in self._known_orders]

    def closing(self, symbol: str, reason: str) -> None:
        """Note why the bot is about to close a position."""
        self._settlement.closing(symbol, reason)

    def closed(self, symbol: str, size: Decimal) -> None:
        """Note how many coins the exchange says that the bot's own close has filled."""
        self._settlement.closed(symbol, size)

    async def expect(self, holding: Holding) -> None:
        """Store that an entry is about to be sent, so that a crash leaves no position without an owner.

        Args:
            holding: the position to be, with a size of zero.

        Raises:
            BotError: `STORE_UNAVAILABLE`; the entry must not be sent then.
        """
        self._in_flight.add(holding.symbol)
        await self._ledger.put_position(holding.row())
        self._expected[holding.symbol] = holding

    def answered(self, symbol: str) -> None:
        """Note that an entry is not on its way any more: it has ended, or nobody knows and it is to be found out."""
        self._in_flight.discard(symbol)

    async def opened(self, symbol: str, filled: Filled) -> None:
        """Take over an expected position with what was filled; nothing filled means that there is none."""
        holding = self._expected.get(symbol)
        if holding is None:
            return
        if filled.size == 0 or filled.average_price is None:
            await self.dropped(symbol)
            return
        opened = replace(holding, size=filled.size, entry_price=filled.average_price)
        self._portfolio.holdings[symbol] = opened
        del self._expected[symbol]
        try:
            await self._ledger.put_position(opened.row())
        except BotError as error:
            # It is on the exchange whatever the disk says; stored as expected, it is found again after a restart.
            log.warning("The position in %s could not be stored: %s", symbol, error.message)

    async def adopt(self, holding: Holding) -> None:
        """Take over a position that somebody else opened; what cannot be stored is not taken over.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        row = holding.row()
        await self._ledger.adopt_position(row)
        self._portfolio.holdings[holding.symbol] = holding
        noted = {name: value if isinstance(value, int) else str(value) for name, value in row.items()}
        self._ledger.note("position_adopted", noted, holding.opened_at)

    async def dropped(self, symbol: str) -> None:
        """Forget an expected position: its entry did not run."""
        holding = self._expected.get(symbol)
        if holding is not None:
            await self._ledger.close_position(holding.position_id, self._clock(), "never_opened", Decimal(0))
            self._expected.pop(symbol, None)

    def _sizes(self) -> dict[str, Decimal]:
        return {symbol: holding.size for symbol, holding in self._portfolio.holdings.items()}

    def _depth_is_due(self) -> bool:
        return self._last_deep is None or _is_over(
            self._last_deep, self._clock(), self._hyperliquid.deep_pause_s(self._interval_s)
        )

    async def _load_expected(self, holding: Holding) -> None:
        """Take over an entry that an earlier run may have sent: it counts as on its way until that is known."""
        self._expected[holding.symbol] = holding
        for row in await self._ledger.orders_by_id([holding.position_id]):
            notional = row["size"] * row["limit_price"]
            self._portfolio.pending[holding.symbol] = EntryPlan(
                symbol=holding.symbol,
                is_buy=holding.side is Side.LONG,
                size=row["size"],
                limit_price=row["limit_price"],
                stop_price=holding.stop_price,
                target_price=holding.target_price,
                leverage=1,
                notional_usd=notional,
                margin_usd=notional,
            )

    async def _settle(self, holding: Holding) -> None:
        reason = await self._settlement.settle(holding)
        if reason is None:
            return
        del self._portfolio.holdings[holding.symbol]
        self.bookkeeping.look_soon()
        if reason in _COOLS_DOWN:
            self._portfolio.cooling_until[holding.symbol] = self._clock().timestamp() + self.settings.cooldown_s

    async def _cancel_left_over(self) -> None:
        """Cancel exits of ours whose position is gone; the exchange does so itself, which is not relied on."""
        busy = set(self._portfolio.holdings) | set(self._portfolio.pending) | set(self._expected)
        left = [order for order in self.ours_resting() if order.reduce_only and order.symbol not in busy]
        if not left:
            return
        try:
            await self._executor.cancel([(order.symbol, order.oid) for order in left])
        except BotError as error:
            symbols = ", ".join(sorted({order.symbol for order in left}))
            log.warning("Stops of closed positions (%s) are still there: %s", symbols, error.message)
        self._portfolio.resting = [order for order in self._portfolio.resting if order not in left]

    async def resolve(self) -> None:
        """Find out what became of entries of which that is not known: after a crash, or an answer that was lost.

        Raises:
            BotError: the exchange or the store did not answer.
        """
        for symbol, holding in list(self._expected.items()):
            if symbol in self._in_flight:
                continue
            row = await self.recovery.entry(holding.position_id)
            if row is None or symbol in self._in_flight:
                continue
            price = row.get("average_price") or row.get("limit_price")
            await self.opened(symbol, Filled(holding.position_id, row.get("filled_size", Decimal(0)), price))
            self._portfolio.pending.pop(symbol, None)
            await self.refresh(deep=True)


def _is_over(since: datetime, now: datetime, span_s: float) -> bool:
    """Tell whether a span of time has passed; one that began in what is now the future has: the clock was set back."""
    return not 0 <= (now - since).total_seconds() < span_s
