"""Orders as the bot means them, as the exchange's wire has them, and what the exchange answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from hyperliquid.utils.signing import order_request_to_order_wire, order_wires_to_order_action
from hyperliquid.utils.types import Cloid

from allora_mqtt.market.catalog import Asset
from allora_mqtt.market.precision import is_valid_price, is_valid_size
from allora_mqtt.market.wire import quoted, to_amount, to_int, to_positive
from allora_mqtt.protocol.errors import BotError, ErrorCode

Grouping = Literal["na", "normalTpsl", "positionTpsl"]
ResultStatus = Literal["resting", "filled", "waiting", "error", "success"]

_ADVICE = (
    ("does not exist", "approve the agent wallet on HyperLiquid or check HL_SECRET_KEY, HL_ACCOUNT_ADDRESS, HL_VAULT"),
    ("already expired", "it was too late and did not run"),
)


class OutcomeUnknown(BotError):  # noqa: N818 - it names a state, as its siblings in the contract do
    """The bytes left and no usable answer came: the exchange may have run the action or not.

    Send the identical envelope again, or ask `order_status` and `fills`; never sign a new one before this is known.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            ErrorCode.EXCHANGE_UNREACHABLE,
            f"HyperLiquid may or may not have run the action: {reason}. Its state is looked up before anything new.",
        )


class DuplicateNonce(BotError):  # noqa: N818 - it names a state, as its siblings in the contract do
    """The exchange has seen this very envelope (or its nonce) before: when replayed, the first one arrived."""


class ActionsExhausted(BotError):  # noqa: N818 - it names a state, as its siblings in the contract do
    """The account has sent more actions than its traded volume allows; one in 10 s is still let through."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """Makes an order wait until the mark price reaches `price` (USD), then run as a market order."""

    price: Decimal
    tpsl: Literal["tp", "sl"]


@dataclass(frozen=True, slots=True)
class OrderSpec:
    """One order.

    Attributes:
        symbol: the exchange's spelling.
        is_buy: the direction.
        size: in coins, above zero, already rounded to the asset's decimals.
        limit_price: in USD, already rounded; for a trigger order the worst price it may fill at.
        tif: for an order without a trigger; None for one with a trigger.
        trigger: for a stop or a target.
        reduce_only: whether it may only make a position smaller.
        cloid: our own id: `0x` and 32 hex digits.
    """

    symbol: str
    is_buy: bool
    size: Decimal
    limit_price: Decimal
    tif: Literal["Ioc", "Gtc"] | None
    trigger: Trigger | None
    reduce_only: bool
    cloid: str | None


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What the exchange says became of one order, cancel or setting.

    Attributes:
        status: `waiting` is a child order that waits for its parent's fill or its trigger; `success` is a cancel or
            a setting.
        oid: the exchange's id, where it gave one.
        filled_size: in coins; below the size asked for after a partial fill.
        average_price: of the filled part, in USD.
        error: the exchange's words, for `error` only.
    """

    status: ResultStatus
    oid: int | None = None
    filled_size: Decimal = Decimal(0)
    average_price: Decimal | None = None
    error: str | None = None


def order_action(specs: Sequence[OrderSpec], grouping: Grouping, assets: Mapping[str, Asset]) -> dict[str, Any]:
    """Build the wire's `order` action with the SDK's own functions.

    Raises:
        BotError: UNKNOWN_SYMBOL, or BAD_VALUE for a size or price that the exchange would refuse, or an order that
            has both or neither of `tif` and `trigger`.
    """
    if not specs:
        raise BotError(ErrorCode.BAD_VALUE, "There is no order in the list; name at least one.")
    wires = [_order_wire(spec, asset_of(spec.symbol, assets)) for spec in specs]
    action: dict[str, Any] = order_wires_to_order_action(wires, grouping=grouping)
    return action


def cancel_action(cancels: Sequence[tuple[str, int]], assets: Mapping[str, Asset]) -> dict[str, Any]:
    """Build the wire's `cancel` action from pairs of symbol and order id.

    Raises:
        BotError: UNKNOWN_SYMBOL, or BAD_VALUE for an empty list.
    """
    if not cancels:
        raise BotError(ErrorCode.BAD_VALUE, "There is no order id in the list; name at least one.")
    return {
        "type": "cancel",
        "cancels": [{"a": asset_of(symbol, assets).index, "o": oid} for symbol, oid in cancels],
    }


def leverage_action(symbol: str, leverage: int, *, is_cross: bool, assets: Mapping[str, Asset]) -> dict[str, Any]:
    """Build the wire's `updateLeverage` action.

    Raises:
        BotError: UNKNOWN_SYMBOL, or OUT_OF_RANGE for a leverage the asset does not have.
    """
    asset = asset_of(symbol, assets)
    if not 1 <= leverage <= asset.max_leverage:
        raise BotError(
            ErrorCode.OUT_OF_RANGE,
            f"{symbol} allows a leverage from 1 to {asset.max_leverage}, and {leverage} was asked for; lower it.",
        )
    return {"type": "updateLeverage", "asset": asset.index, "isCross": is_cross, "leverage": leverage}


def asset_of(symbol: str, assets: Mapping[str, Asset]) -> Asset:
    """The asset of a symbol in the exchange's spelling.

    Raises:
        BotError: UNKNOWN_SYMBOL.
    """
    asset = assets.get(symbol)
    if asset is None:
        raise BotError(ErrorCode.UNKNOWN_SYMBOL, f"HyperLiquid lists no {symbol[:40]}; choose one from the catalog.")
    return asset


def _order_wire(spec: OrderSpec, asset: Asset) -> dict[str, Any]:
    _check(spec, asset)
    kind: dict[str, Any]
    if spec.trigger is None:
        kind = {"limit": {"tif": spec.tif}}
    else:
        kind = {"trigger": {"triggerPx": float(spec.trigger.price), "isMarket": True, "tpsl": spec.trigger.tpsl}}
    request = {
        "coin": spec.symbol,
        "is_buy": spec.is_buy,
        "sz": float(spec.size),
        "limit_px": float(spec.limit_price),
        "order_type": kind,
        "reduce_only": spec.reduce_only,
        # The server hashes the lower-case form, so anything else would recover another signer.
        "cloid": None if spec.cloid is None else Cloid.from_str(spec.cloid.lower()),
    }
    wire: dict[str, Any] = order_request_to_order_wire(request, asset.index)
    sent = [Decimal(wire["s"]), Decimal(wire["p"])]
    meant = [spec.size, spec.limit_price]
    if spec.trigger is not None:
        sent.append(Decimal(wire["t"]["trigger"]["triggerPx"]))
        meant.append(spec.trigger.price)
    # The SDK goes through floats; what is signed must still be exactly what was meant.
    if sent != meant:
        raise BotError(ErrorCode.BAD_VALUE, f"The numbers of the {spec.symbol} order are too long to send; round them.")
    return wire


def _check(spec: OrderSpec, asset: Asset) -> None:
    wrong = None
    if (spec.tif is None) == (spec.trigger is None):
        wrong = "needs either a time in force or a trigger"
    elif not is_valid_size(spec.size, asset.sz_decimals):
        wrong = f"has the size {spec.size}, but sizes are above zero with at most {asset.sz_decimals} decimals"
    elif not is_valid_price(spec.limit_price, asset.sz_decimals):
        wrong = f"has the limit price {spec.limit_price}, which is not on the exchange's price steps"
    elif spec.trigger is not None and not is_valid_price(spec.trigger.price, asset.sz_decimals):
        wrong = f"has the trigger price {spec.trigger.price}, which is not on the exchange's price steps"
    if wrong:
        raise BotError(ErrorCode.BAD_VALUE, f"The {spec.symbol} order {wrong}; round it first.")


def parse_results(answer: object, expected: int) -> list[OrderResult]:
    """Read the answer to an action.

    Args:
        answer: the decoded JSON of `/exchange`.
        expected: how many orders, cancels or settings the action held.

    Returns:
        One result for each of them, in order. A single error for the whole batch stands for each.

    Raises:
        BotError: EXCHANGE_REJECTED, when the action was refused as a whole.
        DuplicateNonce: the same, because the exchange had this envelope already.
        ActionsExhausted: the same, because the account has sent too many actions.
        OutcomeUnknown: the answer cannot be understood.
    """
    match answer:
        case {"status": "err", "response": reason}:
            raise _rejection(reason)
        case {"status": "ok", "response": {"type": "default"}}:
            return [OrderResult("success")] * expected
        case {"status": "ok", "response": {"data": {"statuses": list(statuses)}}}:
            try:
                results = [_result(status) for status in statuses]
            except ValueError as error:
                raise OutcomeUnknown(f"its answer cannot be read ({quoted(error)})") from error
        case _:
            raise OutcomeUnknown("its answer has an unknown shape")
    if len(results) == 1 and results[0].status == "error":
        return results * expected
    if len(results) != expected:
        raise OutcomeUnknown(f"it answered for {len(results)} orders when {expected} were sent")
    return results


def _rejection(reason: object) -> BotError:
    text = quoted(reason).rstrip(".")
    if "duplicate nonce" in text.lower():
        return DuplicateNonce(
            ErrorCode.EXCHANGE_REJECTED, f"HyperLiquid has this action already: {text}. Its outcome is looked up."
        )
    if "too many cumulative requests" in text.lower():
        return ActionsExhausted(
            ErrorCode.EXCHANGE_REJECTED,
            f"HyperLiquid refused: {text}; no entries are made until trading has raised the account's limit.",
        )
    advice = next((advice for words, advice in _ADVICE if words in text.lower()), None)
    return BotError(ErrorCode.EXCHANGE_REJECTED, f"HyperLiquid refused: {text}{f'; {advice}' if advice else ''}.")


def _result(status: object) -> OrderResult:
    match status:
        case "success":
            return OrderResult("success")
        case "waitingForFill" | "waitingForTrigger":
            return OrderResult("waiting")
        case {"error": reason}:
            return OrderResult("error", error=quoted(reason))
        case {"resting": {"oid": oid}}:
            return OrderResult("resting", oid=to_int(oid))
        case {"filled": {"oid": oid, "totalSz": size, "avgPx": price}}:
            return OrderResult("filled", oid=to_int(oid), filled_size=to_amount(size), average_price=to_positive(price))
        case _:
            raise ValueError(f"an unknown status: {quoted(status)}")
