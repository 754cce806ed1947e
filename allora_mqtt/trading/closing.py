"""The way out: positions closed by rule, by command or for want of a stop, each confirmed by the exchange."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from allora_mqtt.market.orders import ActionsExhausted, OutcomeUnknown
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.messages import Side
from allora_mqtt.trading.execution import Executor
from allora_mqtt.trading.feed import Feed
from allora_mqtt.trading.portfolio import Holding, Portfolio
from allora_mqtt.trading.reconciler import Reconciler

log = logging.getLogger(__name__)

_CLOSE_ATTEMPTS: Final = 4
_FLAT_ROUNDS: Final = 5
"""How often everything is tried to be closed."""
_PENDING_ROUNDS: Final = 12
"""How often an entry of which nothing is known is looked after; together longer than the exchange may take it."""
_LONGEST_PAUSE_S: Final = 2.0
_FRESH_QUOTE_S: Final = 2.0
_SHOWN_LOOKS: Final = 8
_SHOWN_PAUSE_S: Final = 0.4
_FAILED_PAUSE_S: Final = 1.0


class Closer:
    """Closes positions of ours, and no others.

    Args:
        feed: the price that a close is measured from, and how each asset is rounded.
        executor: sends orders.
        portfolio: what is held.
        reconciler: says whether a position is gone.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        feed: Feed,
        executor: Executor,
        portfolio: Portfolio,
        reconciler: Reconciler,
        clock: Callable[[], datetime],
    ) -> None:
        self._feed = feed
        self._executor = executor
        self._portfolio = portfolio
        self._reconciler = reconciler
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._leaving: set[str] = set()

    def is_busy(self, symbol: str) -> bool:
        """Whether a position is being closed, or was tried a moment ago."""
        lock = self._locks.get(symbol)
        return symbol in self._leaving or (lock is not None and lock.locked())

    def leave(self, symbol: str, reason: str) -> Coroutine[Any, Any, None]:
        """Return the work of closing a position because a rule says so; the symbol is busy from now on."""
        self._leaving.add(symbol)
        return self._leave(symbol, reason)

    async def close(self, symbol: str, reason: str) -> Decimal:
        """Close our position in a symbol, to the end.

        Returns:
            How many coins were closed.

        Raises:
            BotError: `NO_POSITION`; `NOT_ALLOWED` for a position that is not ours; or the exchange's refusal.
        """
        lock = self._locks.setdefault(symbol, asyncio.Lock())
        async with lock:
            self._reconciler.recovery.hurry()
            await self._reconciler.refresh()
            holding = self._portfolio.holdings.get(symbol)
            if holding is None:
                if symbol in self._portfolio.foreign():
                    message = f"The position in {symbol} was not opened by this bot, which leaves it alone."
                    raise BotError(ErrorCode.NOT_ALLOWED, message)
                raise BotError(ErrorCode.NO_POSITION, f"There is no position in {symbol}.")
            # What an earlier try, or an earlier life of the bot, has sent comes to its end first.
            earlier = await self._reconciler.recovery.exits(symbol)
            if earlier:
                await self._reconciler.refresh()
                if symbol not in self._portfolio.holdings:
                    return earlier
            return earlier + await self._close(holding, reason)

    async def cancel_entries(self) -> int:
        """Cancel entry orders that rest on the exchange; stops and targets stay. Returns how many there were.

        Raises:
            BotError: the exchange did not answer, or refused.
        """
        await self._reconciler.refresh(deep=True)
        entries = [(order.symbol, order.oid) for order in self._reconciler.ours_resting() if not order.reduce_only]
        await self._executor.cancel(entries)
        return len(entries)

    async def flatten(self, reason: str) -> tuple[list[str], list[str]]:
        """Cancel entries and close every position of ours, confirmed by the exchange. Entries must be blocked.

        Returns:
            The symbols closed, and those of foreign positions, which were left alone.

        Raises:
            BotError: not everything could be closed; the message says what is left.
        """
        closed: set[str] = set()
        problems: dict[str, str] = {}
        failed = 0
        for attempt in range(_PENDING_ROUNDS):
            if attempt:
                await asyncio.sleep(min(0.2 * 2**attempt, _LONGEST_PAUSE_S))
            problems = await self._close_all(closed, reason)
            # An entry that was on its way when entries were blocked may still become a position.
            if not problems and not self._portfolio.holdings and not self._portfolio.pending:
                return sorted(closed), self._portfolio.foreign()
            failed += bool(problems)
            if failed == _FLAT_ROUNDS:
                break
        left = "; ".join(f"{symbol}: {why}" for symbol, why in problems.items()) or ", ".join(self._portfolio.pending)
        message = f"Not everything is closed ({left}). The stops stay on the exchange; send it again."
        raise BotError(ErrorCode.EXCHANGE_UNREACHABLE, message)

    async def protect(self, holding: Holding) -> None:
        """Give a position without a stop one, or close it; an exit that somebody else has placed for it is kept.

        Raises:
            BotError: neither could be done.
        """
        symbol, is_long = holding.symbol, holding.side is Side.LONG
        asset = self._feed.asset(symbol)
        if self._reconciler.recovery.astray(symbol, "stop", "target"):
            # It may be there already; nothing new is sent before that is known.
            return
        ours = [order for order in self._reconciler.ours_resting() if order.symbol == symbol]
        outgrown = [(order.symbol, order.oid) for order in ours]
        target = self._portfolio.exit_order(symbol, "tp")
        target_price = holding.target_price if target is None or target in ours else None
        stop_price: Decimal | None = holding.stop_price
        if self._portfolio.is_protected(holding):
            stop_price, outgrown = None, []
            if target_price is None:
                return
        try:
            await self._executor.protect(asset, holding.size, stop_price, target_price, is_long=is_long)
        except BotError as error:
            if error.code is ErrorCode.EXCHANGE_UNREACHABLE or isinstance(error, ActionsExhausted):
                raise
            log.warning("No stop for %s: %s; closing the position", symbol, error.message)
            await self.close(symbol, "no_stop")
            return
        # The new ones follow the position's size; the old ones covered a part of it.
        await self._executor.cancel(outgrown)

    async def _close_all(self, closed: set[str], reason: str) -> dict[str, str]:
        """Close what is open now, note what was closed, and return what stands in the way of the rest."""
        self._reconciler.recovery.hurry()
        try:
            await self.cancel_entries()
            await self._reconciler.resolve()
        except BotError as error:
            return {"orders": error.message}
        problems = {}
        for symbol in list(self._portfolio.holdings):
            try:
                await self.close(symbol, reason)
                closed.add(symbol)
            except BotError as error:
                if error.code is not ErrorCode.NO_POSITION:
                    problems[symbol] = error.message
        return problems

    async def _leave(self, symbol: str, reason: str) -> None:
        try:
            await self.close(symbol, reason)
        except BotError as error:
            log.warning("Exit from %s (%s) failed: %s", symbol, reason, error.message)
            # The stop rests on the exchange; a pause keeps a refusal from being repeated at every price.
            await asyncio.sleep(max(_FAILED_PAUSE_S, self._executor.pause_s))
        finally:
            self._leaving.discard(symbol)

    async def _close(self, holding: Holding, reason: str) -> Decimal:
        symbol, closed = holding.symbol, Decimal(0)
        self._reconciler.closing(symbol, reason)
        last: BotError | None = None
        for attempt in range(_CLOSE_ATTEMPTS):
            present = self._portfolio.holdings.get(symbol)
            if present is None:
                return closed
            filled = Decimal(0)
            try:
                filled = await self._send_once(present, reason, attempt)
            except ActionsExhausted:
                raise
            except BotError as error:
                last = error
            self._reconciler.closed(symbol, filled)
            closed += filled
            # What is left is asked of the exchange before anything is sent again: a close that ran is not repeated.
            await self._look_until_gone(symbol, _SHOWN_LOOKS if filled >= present.size else 1)
        if symbol not in self._portfolio.holdings:
            return closed
        raise last or BotError(ErrorCode.EXCHANGE_REJECTED, f"Only {closed} {symbol} could be closed; try again.")

    async def _send_once(self, present: Holding, reason: str, attempt: int) -> Decimal:
        """Send a close unless one may still run, and return how many coins were closed, answered or not."""
        recovery = self._reconciler.recovery
        if earlier := await recovery.exits(present.symbol):
            return earlier
        try:
            return await self._send(present, reason, attempt)
        except OutcomeUnknown:
            return await recovery.exits(present.symbol)

    async def _send(self, present: Holding, reason: str, attempt: int) -> Decimal:
        symbol = present.symbol
        quote = self._feed.quotes.get(symbol)
        if attempt or quote is None or self._clock().timestamp() - quote.at > _FRESH_QUOTE_S:
            await self._feed.refresh_quotes()
            quote = self._feed.quotes.get(symbol)
        if quote is None:
            raise BotError(ErrorCode.EXCHANGE_UNREACHABLE, f"HyperLiquid gives no price for {symbol}; try again.")
        is_long = present.side is Side.LONG
        filled = await self._executor.close(
            self._feed.asset(symbol), present.size, quote.mark, reason, is_long=is_long, attempt=attempt
        )
        return filled.size

    async def _look_until_gone(self, symbol: str, looks: int) -> None:
        for look in range(looks):
            if look:
                # The exchange may show a position for a moment longer than it exists.
                await asyncio.sleep(_SHOWN_PAUSE_S)
            await self._reconciler.refresh()
            if symbol not in self._portfolio.holdings:
                return
