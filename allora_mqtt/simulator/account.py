"""What the exchange knows about one address: money, positions, orders, history. Plain data, saved as it is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

MAX_HISTORY = 2_000
MAX_FILLS = 10_000
ZERO = Decimal(0)

Tif = Literal["Gtc", "Ioc", "Alo"]
TpSl = Literal["tp", "sl"]
Grouping = Literal["na", "normalTpsl", "positionTpsl"]
Mode = Literal["disabled", "unifiedAccount"]


@dataclass(frozen=True)
class Trigger:
    """The condition of a stop or a take-profit: it waits until the mark price reaches `px`."""

    px: Decimal
    is_market: bool
    kind: TpSl


@dataclass(frozen=True)
class OrderRequest:
    """An order as it was asked for. `trigger` is None for a limit order, whose `tif` counts; sizes are in coins."""

    asset: int
    is_buy: bool
    px: Decimal
    size: Decimal
    reduce_only: bool = False
    tif: Tif = "Gtc"
    trigger: Trigger | None = None
    cloid: str | None = None


@dataclass
class Order:
    """An order the exchange has given a number.

    Attributes:
        oid: Its number.
        request: What was asked for.
        size: What is left to fill, in coins.
        grouping: How it was sent; the size of a `positionTpsl` follows the position.
        parent_oid: The entry this stop or take-profit belongs to.
        children: The stops and take-profits of this entry.
        is_waiting: A child whose parent has not filled yet; it does nothing.
        is_triggered: Its trigger has fired; it is a limit order now.
        filled: What has been filled, in coins.
        status: As the exchange names it: open, filled, canceled …
        placed_ms: Wall time of its arrival, unix ms.
        status_ms: Wall time of its last change of status, unix ms.
    """

    oid: int
    request: OrderRequest
    size: Decimal
    grouping: Grouping
    placed_ms: int
    status_ms: int
    parent_oid: int | None = None
    children: list[int] = field(default_factory=list)
    is_waiting: bool = False
    is_triggered: bool = False
    filled: Decimal = ZERO
    status: str = "open"

    @property
    def awaits_trigger(self) -> bool:
        """Whether it waits for the mark price and does not rest in the book."""
        return self.request.trigger is not None and not self.is_triggered


@dataclass
class Position:
    """A perpetual position.

    Attributes:
        szi: Signed size in coins; negative is short.
        entry_px: Average entry price in USD.
        isolated_usd: Money set aside for it; 0 for a cross position.
        funding_open_usd: Funding paid since it was opened (positive: paid).
        funding_change_usd: Funding paid since its size last changed.
    """

    szi: Decimal
    entry_px: Decimal
    isolated_usd: Decimal = ZERO
    funding_open_usd: Decimal = ZERO
    funding_change_usd: Decimal = ZERO

    def pnl(self, mark: Decimal) -> Decimal:
        """Unrealised profit in USD at `mark`."""
        return self.szi * (mark - self.entry_px)


@dataclass(frozen=True)
class Leverage:
    """The leverage that is set for an asset."""

    value: int
    is_cross: bool


@dataclass
class Account:
    """One address.

    Attributes:
        address: Lower case, 0x and 40 hexadecimal digits.
        cash_usd: Deposits plus everything realised: profits, fees, funding. Equity is cash plus unrealised profit.
        positions: By asset index; flat assets are absent.
        leverages: By asset index, where set.
        orders: Open orders by number, waiting children included.
        closed_orders: Terminal orders, oldest first, at most 2000.
        fills: As `userFills` shows them, oldest first, at most 10000.
        fundings: As `userFunding` shows them, oldest first, at most 2000.
        transfers: As `userNonFundingLedgerUpdates` shows them, oldest first, at most 2000.
        funding_usd: Funding ever paid, by asset index.
        volume_usd: Notional ever traded.
        action_count: Actions counted against the address budget.
        last_over_budget_s: Wall time of the last action that was let through over budget.
        mode: As `userAbstraction` names it; a unified account's money is told by its spot state.
        forfeited_usd: Money that liquidations took beyond fills and fees; negative where the insurance fund paid.
        partly_liquidated_s: Wall time of the last liquidation that closed only part of a position.
        cancel_at_ms: When the dead man's switch cancels everything, unix ms.
        cancels_on_day: The UTC day (since 1970) of the switch's last triggers, and how many there were.
    """

    address: str
    cash_usd: Decimal
    positions: dict[int, Position] = field(default_factory=dict)
    leverages: dict[int, Leverage] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    closed_orders: list[Order] = field(default_factory=list)
    fills: list[dict[str, Any]] = field(default_factory=list)
    fundings: list[dict[str, Any]] = field(default_factory=list)
    transfers: list[dict[str, Any]] = field(default_factory=list)
    funding_usd: dict[int, Decimal] = field(default_factory=dict)
    volume_usd: Decimal = ZERO
    action_count: int = 0
    last_over_budget_s: float = 0.0
    mode: Mode = "disabled"
    forfeited_usd: Decimal = ZERO
    partly_liquidated_s: float = 0.0
    cancel_at_ms: int | None = None
    cancels_on_day: tuple[int, int] = (0, 0)

    def szi(self, asset: int) -> Decimal:
        """Signed position size in coins; 0 when flat."""
        position = self.positions.get(asset)
        return position.szi if position else ZERO

    def close_order(self, order: Order, status: str, now_ms: int) -> None:
        """Move an order to the history with its final status."""
        order.status = status
        order.status_ms = now_ms
        self.orders.pop(order.oid, None)
        self.closed_orders.append(order)
        del self.closed_orders[:-MAX_HISTORY]

    def find_order(self, key: int | str) -> Order | None:
        """An order by number or by cloid; open before closed, the latest first."""
        for order in self._latest_first():
            if key in (order.oid, order.request.cloid):
                return order
        return None

    def _latest_first(self) -> Iterator[Order]:
        yield from reversed(list(self.orders.values()))
        yield from reversed(self.closed_orders)
