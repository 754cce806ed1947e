"""Positions that somebody else opened become the bot's own (`BOT_ADOPT_POSITIONS`), with stop, target and end."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from allora_mqtt.market.account import PositionState
from allora_mqtt.market.catalog import Asset, Catalog
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.errors import BotError, Rejected
from allora_mqtt.protocol.messages import Side
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.trading.closing import Closer
from allora_mqtt.trading.execution import Executor
from allora_mqtt.trading.feed import Feed
from allora_mqtt.trading.portfolio import VISIBLE_AFTER, Holding, Portfolio
from allora_mqtt.trading.reconciler import Reconciler
from allora_mqtt.trading.risk import Refused, exit_prices

log = logging.getLogger(__name__)

_SEEN_FOR: Final = VISIBLE_AFTER
"""How long a position must have been there: a late picture of the account shows one of ours that is gone already."""

_INACTIVE: Final = "it is not active"


class Adoption:
    """Takes over positions of others in active coins.

    Args:
        feed: prices, assets and topics.
        executor: gives out ids, and knows the exchange's time.
        portfolio: what is held, and by whom.
        reconciler: takes a position over, and says where it is not known yet what became of an order.
        closer: gives a position its stop and its target.
    """

    def __init__(
        self, feed: Feed, executor: Executor, portfolio: Portfolio, reconciler: Reconciler, closer: Closer
    ) -> None:
        self._feed = feed
        self._executor = executor
        self._portfolio = portfolio
        self._reconciler = reconciler
        self._closer = closer
        self._since: dict[tuple[str, Side], datetime] = {}
        self.refused: dict[str, str] = {}
        """Why a position of somebody else's is left alone, by symbol."""

    async def look(self, active: Mapping[str, int], settings: RuntimeSettings, now: datetime) -> None:
        """Take over what has been there for long enough.

        Args:
            active: topic id by symbol; positions in other coins are left alone.
            settings: how far away stop and target are to be.
            now: the time, with its zone.

        Raises:
            BotError: the exchange or the store did not answer; it is tried again with the next look.
        """
        due = self._due(active, now)
        if not due or self._feed.catalog is None:
            return
        # Once more, and with the orders that rest: a stop that is there already is kept.
        await self._reconciler.refresh(deep=True)
        await self._feed.refresh_quotes()
        for symbol in due:
            position = self._foreign().get(symbol)
            quote = self._feed.quotes.get(symbol)
            if position is None or quote is None or self._is_unclear(symbol):
                continue
            planned = self._planned(self._feed.catalog, position, active[symbol], quote, settings, now)
            if isinstance(planned, Refused):
                self._refuse(symbol, planned.reason)
            else:
                await self._take(planned)

    def _due(self, active: Mapping[str, int], now: datetime) -> list[str]:
        """Return the symbols of active coins whose position has been somebody else's for long enough."""
        foreign = {
            (symbol, _side(position)): self._since.get((symbol, _side(position)), now)
            for symbol, position in self._foreign().items()
            if not self._is_unclear(symbol)
        }
        self._since = foreign
        there = {symbol for symbol, _ in foreign}
        self.refused = {
            symbol: why
            for symbol, why in self.refused.items()
            if symbol in there and (symbol in active) is (why != _INACTIVE)
        }
        for symbol in there - active.keys():
            self._refuse(symbol, _INACTIVE)
        return [
            symbol
            for (symbol, _), since in foreign.items()
            if symbol in active and not timedelta(0) <= now - since < _SEEN_FOR
        ]

    def _foreign(self) -> dict[str, PositionState]:
        account = self._portfolio.account
        return {} if account is None else {symbol: account.positions[symbol] for symbol in self._portfolio.foreign()}

    def _is_unclear(self, symbol: str) -> bool:
        """Tell whether something that the bot sent may be, or become, this position or its end."""
        reconciler = self._reconciler
        return reconciler.unresolved(symbol) or bool(
            reconciler.recovery.astray(symbol, "entry", "exit", "stop", "target")
        )

    def _planned(
        self,
        catalog: Catalog,
        position: PositionState,
        topic_id: int,
        quote: Quote,
        settings: RuntimeSettings,
        now: datetime,
    ) -> Holding | Refused:
        try:
            horizon_s = catalog.check(position.symbol, topic_id).horizon_s or 0
            asset = catalog.asset(position.symbol)
        except Rejected as error:
            return Refused(error.message)
        prices = _exit_prices(position, quote, asset, settings)
        if prices is None:
            return Refused("its price steps are too coarse for a stop and a target")
        stop_price, target_price = (
            self._kept_price(position, kind) or price for kind, price in zip(("sl", "tp"), prices, strict=True)
        )
        return Holding(
            position_id=self._executor.new_order_id(),
            symbol=position.symbol,
            side=_side(position),
            size=abs(position.size),
            entry_price=position.entry_price,
            stop_price=stop_price,
            target_price=target_price,
            topic_id=topic_id,
            signal_id="",
            opened_at=now,
            expires_at=self._executor.exchange_time() + timedelta(seconds=horizon_s),
            seen=True,
            is_adopted=True,
        )

    def _kept_price(self, position: PositionState, kind: str) -> Decimal | None:
        """Return where somebody has placed a stop (`sl`) or a target (`tp`) for a position already."""
        order = self._portfolio.exit_order(position.symbol, kind)
        exit_side = "SELL" if position.size > 0 else "BUY"
        return None if order is None or order.side != exit_side else order.trigger_price

    async def _take(self, holding: Holding) -> None:
        await self._reconciler.adopt(holding)
        log.warning(
            "The position in %s (%s %s at %s) was not opened by the bot and is its own from now on: stop %s, "
            "target %s, closed at %s at the latest",
            holding.symbol,
            holding.side,
            holding.size,
            holding.entry_price,
            holding.stop_price,
            holding.target_price,
            holding.expires_at.isoformat(timespec="seconds"),
        )
        try:
            await self._closer.protect(holding)
        except BotError as error:
            # Whatever is missing is noticed with the next looks, as with any position.
            log.warning("The position in %s has no stop yet: %s", holding.symbol, error.message)

    def _refuse(self, symbol: str, why: str) -> None:
        if self.refused.get(symbol) != why:
            log.warning("The position in %s was not opened by the bot and is left alone: %s", symbol, why)
        self.refused[symbol] = why


def _exit_prices(
    position: PositionState, quote: Quote, asset: Asset, settings: RuntimeSettings
) -> tuple[Decimal, Decimal] | None:
    """Return stop and target as far from the mark as those of the smallest entry; None where steps are too coarse."""
    try:
        stop, target = exit_prices(quote.mark, settings.price_gap_pct, asset, settings, is_buy=position.size > 0)
    except ValueError:
        return None
    return (stop, target) if min(stop, target) < quote.mark < max(stop, target) else None


def _side(position: PositionState) -> Side:
    return Side.LONG if position.size > 0 else Side.SHORT
