"""The bot's parsers read answers of the real shapes, with the fields, nulls and extras the simulator may not have.

The values are made up; the shapes are those of `tests/unit/simulator/recorded_shapes.json`, from which they are built.
"""

import json
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.market.account import parse_account, parse_fills, parse_order_status, parse_orders
from allora_mqtt.market.catalog import assets_from_meta
from tests.unit.simulator.shapes import RECORDED, Shape

REAL: dict[str, Shape] = json.loads(RECORDED.read_text(encoding="utf-8"))["answers"]
TODAYS_FILL = {"tid": 7, "feeToken": "USDC", "twapId": None, "builderFee": "0.0"}
WORDS = {"coin": "ETH", "side": "B", "type": "cross", "orderType": "Stop Market", "status": "filled", "name": "ETH"}
NUMBERS = {"value": 20, "maxLeverage": 20, "szDecimals": 4}


def example(shape: Shape, name: str = "", *, is_full: bool) -> Any:
    """A value of this shape: with every field and no null, or with no more than must be there."""
    if "fields" in shape:
        names = [each for each in shape["fields"] if is_full or each not in shape["optional"]]
        return {each: example(shape["fields"][each], each, is_full=is_full) for each in names}
    if "items" in shape:
        return [example(shape["items"], name, is_full=is_full)] if shape["items"] and is_full else []
    if "null" in shape and (not is_full or len(shape) == 1):
        return None
    numbers = {"decimal": "1.5", "bool": is_full, "int": NUMBERS.get(name, 1_700_000_000_000)}
    for kind, number in numbers.items():
        if kind in shape:
            return number
    return WORDS.get(name, f"0x{'0' * 64}" if "hash" in shape else "a text")


@pytest.mark.parametrize("is_full", [True, False])
def test_open_orders(is_full: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    line = REAL["frontendOpenOrders"]["items"]
    (order,) = parse_orders([example(line, is_full=is_full)])
    assert (order.symbol, order.side, order.size, order.cloid) == ("ETH", "BUY", Decimal("1.5"), None)
    assert (order.trigger_price, order.tpsl) == ((Decimal("1.5"), "sl") if is_full else (None, None))


def test_an_order_with_its_children_is_one_order() -> None:
    line = REAL["frontendOpenOrders"]["items"]
    child = example(line, is_full=True)
    parent = example(line, is_full=False) | {"children": [child]}
    assert len(parse_orders([parent, child])) == 2


@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("kind", ["userFills", "userFillsByTime"])
def test_fills(kind: str, is_full: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    line = example(REAL[kind]["items"], is_full=is_full) | TODAYS_FILL
    (fill,) = parse_fills([line], "0x" + "a" * 40)
    assert (fill.symbol, fill.tid, fill.fee_usd, fill.cloid) == ("ETH", 7, Decimal("1.5"), None)


@pytest.mark.parametrize("is_full", [True, False])
def test_the_account(is_full: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    state = example(REAL["clearinghouseState"], is_full=is_full)
    position = example(REAL["clearinghouseState"]["fields"]["assetPositions"]["items"], is_full=is_full)
    parsed = parse_account(state | {"assetPositions": [position]}, at=5.0)
    assert (parsed.equity_usd, parsed.withdrawable_usd) == (Decimal("1.5"), Decimal("1.5"))
    assert parsed.positions["ETH"].liquidation_price == (Decimal("1.5") if is_full else None)


@pytest.mark.parametrize("is_full", [True, False])
def test_the_status_of_an_order(is_full: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    line = example(REAL["historicalOrders"]["items"], is_full=is_full)
    state = parse_order_status({"status": "order", "order": line})
    assert state is not None
    assert state.status == "filled"


def test_the_universe() -> None:
    assets = assets_from_meta(example(REAL["meta"], is_full=True))
    assert (assets["ETH"].index, assets["ETH"].sz_decimals, assets["ETH"].max_leverage) == (0, 4, 20)
