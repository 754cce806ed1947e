from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.market.account import (
    OrderState,
    PositionState,
    is_unified,
    parse_account,
    parse_fills,
    parse_fundings,
    parse_mode,
    parse_order_status,
    parse_orders,
    with_spot_collateral,
)

POSITION = {
    "coin": "BTC",
    "szi": "-0.00785",
    "leverage": {"type": "cross", "value": 20},
    "entryPx": "26951.0",
    "positionValue": "211.6",
    "unrealizedPnl": "-1.5",
    "liquidationPx": None,
    "marginUsed": "10.58",
}
STATE: dict[str, Any] = {
    "marginSummary": {"accountValue": "1000.5", "totalMarginUsed": "10.58"},
    "withdrawable": "900",
    "assetPositions": [
        {"type": "oneWay", "position": POSITION},
        {"type": "oneWay", "position": POSITION | {"coin": "ETH", "szi": "0.0", "entryPx": None}},
    ],
}
ORDER = {
    "coin": "ETH",
    "limitPx": "2700.0",
    "oid": 5,
    "side": "A",
    "sz": "0.02",
    "isTrigger": True,
    "triggerPx": "2800.0",
    "orderType": "Stop Market",
    "reduceOnly": True,
    "cloid": "0x01",
}
ME = "0x" + "A" * 40

FILL = {
    "closedPnl": "-1.5",
    "coin": "ETH",
    "dir": "Close Long",
    "fee": "0.02",
    "oid": 5,
    "px": "2800",
    "side": "A",
    "sz": "0.02",
    "time": 1700000000123,
    "tid": 77,
}


def test_the_account_and_its_open_positions() -> None:
    state = parse_account(STATE, 5.0)
    assert (state.equity_usd, state.withdrawable_usd, state.margin_used_usd, state.at) == (
        Decimal("1000.5"),
        Decimal(900),
        Decimal("10.58"),
        5.0,
    )
    assert state.positions == {
        "BTC": PositionState(
            symbol="BTC",
            size=Decimal("-0.00785"),
            entry_price=Decimal("26951.0"),
            position_value_usd=Decimal("211.6"),
            unrealized_pnl_usd=Decimal("-1.5"),
            margin_usd=Decimal("10.58"),
            leverage=20,
            liquidation_price=None,
        )
    }


def test_half_an_account_is_an_error() -> None:
    broken = STATE | {"assetPositions": [{"position": POSITION | {"szi": "NaN"}}]}
    with pytest.raises(ValueError, match="finite"):
        parse_account(broken, 0)


def test_a_unified_accounts_money_is_its_usdc() -> None:
    state = parse_account(STATE, 5.0)
    spot = {
        # As mainnet answers for a unified account; the rows of outcomes have no token.
        "balances": [
            {"coin": "HYPE", "token": 150, "total": "1", "hold": "0.0", "entryNtl": "50"},
            {"coin": "USDC", "token": 0, "total": "21401.03695889", "hold": "1613.426835", "entryNtl": "0.0"},
            {"coin": "+92260", "total": "0.0", "hold": "0.0", "entryNtl": "0.0"},
        ],
        "tokenToAvailableAfterMaintenance": [[0, "19787.61012389"]],
    }
    unified = with_spot_collateral(state, spot)
    # The total is marked to market: the open profit of the positions is in it already.
    assert (unified.equity_usd, unified.withdrawable_usd) == (Decimal("21401.03695889"), Decimal("19787.61012389"))
    assert unified.positions == state.positions
    assert with_spot_collateral(state, {"balances": []}).withdrawable_usd == 0


@pytest.mark.parametrize(
    ("mode", "unified"),
    [
        ("default", False),
        ("disabled", False),
        ("dexAbstraction", False),
        ("unifiedAccount", True),
        ("portfolioMargin", True),
    ],
)
def test_the_modes_of_an_account(mode: str, *, unified: bool) -> None:
    assert is_unified(parse_mode(mode)) is unified


@pytest.mark.parametrize("mode", ["", "UnifiedAccount", "superAccount", None, {}, 1])
def test_a_mode_that_is_not_known_is_not_guessed(mode: Any) -> None:
    with pytest.raises(ValueError, match=r"mode|text"):
        parse_mode(mode)


def test_resting_orders_with_stops_and_targets() -> None:
    plain = ORDER | {"isTrigger": False, "triggerPx": "0.0", "orderType": "Limit", "side": "B", "cloid": None}
    target = ORDER | {"orderType": "Take Profit Market"}
    stop, tp, limit = parse_orders([ORDER, target, plain, ORDER | {"coin": "@107"}, ORDER | {"coin": "PURR/USDC"}])
    assert (stop.tpsl, stop.trigger_price, stop.side, stop.reduce_only, stop.cloid) == (
        "sl",
        Decimal(2800),
        "SELL",
        True,
        "0x01",
    )
    assert tp.tpsl == "tp"
    assert (limit.tpsl, limit.trigger_price, limit.side, limit.cloid) == (None, None, "BUY", None)


def test_fills() -> None:
    (fill,) = parse_fills([FILL, FILL | {"coin": "@107"}], ME)
    assert (fill.tid, fill.oid, fill.cloid, fill.symbol, fill.side) == (77, 5, None, "ETH", "SELL")
    assert (fill.direction, fill.size, fill.price) == ("Close Long", Decimal("0.02"), Decimal(2800))
    assert (fill.fee_usd, fill.closed_pnl_usd, fill.at) == (Decimal("0.02"), Decimal("-1.5"), 1700000000.123)


@pytest.mark.parametrize("changes", [{"side": "X"}, {"px": "0"}, {"dir": ""}, {"coin": None}])
def test_an_unreadable_fill_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, AttributeError)):
        parse_fills([FILL | changes], ME)


def test_an_orders_status() -> None:
    assert parse_order_status({"status": "unknownOid"}) is None
    order = {"oid": 7, "origSz": "0.05", "sz": "0.02"}
    found = parse_order_status({"status": "order", "order": {"order": order, "status": "canceled"}})
    assert found == OrderState("canceled", 7, Decimal("0.03"))


def test_a_fill_knows_what_was_held_before_it_where_that_is_told() -> None:
    told, untold = parse_fills([FILL | {"startPosition": "-0.02"}, FILL], ME)
    assert (told.start_position, untold.start_position) == (Decimal("-0.02"), None)


@pytest.mark.parametrize(
    ("told", "liquidated", "direction"),
    [
        ("Close Long", ME, "Liquidated Long"),
        ("Close Short", ME.lower(), "Liquidated Short"),
        ("Liquidated Cross Long", ME, "Liquidated Cross Long"),
        ("Open Long", "0x" + "9" * 40, "Open Long"),
    ],
)
def test_a_liquidation_is_told_from_the_other_side_of_one(told: str, liquidated: str, direction: str) -> None:
    how = {"liquidatedUser": liquidated, "markPx": "1900.0", "method": "market"}
    (fill,) = parse_fills([FILL | {"dir": told, "liquidation": how}], ME)
    assert fill.direction == direction


PAID = {"type": "funding", "coin": "ETH", "usdc": "-3.625312", "szi": "49.1477", "fundingRate": "0.0000417"}


def test_funding_is_what_was_paid_at_which_rate_for_how_much() -> None:
    (payment,) = parse_fundings([{"time": 1681222254710, "hash": "0x0", "delta": PAID}])
    assert (payment.symbol, payment.time_ms) == ("ETH", 1681222254710)
    assert (payment.amount_usd, payment.rate, payment.size) == (
        Decimal("-3.625312"),
        Decimal("0.0000417"),
        Decimal("49.1477"),
    )


@pytest.mark.parametrize(
    "broken",
    [{"usdc": "NaN"}, {"usdc": "1e9"}, {"coin": "a/b"}, {"szi": None}, {"fundingRate": ""}],
)
def test_funding_that_cannot_be_is_an_error(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ
        parse_fundings([{"time": 1681222254710, "delta": PAID | broken}])


@pytest.mark.parametrize("broken", [{"closedPnl": "1e9"}, {"fee": "-200000000"}])
def test_a_fill_with_more_money_than_there_can_be_is_an_error(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="plausible"):
        parse_fills([FILL | broken], ME)
