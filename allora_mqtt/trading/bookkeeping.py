"""What the books need by the clock: funding after each full hour, and old rows thinned."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from allora_mqtt.market.account import FundingPayment
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.portfolio import Portfolio

log = logging.getLogger(__name__)

_INTERVAL_S: Final = 5.0
_VISIBLE_AFTER: Final = timedelta(seconds=30)
"""How long after the full hour the exchange is given to show what it has paid."""
_AGAIN_AFTER: Final = timedelta(minutes=1)
"""The pause after a look that failed."""
_NOTHING_YET: Final = timedelta(minutes=5)
"""The pause after a look that found nothing new though there is a position: it has been paid for, or will be."""
_OVERLAP: Final = timedelta(hours=1)
"""What was told late last time is told this time."""
_FIRST_LOOK: Final = timedelta(days=1)
_FORGET_EVERY: Final = timedelta(minutes=15)
_HOUR: Final = timedelta(hours=1)


class Bookkeeping:
    """Takes over what the account paid and was paid for holding positions, and keeps the books from growing for ever.

    One request (weight 20) at start, one after each full hour in which there was a position (and every few minutes
    until that shows something, while there still is one), and one after a position has ended, so that its result is
    complete.

    Args:
        hyperliquid: where funding is told.
        ledger: where it is stored.
        portfolio: says whether there are positions.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        hyperliquid: Hyperliquid,
        ledger: Ledger,
        portfolio: Portfolio,
        clock: Callable[[], datetime],
    ) -> None:
        self._hyperliquid = hyperliquid
        self._ledger = ledger
        self._portfolio = portfolio
        self._clock = clock
        self._soon = asyncio.Event()
        self._is_due = True
        self._has_held = False
        self._looked_at: datetime | None = None
        self._failed_at: datetime | None = None
        self._found_nothing_at: datetime | None = None
        self._tidied_on: date | None = None
        self._forgot_at: datetime | None = None

    async def run(self) -> None:
        """Keep the books until cancelled."""
        while True:
            try:
                await self._keep()
            except BotError as error:
                self._failed_at = self._clock()
                log.warning("The books could not be kept, and will be: %s", error.message)
            try:
                async with asyncio.timeout(_INTERVAL_S):
                    await self._soon.wait()
            except TimeoutError:
                continue
            self._soon.clear()

    def look_soon(self) -> None:
        """Ask for funding now: a position has ended, and what it paid belongs to its result."""
        self._is_due = True
        self._soon.set()

    async def _keep(self) -> None:
        now = self._clock()
        if self._failed_at is not None and timedelta(0) <= now - self._failed_at < _AGAIN_AFTER:
            return
        account = self._portfolio.account
        self._has_held |= account is not None and bool(account.positions)
        if self._is_due or (self._has_held and (self._hour_has_ended(now) or self._is_expected(now))):
            await self._take_funding(now)
        if self._forgot_at is None or not timedelta(0) <= now - self._forgot_at < _FORGET_EVERY:
            await self._ledger.forget_questions(now)
            self._forgot_at = now
        if self._tidied_on != now.date():
            await self._ledger.tidy(now)
            self._tidied_on = now.date()
        self._failed_at = None

    def _hour_has_ended(self, now: datetime) -> bool:
        if self._looked_at is None or now < self._looked_at:
            return True
        return (now - _VISIBLE_AFTER).timestamp() // _HOUR.total_seconds() != (
            (self._looked_at - _VISIBLE_AFTER).timestamp() // _HOUR.total_seconds()
        )

    def _is_expected(self, now: datetime) -> bool:
        return self._found_nothing_at is not None and now - self._found_nothing_at >= _NOTHING_YET

    async def _take_funding(self, now: datetime) -> None:
        if self._looked_at is None:
            await self._ledger.book_fills()
        is_hourly = self._hour_has_ended(now)
        newest = await self._ledger.newest_funding_at() or await self._ledger.oldest_fill_at()
        since = now - _FIRST_LOOK if newest is None else newest - _OVERLAP
        self._is_due = False
        try:
            found = await self._hyperliquid.fundings(int(since.timestamp() * 1000))
            count = await self._ledger.add_funding([funding_row(payment) for payment in found])
        except BotError:
            self._is_due = True
            raise
        if count:
            self._found_nothing_at = None
        elif is_hourly or self._found_nothing_at is not None:
            self._found_nothing_at = now
        self._looked_at, self._has_held = now, False
        if count:
            log.info("Funding: %d payments booked", count)


def funding_row(payment: FundingPayment) -> dict[str, Any]:
    """Return a funding payment as it is stored."""
    return {
        # The exchange gives it no id of its own: a position pays once an hour.
        "funding_id": f"{payment.time_ms}-{payment.symbol}",
        "symbol": payment.symbol,
        "amount_usd": payment.amount_usd,
        "rate": payment.rate,
        "size": payment.size,
        "at": datetime.fromtimestamp(payment.time_ms / 1000, UTC),
    }
