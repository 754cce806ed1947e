"""Booking a fill: position, average entry, realised profit, fee, and the line in `userFills`."""

from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

from allora_mqtt.simulator.account import MAX_FILLS, ZERO, Account, Order, Position
from allora_mqtt.simulator.margin import leverage_of
from allora_mqtt.simulator.ticks import to_wire
from allora_mqtt.simulator.universe import Asset

TAKER_FEE = Decimal("0.00045")
MAKER_FEE = Decimal("0.00015")
_USD_DECIMALS = 6


@dataclass(frozen=True)
class Fill:
    """One execution: price in USD, size in coins; `is_taker` pays the higher fee."""

    px: Decimal
    size: Decimal
    is_taker: bool

    @property
    def fee_usd(self) -> Decimal:
        """The fee in USD."""
        rate = TAKER_FEE if self.is_taker else MAKER_FEE
        return (self.px * self.size * rate).quantize(Decimal("1e-6"))


def book_fill(account: Account, asset: Asset, order: Order, fill: Fill, tid: int, now_ms: int) -> dict[str, Any]:
    """Apply one fill of `order` to the account and append it to its fills.

    Returns:
        The new line of `userFills`; `closedPnl` is before fees, as on the exchange.
    """
    start = account.szi(asset.index)
    signed = fill.size if order.request.is_buy else -fill.size
    # What is told is what is booked: the exchange counts in millionths of a USD.
    closed_pnl = _move_position(account, asset, signed, fill.px).quantize(Decimal(1).scaleb(-_USD_DECIMALS))
    account.cash_usd += closed_pnl - fill.fee_usd
    account.volume_usd += fill.px * fill.size
    order.filled += fill.size
    order.size = max(ZERO, order.size - fill.size)
    line: dict[str, Any] = {
        "coin": asset.name,
        "px": to_wire(fill.px),
        "sz": to_wire(fill.size),
        "side": "B" if order.request.is_buy else "A",
        "time": now_ms,
        "startPosition": to_wire(start),
        "dir": direction(start, signed),
        "closedPnl": to_wire(closed_pnl, _USD_DECIMALS),
        "hash": f"0x{sha256(f'{account.address}/{tid}'.encode()).hexdigest()}",
        "oid": order.oid,
        "crossed": fill.is_taker,
        "fee": to_wire(fill.fee_usd),
        "tid": tid,
        "feeToken": "USDC",
    }
    if order.request.cloid is not None:
        line["cloid"] = order.request.cloid
    account.fills.append(line)
    del account.fills[:-MAX_FILLS]
    return line


def direction(start: Decimal, signed: Decimal) -> str:
    """What a fill did, in the exchange's words: Open Long, Close Short, Long > Short and so on."""
    end = start + signed
    if start > 0 > end:
        return "Long > Short"
    if start < 0 < end:
        return "Short > Long"
    if start == 0 or (start > 0) == (signed > 0):
        return "Open Long" if signed > 0 else "Open Short"
    return "Close Long" if start > 0 else "Close Short"


def _move_position(account: Account, asset: Asset, signed: Decimal, px: Decimal) -> Decimal:
    """Change the position by `signed` coins at `px`; returns the realised profit."""
    leverage = leverage_of(account, asset)
    position = account.positions.get(asset.index)
    if position is None:
        account.positions[asset.index] = Position(szi=ZERO, entry_px=px)
        position = account.positions[asset.index]
    is_closing = position.szi != 0 and (position.szi > 0) != (signed > 0)
    closed = min(abs(signed), abs(position.szi)) if is_closing else ZERO
    side = 1 if position.szi > 0 else -1
    pnl = side * closed * (px - position.entry_px)
    if closed:
        position.isolated_usd *= 1 - closed / abs(position.szi)
    opened = abs(signed) - closed
    if is_closing and opened:
        position.entry_px = px
        position.funding_open_usd = ZERO
    elif opened:
        size = abs(position.szi)
        position.entry_px = (position.entry_px * size + px * opened) / (size + opened)
    if not leverage.is_cross:
        position.isolated_usd += opened * px / leverage.value
    position.szi += signed
    position.funding_change_usd = ZERO
    if position.szi == 0:
        del account.positions[asset.index]
    return pnl
