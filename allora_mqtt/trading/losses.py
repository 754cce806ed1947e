"""Profit and loss of the account, the limits on losses, and the equity curve."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic import JsonValue

from allora_mqtt.market.cash_flows import CashFlow
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.store.journal import STOOD_DOWN
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.cash import CASH_FROM, Cash, sum_of
from allora_mqtt.trading.observer import Observer
from allora_mqtt.trading.portfolio import Portfolio, Results

log = logging.getLogger(__name__)

_EQUITY_INTERVAL: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Trip:
    """A limit on losses that was reached."""

    reason: str
    since: datetime


class Losses:
    """Counts profit and loss with each look at the account, and says when a limit is reached.

    Args:
        hyperliquid: asked for deposits and withdrawals, which are neither.
        ledger: where results, limits that were reached, and the equity curve are kept.
        portfolio: the account and its results.
        clock: the time, with its zone.
        observer: told of limits that are reached.
    """

    def __init__(
        self,
        hyperliquid: Hyperliquid,
        ledger: Ledger,
        portfolio: Portfolio,
        clock: Callable[[], datetime],
        observer: Observer,
    ) -> None:
        self._ledger = ledger
        self._portfolio = portfolio
        self._clock = clock
        self._observer = observer
        self._last_equity: datetime | None = None
        self._trips_stored = True
        self.cash = Cash(hyperliquid, ledger)
        self.trips: dict[str, Trip] = {}
        """The limits on losses that were reached and not reset, by name."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what an earlier run left."""
        if "results" in state:
            self._portfolio.results = Results.from_state(state["results"])
            self.cash.load(state)
        for name, trip in state.get("trips", {}).items():
            self.trips[name] = Trip(trip["reason"], datetime.fromisoformat(trip["since"]))

    async def look(self, realised_usd: Decimal, settings: RuntimeSettings) -> None:
        """Count what the account has won or lost since the last look.

        Args:
            realised_usd: what all fills taken over in this run have brought, after fees.
            settings: for the limits.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        account, now = self._portfolio.account, self._clock()
        if account is None:
            return
        flows = await self.cash.look(account, realised_usd, now)
        if flows is not None:
            await self._count_flows(flows, account.equity_usd)
            self._portfolio.count(account.equity_usd, now)
            self._trip(account.equity_usd, settings, now)
        if not self._trips_stored:
            await self._store()
        results = self._portfolio.results
        if flows is None or results is None or self._has_point(now):
            return
        self._last_equity = now
        exposure_usd, steady_usd = self._portfolio.exposure_usd(), results.steady_usd(account.equity_usd)
        await self._ledger.add_equity(now, account.equity_usd, exposure_usd, steady_usd)
        await self._store()

    async def reset(self, name: str | None) -> list[str]:
        """Reset limits on losses that were reached; losses are counted from here on.

        Returns:
            The names of those that were reset.

        Raises:
            BotError: the account is not known yet, or the store did not answer.
        """
        names = [trip for trip in self.trips if name in {None, trip}]
        if not names:
            return []
        results, account = self._portfolio.results, self._portfolio.account
        if results is None or account is None:
            message = f"What the account is worth is not known, so {', '.join(names)} cannot be reset; try again later."
            raise BotError(ErrorCode.EXCHANGE_UNREACHABLE, message)
        before = dict(self.trips)
        self._portfolio.results = results.restarted(names, account.equity_usd)
        for trip in names:
            del self.trips[trip]
        try:
            await self._store()
        except BotError:
            # What is not stored has not been reset.
            self.trips, self._portfolio.results = before, results
            raise
        for trip in names:
            self._observer.on_breaker(trip, "reset by a command", opened=False)
        return names

    async def _count_flows(self, flows: list[CashFlow], equity_usd: Decimal) -> None:
        """Count money that was moved, once: it is stored together with what follows from it."""
        results = self._portfolio.results
        if not flows or results is None:
            return
        moved_usd = sum_of(flows)
        if moved_usd:
            results = results.moved(moved_usd, equity_usd)
        await self._ledger.count_cash_flows([_row(flow) for flow in flows], self._state(results))
        self._portfolio.results = results
        self.cash.counted()

    def _trip(self, equity_usd: Decimal, settings: RuntimeSettings, now: datetime) -> None:
        results = self._portfolio.results
        for name, reason in ({} if results is None else results.tripped(equity_usd, settings)).items():
            if name not in self.trips:
                self.trips[name] = Trip(reason, now)
                self._trips_stored = False
                log.error("Breaker %s: %s", name, reason)
                self._observer.on_trip(name, reason)

    def _has_point(self, now: datetime) -> bool:
        return self._last_equity is not None and timedelta(0) <= now - self._last_equity < _EQUITY_INTERVAL

    def _state(self, results: Results | None) -> dict[str, JsonValue]:
        state: dict[str, JsonValue] = {
            "trips": {
                name: {"reason": trip.reason, "since": trip.since.isoformat()} for name, trip in self.trips.items()
            }
        }
        if results is not None:
            state |= {"results": dict(results.to_state()), CASH_FROM: self.cash.from_ms}
        if self.trips:
            # Stays until a person has sent ACTIVE, whatever is reset and however often the bot starts meanwhile.
            state[STOOD_DOWN] = True
        return state

    async def _store(self) -> None:
        await self._ledger.put_state(self._state(self._portfolio.results))
        self._trips_stored = True


def _row(flow: CashFlow) -> dict[str, Any]:
    at = datetime.fromtimestamp(flow.time_ms / 1000, UTC)
    return {"flow_id": flow.flow_id, "kind": flow.kind, "amount_usd": flow.amount_usd, "at": at}
