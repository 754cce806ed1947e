"""The account as the exchange has it: state, positions, resting orders and fills."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from allora_mqtt.market.wire import (
    optional_decimal,
    optional_positive,
    to_amount,
    to_cash,
    to_decimal,
    to_int,
    to_positive,
    to_symbol,
    to_text,
    to_time_s,
)

Side = Literal["BUY", "SELL"]

_SEPARATE = frozenset({"default", "disabled", "dexAbstraction"})
"""Account modes in which the perpetuals have a balance of their own."""
_UNIFIED = frozenset({"unifiedAccount", "portfolioMargin"})
"""Account modes in which the collateral is told by the spot state and the perpetuals' account value may be 0."""


@dataclass(frozen=True, slots=True)
class PositionState:
    """An open position. Prices and amounts in USD; `size` in coins, negative for a short one."""

    symbol: str
    size: Decimal
    entry_price: Decimal
    position_value_usd: Decimal
    unrealized_pnl_usd: Decimal
    margin_usd: Decimal
    leverage: int
    liquidation_price: Decimal | None


@dataclass(frozen=True, slots=True)
class AccountState:
    """The account's money and its positions by symbol, at unix seconds `at`."""

    equity_usd: Decimal
    withdrawable_usd: Decimal
    margin_used_usd: Decimal
    positions: dict[str, PositionState]
    at: float

    @property
    def cash_usd(self) -> Decimal:
        """The equity without what open positions have won or lost so far: it moves with what is booked only."""
        return self.equity_usd - sum((one.unrealized_pnl_usd for one in self.positions.values()), Decimal(0))


@dataclass(frozen=True, slots=True)
class RestingOrder:
    """An order that waits on the exchange; one with a trigger price is a target (`tp`) or a stop (`sl`)."""

    symbol: str
    oid: int
    cloid: str | None
    side: Side
    size: Decimal
    limit_price: Decimal
    trigger_price: Decimal | None
    tpsl: Literal["tp", "sl"] | None
    reduce_only: bool
    follows_position: bool = False
    """Whether its size is the position's, whatever that becomes."""


@dataclass(frozen=True, slots=True)
class OrderState:
    """What the exchange says of one order.

    Attributes:
        status: its own word, such as `open`, `filled`, `canceled` or `perpMarginRejected`.
        filled_size: in coins: what it was made for, less what is left.
    """

    status: str
    oid: int
    filled_size: Decimal


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade of the account.

    Attributes:
        direction: the exchange's word, such as `Close Long`; `Liquidated Long` where it closed the position itself.
        at: unix seconds.
        start_position: the position before it in coins, below zero for a short one; None where that is not told.
    """

    tid: int
    oid: int
    cloid: str | None
    symbol: str
    side: Side
    direction: str
    size: Decimal
    price: Decimal
    fee_usd: Decimal
    closed_pnl_usd: Decimal
    at: float
    start_position: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FundingPayment:
    """What a position paid or was paid at the end of an hour.

    Attributes:
        time_ms: when, unix milliseconds.
        amount_usd: below zero when it was paid, above when it was received.
        rate: for that hour, as a fraction.
        size: of the position in coins, below zero for a short one.
    """

    symbol: str
    time_ms: int
    amount_usd: Decimal
    rate: Decimal
    size: Decimal


def parse_account(raw: Mapping[str, Any], at: float) -> AccountState:
    """Read a `clearinghouseState`.

    An unreadable position is an error and not left out: half a truth about money is worse than none.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the answer has another shape.
    """
    summary = raw["marginSummary"]
    positions = [_position(entry["position"]) for entry in raw["assetPositions"]]
    return AccountState(
        equity_usd=to_decimal(summary["accountValue"]),
        withdrawable_usd=to_decimal(raw["withdrawable"]),
        margin_used_usd=to_decimal(summary["totalMarginUsed"]),
        positions={position.symbol: position for position in positions if position.size},
        at=at,
    )


def parse_mode(raw: object) -> str:
    """Read the answer to `userAbstraction`: how the account keeps its balances.

    Raises:
        ValueError: a mode that is not known; to guess it would be to guess the balance.
    """
    mode = to_text(raw)
    if mode not in _SEPARATE | _UNIFIED:
        raise ValueError(f"an unknown account mode {mode!r}")
    return mode


def is_unified(mode: str) -> bool:
    """Whether an account of this mode keeps its collateral in the spot state."""
    return mode in _UNIFIED


def with_spot_collateral(state: AccountState, raw: Mapping[str, Any]) -> AccountState:
    """Correct the money of a unified account by its `spotClearinghouseState`.

    Equity is the total of USDC, which the exchange marks to market: it holds the open profit of the positions already,
    and adding theirs would count it twice. What is free is the total without `hold`, which is the margin of positions
    and orders.

    Source: HyperLiquid's "Account abstraction modes": with a unified account "all balances and holds" are in the spot
    state, "individual perp dex user states are not meaningful", and the account is liquidated by maintenance margin
    over total less isolated margin, which only a total at present prices allows; measured by sushiswap PR 2184 (with
    the profit added, 6,600 USD were shown for 4,918); balance 0 without any of this: hummingbot issue 8165, SDK issue
    261. Other collateral of a portfolio margin account is left out, so that equity is never more than there is.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the answer has another shape.
    """
    usdc = next((balance for balance in raw["balances"] if balance["coin"] == "USDC"), None)
    total = Decimal(0) if usdc is None else to_decimal(usdc["total"])
    held = Decimal(0) if usdc is None else to_decimal(usdc["hold"])
    return AccountState(
        equity_usd=total,
        withdrawable_usd=max(total - held, Decimal(0)),
        margin_used_usd=state.margin_used_usd,
        positions=state.positions,
        at=state.at,
    )


def parse_orders(raw: list[Mapping[str, Any]]) -> list[RestingOrder]:
    """Read `frontendOpenOrders`; orders on spot markets are left out.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the answer has another shape.
    """
    return [_order(entry) for entry in raw if not _is_spot(entry["coin"])]


def parse_fills(raw: list[Mapping[str, Any]], account: str) -> list[Fill]:
    """Read `userFillsByTime`; fills on spot markets are left out.

    Args:
        raw: the answer.
        account: whose fills they are; a fill may be part of somebody else's liquidation.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the answer has another shape.
    """
    return [_fill(entry, account) for entry in raw if not _is_spot(entry["coin"])]


def parse_fundings(raw: list[Mapping[str, Any]]) -> list[FundingPayment]:
    """Read `userFunding`.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the answer has another shape.
    """
    return [_funding(entry) for entry in raw]


def parse_order_status(raw: Mapping[str, Any]) -> OrderState | None:
    """Read `orderStatus`; None for an order that the exchange does not know.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the answer has another shape.
    """
    if raw["status"] == "unknownOid":
        return None
    order = raw["order"]["order"]
    left = to_amount(order["sz"])
    return OrderState(
        to_text(raw["order"]["status"]), to_int(order["oid"]), max(to_amount(order["origSz"]) - left, Decimal(0))
    )


def _is_spot(coin: str) -> bool:
    return coin.startswith("@") or "/" in coin


def _position(raw: Mapping[str, Any]) -> PositionState:
    size = to_decimal(raw["szi"])
    return PositionState(
        symbol=to_symbol(raw["coin"]),
        size=size,
        entry_price=to_positive(raw["entryPx"]) if size else Decimal(0),
        position_value_usd=to_decimal(raw["positionValue"]),
        unrealized_pnl_usd=to_decimal(raw["unrealizedPnl"]),
        margin_usd=to_decimal(raw["marginUsed"]),
        leverage=_leverage(raw["leverage"]["value"]),
        liquidation_price=optional_positive(raw.get("liquidationPx")),
    )


def _order(raw: Mapping[str, Any]) -> RestingOrder:
    is_trigger = raw.get("isTrigger") is True
    return RestingOrder(
        symbol=to_symbol(raw["coin"]),
        oid=to_int(raw["oid"]),
        cloid=_optional_text(raw.get("cloid")),
        side=_side(raw["side"]),
        size=to_amount(raw["sz"]),
        limit_price=to_amount(raw["limitPx"]),
        trigger_price=to_positive(raw["triggerPx"]) if is_trigger else None,
        tpsl=_tpsl(to_text(raw["orderType"])) if is_trigger else None,
        reduce_only=raw.get("reduceOnly") is True,
        follows_position=raw.get("isPositionTpsl") is True,
    )


def _fill(raw: Mapping[str, Any], account: str) -> Fill:
    direction = to_text(raw["dir"])
    liquidation = raw.get("liquidation")
    # The exchange marks a liquidation in either way, or in both.
    if liquidation and liquidation["liquidatedUser"].lower() == account.lower() and "Liquidat" not in direction:
        direction = f"Liquidated {direction.rpartition(' ')[2]}"
    return Fill(
        tid=to_int(raw["tid"]),
        oid=to_int(raw["oid"]),
        cloid=_optional_text(raw.get("cloid")),
        symbol=to_symbol(raw["coin"]),
        side=_side(raw["side"]),
        direction=direction,
        size=to_positive(raw["sz"]),
        price=to_positive(raw["px"]),
        fee_usd=to_cash(raw["fee"]),
        closed_pnl_usd=to_cash(raw["closedPnl"]),
        at=to_time_s(raw["time"], per_second=1000),
        start_position=optional_decimal(raw.get("startPosition")),
    )


def _funding(raw: Mapping[str, Any]) -> FundingPayment:
    to_time_s(raw["time"], per_second=1000)
    delta = raw["delta"]
    return FundingPayment(
        symbol=to_symbol(delta["coin"]),
        time_ms=to_int(raw["time"]),
        amount_usd=to_cash(delta["usdc"]),
        rate=to_decimal(delta["fundingRate"]),
        size=to_decimal(delta["szi"]),
    )


def _side(raw: object) -> Side:
    match raw:
        case "B":
            return "BUY"
        case "A":
            return "SELL"
        case _:
            raise ValueError(f"an unknown side {raw!r}")


def _tpsl(order_type: str) -> Literal["tp", "sl"]:
    return "tp" if order_type.lower().startswith("take profit") else "sl"


def _leverage(raw: object) -> int:
    leverage = to_int(raw)
    if leverage < 1:
        raise ValueError(f"a leverage of {leverage}")
    return leverage


def _optional_text(raw: object) -> str | None:
    return None if raw is None else to_text(raw)
