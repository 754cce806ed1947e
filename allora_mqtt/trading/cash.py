"""Tells money that was moved from money that was won or lost."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from allora_mqtt.market.account import AccountState
from allora_mqtt.market.cash_flows import CashFlow
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.store.ledger import Ledger

log = logging.getLogger(__name__)

CASH_FROM: Final = "cash_from_ms"
"""The key of the time since which money moved is counted, in the store's `state`."""
_ASK_EVERY: Final = timedelta(hours=1)
"""How often the exchange is asked though nothing odd was seen."""
_PATIENCE: Final = timedelta(seconds=5)
"""How long it may take until the exchange tells of what the account shows already: of a transfer, or of a fill."""
_AGAIN_AFTER: Final = timedelta(minutes=1)
"""The pause after a question that was not answered."""
_OVERLAP: Final = timedelta(hours=1)
"""What was told late last time is told this time."""
_LEAST_USD: Final = Decimal("0.01")
_LEAST_SHARE: Final = Decimal("0.0001")
"""Of the equity: what moves less is left for the next regular question. Funding usually does."""


class Cash:
    """Asks for deposits and withdrawals at start, when money has moved that fills do not explain, and every hour.

    The equity without open results moves by fills, by funding, and by money that comes or goes. So a look at the
    account and the fills tells when there is something to ask; a question has a weight of 20.

    Args:
        hyperliquid: where they are told.
        ledger: knows those that were counted.
    """

    def __init__(self, hyperliquid: Hyperliquid, ledger: Ledger) -> None:
        self._hyperliquid = hyperliquid
        self._ledger = ledger
        self._seen = Decimal(0), Decimal(0)
        """Equity without open results, and what fills have brought in this run, at the last look."""
        self._settled: tuple[Decimal, Decimal] | None = None
        """The same when everything was explained."""
        self._asked_at: datetime | None = None
        self._odd_since: datetime | None = None
        self.from_ms: int | None = None
        """What moved up to this moment was in the first equity that was seen; unix milliseconds."""
        self.unclear: dict[str, str] = {}
        """Lines of the exchange's ledger, by id, of which it is not known whether they moved money: a sentence each."""

    @property
    def is_waiting(self) -> bool:
        """Whether money has moved, and it is not known yet whether that was won, lost or transferred."""
        return self._odd_since is not None

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where an earlier run ended."""
        self.from_ms = state.get(CASH_FROM)

    async def look(self, account: AccountState, realised_usd: Decimal, now: datetime) -> list[CashFlow] | None:
        """Return what was moved since the last look and shows in this equity; `counted` is to be called with it.

        Args:
            account: as it is now.
            realised_usd: what all fills taken over in this run have brought, after fees.
            now: the time, with its zone.

        Returns:
            None while it is not known where money has come from or gone.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        if self.from_ms is None:
            self.from_ms = self._shown_until_ms(account)
            self._seen = account.cash_usd, realised_usd
            self._asked_at = now
            self._conclude()
            return []
        self._seen = account.cash_usd, realised_usd
        odd_usd = self._odd_usd(account.cash_usd, realised_usd)
        bound = max(_LEAST_USD, account.equity_usd * _LEAST_SHARE)
        is_odd = odd_usd is None or abs(odd_usd) > bound
        if not is_odd and not self.is_waiting and self._was_asked(now):
            self._conclude()
            return []
        flows = await self._new(account, now)
        is_explained = flows is not None if odd_usd is None else abs(odd_usd - sum_of(flows or [])) <= bound
        if not is_explained and (self._odd_since is None or timedelta(0) <= now - self._odd_since < _PATIENCE):
            # The account may show what the ledger does not tell yet, and the other way round.
            self._odd_since = self._odd_since or now
            return None
        for flow in flows or []:
            self._tell(flow)
        if not flows:
            self._conclude()
        return flows or []

    def counted(self) -> None:
        """Note that what was returned last has been counted, and stored."""
        self._conclude()

    def _odd_usd(self, cash_usd: Decimal, realised_usd: Decimal) -> Decimal | None:
        """Return what has moved that fills do not explain; None at the first look of a run."""
        if self._settled is None:
            return None
        return cash_usd - self._settled[0] - (realised_usd - self._settled[1])

    def _conclude(self) -> None:
        """Take what was seen for explained: by fills and funding, or as a result that nobody explains."""
        self._settled, self._odd_since = self._seen, None

    def _was_asked(self, now: datetime) -> bool:
        return self._asked_at is not None and timedelta(0) <= now - self._asked_at < _ASK_EVERY

    async def _new(self, account: AccountState, now: datetime) -> list[CashFlow] | None:
        """Return what this equity shows and was not counted before; None when that could not be asked."""
        shown_until_ms, from_ms = self._shown_until_ms(account), self.from_ms or 0
        try:
            newest = await self._ledger.newest_cash_flow_at()
            since_ms = from_ms if newest is None else max(from_ms, _ms(newest - _OVERLAP))
            told = await self._hyperliquid.cash_flows(since_ms)
            known = await self._ledger.known_cash_flows([flow.flow_id for flow in told])
        except BotError as error:
            log.warning("Deposits and withdrawals are not known: %s", error.message)
            self._asked_at = now - _ASK_EVERY + _AGAIN_AFTER
            return None
        new = [flow for flow in told if flow.time_ms > from_ms and flow.flow_id not in known]
        shown = [flow for flow in new if flow.time_ms <= shown_until_ms]
        # What is younger than this picture of the account counts with the next one.
        self._asked_at = now if len(shown) == len(new) else None
        return shown

    def _tell(self, flow: CashFlow) -> None:
        at = f"{datetime.fromtimestamp(flow.time_ms / 1000, UTC):%Y-%m-%d %H:%M}"
        if flow.amount_usd is None:
            what = f"{flow.kind} of {at}"
            log.warning(
                "The exchange's ledger has %s; whether it moved money is not clear, so it counts as a result", what
            )
            self.unclear[flow.flow_id] = what
        elif flow.amount_usd:
            log.info("%s of %s: %+.2f USD, which is neither profit nor loss", flow.kind, at, flow.amount_usd)

    def _shown_until_ms(self, account: AccountState) -> int:
        """Return the exchange's own time of a picture of the account, unix milliseconds."""
        return round((account.at - self._hyperliquid.clock_ahead_s) * 1000)


def sum_of(flows: list[CashFlow]) -> Decimal:
    """Return what came in less what went out, as far as that is clear."""
    return sum((flow.amount_usd for flow in flows if flow.amount_usd is not None), Decimal(0))


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
