"""From fills to round trips: where a position began, how it was added to, reduced, turned round and ended.

Values in, values out. A round trip (here: a trade) begins with the fill that takes a coin's position away from zero and
ends with the one that brings it back, or turns it round; what is left of that one begins the next trade.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import groupby
from typing import Final

from allora_mqtt.protocol.messages import Side

_ZERO: Final = Decimal(0)
_FEE_STEP: Final = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class BookedFill:
    """A fill as the books have it.

    Attributes:
        direction: the exchange's word, such as `Close Long` or `Liquidated Cross Long`.
        closed_pnl_usd: what it realised, before its fee.
        start_position: coins held before it, below zero for a short position; None when the exchange did not say.
    """

    fill_id: str
    order_id: str | None
    symbol: str
    is_buy: bool
    direction: str
    size: Decimal
    price: Decimal
    fee_usd: Decimal
    closed_pnl_usd: Decimal
    at: datetime
    start_position: Decimal | None

    @property
    def change(self) -> Decimal:
        """Coins that it adds to the position; below zero for a sale."""
        return self.size if self.is_buy else -self.size


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One trade, from its first fill to the last that is known. Sizes in coins, all of them above or equal to zero.

    Attributes:
        trade_id: the fill that began it.
        entry_order_id: the order of that fill.
        last_at: its newest fill.
        is_whole: whether all of its fills are in the books.
        open_size: what is still held.
        entry_value_usd: sum of size times price of all that was entered.
        exit_value_usd: the same for what was closed.
        fills: how many there were.
    """

    trade_id: str
    entry_order_id: str | None
    symbol: str
    side: Side
    opened_at: datetime
    last_at: datetime
    is_whole: bool
    closed_at: datetime | None = None
    is_liquidated: bool = False
    open_size: Decimal = _ZERO
    entry_size: Decimal = _ZERO
    entry_value_usd: Decimal = _ZERO
    exit_size: Decimal = _ZERO
    exit_value_usd: Decimal = _ZERO
    closed_pnl_usd: Decimal = _ZERO
    fees_usd: Decimal = _ZERO
    fills: int = 0

    @property
    def position(self) -> Decimal:
        """Coins held, below zero for a short position."""
        return self.open_size if self.side is Side.LONG else -self.open_size


@dataclass(frozen=True, slots=True)
class Step:
    """What one fill did.

    Attributes:
        trade_id: the trade that the fill belongs to; one that turns a position round belongs to the trade it ends.
        changed: the trades as they are after it, the current one last.
    """

    fill: BookedFill
    trade_id: str
    changed: tuple[RoundTrip, ...]


def follow(trade: RoundTrip | None, fills: Iterable[BookedFill]) -> Iterator[Step]:
    """Go through the fills of one symbol.

    Args:
        trade: the trade that is open before the first of them.
        fills: by time; those of one moment are put into the order in which each begins where another ended.
    """
    for _, moment in groupby(fills, key=lambda fill: fill.at):
        left = list(moment)
        while left:
            position = _ZERO if trade is None else trade.position
            fill = next((fill for fill in left if fill.start_position == position), left[0])
            left.remove(fill)
            step = _step(trade, fill)
            yield step
            trade = step.changed[-1] if step.changed[-1].open_size else None


def _step(trade: RoundTrip | None, fill: BookedFill) -> Step:
    start = _start(trade, fill)
    ended: tuple[RoundTrip, ...] = ()
    if trade is not None and start != trade.position:
        # Fills in between are not in the books: what the exchange says was held is the truth.
        if start * trade.position > 0:
            trade = replace(trade, open_size=abs(start), is_whole=False)
        else:
            ended = (replace(trade, open_size=_ZERO, is_whole=False, closed_at=trade.last_at),)
            trade = None
    if trade is None:
        trade = _begun(fill, start)
    if start * fill.change >= 0:
        return Step(fill, trade.trade_id, (*ended, _entered(trade, fill, fill.size, fill.fee_usd, fill.closed_pnl_usd)))
    closed = min(fill.size, trade.open_size)
    opened = fill.size - closed
    if not opened:
        return Step(fill, trade.trade_id, (*ended, _left(trade, fill, closed, fill.fee_usd)))
    fee = (fill.fee_usd * closed / fill.size).quantize(_FEE_STEP, rounding=ROUND_HALF_EVEN)
    turned = _entered(
        replace(_begun(fill, _ZERO), trade_id=f"{fill.fill_id}+"), fill, opened, fill.fee_usd - fee, _ZERO
    )
    return Step(fill, trade.trade_id, (*ended, _left(trade, fill, closed, fee), turned))


def _start(trade: RoundTrip | None, fill: BookedFill) -> Decimal:
    if fill.start_position is not None:
        return fill.start_position
    if trade is not None:
        return trade.position
    return -fill.change if fill.closed_pnl_usd else _ZERO


def _begun(fill: BookedFill, start: Decimal) -> RoundTrip:
    """Return the trade that a fill begins; with a position from before the books it is no whole one."""
    return RoundTrip(
        trade_id=fill.fill_id,
        entry_order_id=None if start else fill.order_id,
        symbol=fill.symbol,
        side=Side.LONG if (start > 0 if start else fill.is_buy) else Side.SHORT,
        opened_at=fill.at,
        last_at=fill.at,
        is_whole=not start,
        open_size=abs(start),
    )


def _entered(trade: RoundTrip, fill: BookedFill, size: Decimal, fee: Decimal, closed_pnl: Decimal) -> RoundTrip:
    return replace(
        trade,
        last_at=fill.at,
        open_size=trade.open_size + size,
        entry_size=trade.entry_size + size,
        entry_value_usd=trade.entry_value_usd + size * fill.price,
        closed_pnl_usd=trade.closed_pnl_usd + closed_pnl,
        fees_usd=trade.fees_usd + fee,
        fills=trade.fills + 1,
    )


def _left(trade: RoundTrip, fill: BookedFill, size: Decimal, fee: Decimal) -> RoundTrip:
    open_size = trade.open_size - size
    return replace(
        trade,
        last_at=fill.at,
        closed_at=None if open_size else fill.at,
        is_liquidated=trade.is_liquidated or "liquidat" in fill.direction.lower(),
        open_size=open_size,
        exit_size=trade.exit_size + size,
        exit_value_usd=trade.exit_value_usd + size * fill.price,
        closed_pnl_usd=trade.closed_pnl_usd + fill.closed_pnl_usd,
        fees_usd=trade.fees_usd + fee,
        fills=trade.fills + 1,
    )
