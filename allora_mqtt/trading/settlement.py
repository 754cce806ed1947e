"""The books on what happened: fills taken over, and each position that is gone closed with its reason and result."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from allora_mqtt.market.account import Fill
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.protocol.messages import FillView, PositionClosed, Side
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.observer import Observer
from allora_mqtt.trading.portfolio import VISIBLE_AFTER, Holding

log = logging.getLogger(__name__)

_OVERLAP: Final = timedelta(minutes=1)
_FIRST_LOOK: Final = timedelta(days=1)
_FILLS_AFTER: Final = timedelta(seconds=1)
"""How long the fills of the bot's own close, which tell its result, are waited for."""


@dataclass(slots=True)
class _OwnExit:
    """A close that the bot itself has sent: why, and how many coins the exchange said it filled."""

    reason: str
    filled: Decimal = Decimal(0)


class Settlement:
    """Takes fills over and closes the books on positions.

    Args:
        hyperliquid: where fills come from.
        ledger: where they are stored.
        clock: the time, with its zone.
        observer: told of fills and of closed positions.
    """

    def __init__(
        self, hyperliquid: Hyperliquid, ledger: Ledger, clock: Callable[[], datetime], observer: Observer
    ) -> None:
        self._hyperliquid = hyperliquid
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._fills_since: datetime | None = None
        self._own_exits: dict[str, _OwnExit] = {}
        self._missing_since: dict[str, datetime] = {}
        self.realised_usd = Decimal(0)
        """What the fills taken over in this run have brought, after fees."""

    async def load(self) -> None:
        """Go on where an earlier run ended."""
        self._fills_since = await self._ledger.newest_fill_at()

    @property
    def is_waiting(self) -> bool:
        """Whether a position is missing and it is not known yet what became of it."""
        return bool(self._missing_since)

    def closing(self, symbol: str, reason: str) -> None:
        """Note why the bot is about to close a position."""
        self._own_exits[symbol] = _OwnExit(reason)

    def closed(self, symbol: str, size: Decimal) -> None:
        """Note how many coins the exchange says that the bot's own close has filled."""
        if symbol in self._own_exits:
            self._own_exits[symbol].filled += size

    def present(self, missing: list[Holding]) -> None:
        """Forget about all positions but these that they were missing."""
        still = {holding.symbol for holding in missing}
        self._missing_since = {symbol: at for symbol, at in self._missing_since.items() if symbol in still}

    async def take_fills(self) -> None:
        """Store what was filled since the last look.

        Raises:
            BotError: the exchange or the store did not answer.
        """
        since = self._fills_since - _OVERLAP if self._fills_since else self._clock() - _FIRST_LOOK
        found = await self._hyperliquid.fills(int(since.timestamp() * 1000))
        if not found:
            return
        owners = await self._ledger.order_ids([fill.oid for fill in found])
        rows = [fill_row(fill, owners) for fill in found]
        for row in await self._ledger.add_fills(rows):
            self.realised_usd += row["closed_pnl_usd"] - row["fee_usd"]
            self._observer.on_fill(fill_view(row))
        self._fills_since = max(row["at"] for row in rows)

    async def filled(self, order_id: str, symbol: str, since: datetime) -> tuple[Decimal, Decimal | None]:
        """Return what the fills say of an order: coins, and their average price unless there are none."""
        rows = await self._ledger.fills(500, symbol, since - _OVERLAP)
        own = [row for row in rows if row["order_id"] == order_id]
        size = sum((row["size"] for row in own), Decimal(0))
        value = sum((row["size"] * row["price"] for row in own), Decimal(0))
        return size, value / size if size else None

    async def settle(self, holding: Holding) -> str | None:
        """Close the books on a position that the exchange does not show any more.

        An account that is shown late lacks a position that is there. It is believed to be gone once there is a fill
        that closed it, or once it has been missing for long.

        Returns:
            Why it was closed; None while it is not believed to be.

        Raises:
            BotError: the exchange or the store did not answer.
        """
        now = self._clock()
        since = self._missing_since.setdefault(holding.symbol, now)
        closing = await self._closing_fills(holding)
        own = self._own_exits.get(holding.symbol)
        if _size(closing) < holding.size:
            await self.take_fills()
            closing = await self._closing_fills(holding)
        patience = _FILLS_AFTER if own is not None and own.filled >= holding.size else VISIBLE_AFTER
        if _size(closing) < holding.size and timedelta(0) <= now - since <= patience:
            return None
        reason = await self._why(closing, own)
        pnl = sum((row["closed_pnl_usd"] for row in closing), Decimal(0))
        await self._ledger.close_position(holding.position_id, now, reason, pnl)
        self._own_exits.pop(holding.symbol, None)
        del self._missing_since[holding.symbol]
        trade = await self._ledger.trade_of(holding.position_id)
        trade_id = None if trade is None else trade["trade_id"]
        log.info(
            "Position in %s closed (%s): %+.2f USD%s",
            holding.symbol,
            reason,
            pnl if trade is None else trade["pnl_nano_usd"],
            " before fees" if trade is None else "",
            extra={"position": holding.position_id, "signal": holding.signal_id, "trade": trade_id},
        )
        self._observer.on_position_closed(
            PositionClosed(
                symbol=holding.symbol,
                side=holding.side,
                size=holding.size,
                closed_pnl_usd=pnl,
                fees_usd=None if trade is None else trade["fees_nano_usd"],
                funding_usd=None if trade is None else trade["funding_nano_usd"],
                pnl_usd=None if trade is None else trade["pnl_nano_usd"],
                reason=reason,
                at=now,
                position_id=holding.position_id,
                trade_id=trade_id,
            )
        )
        return reason

    async def _closing_fills(self, holding: Holding) -> list[Mapping[str, Any]]:
        exit_side = "SELL" if holding.side is Side.LONG else "BUY"
        rows = await self._ledger.fills(500, holding.symbol, holding.opened_at)
        return [row for row in rows if row["side"] == exit_side]

    async def _why(self, closing: list[Mapping[str, Any]], own: _OwnExit | None) -> str:
        if not closing:
            return own.reason if own is not None and own.filled else "unknown"
        if any("liquidat" in row["direction"].lower() for row in closing):
            return "liquidation"
        orders = await self._ledger.orders_by_id([closing[0]["order_id"]]) if closing[0]["order_id"] else []
        if not orders:
            return "closed_elsewhere"
        # An earlier life of the bot may have sent it.
        return str(orders[0]["reason"] if orders[0]["purpose"] == "exit" else orders[0]["purpose"])


def fill_view(row: Mapping[str, Any]) -> FillView:
    """Return a fill as it is published."""
    return FillView(
        fill_id=row["fill_id"],
        symbol=row["symbol"],
        side=row["side"],
        direction=row["direction"],
        size=row["size"],
        price=row["price"],
        fee_usd=row["fee_usd"],
        closed_pnl_usd=row["closed_pnl_usd"],
        order_id=row["order_id"],
        at=row["at"],
    )


def _size(rows: list[Mapping[str, Any]]) -> Decimal:
    return sum((row["size"] for row in rows), Decimal(0))


def fill_row(fill: Fill, owners: Mapping[int, str]) -> dict[str, Any]:
    """Return a fill as it is stored; `owners` are our orders by the exchange's id."""
    return {
        "fill_id": f"{fill.tid}-{fill.oid}",
        "oid": fill.oid,
        "order_id": fill.cloid or owners.get(fill.oid),
        "symbol": fill.symbol,
        "side": fill.side,
        "direction": fill.direction[:24],
        "size": fill.size,
        "price": fill.price,
        "fee_usd": fill.fee_usd,
        "closed_pnl_usd": fill.closed_pnl_usd,
        "at": datetime.fromtimestamp(fill.at, UTC),
        "start_position": fill.start_position,
    }
