import contextlib
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.market.catalog import assets_from_meta
from allora_mqtt.market.orders import (
    ActionsExhausted,
    DuplicateNonce,
    OrderResult,
    OrderSpec,
    OutcomeUnknown,
    Trigger,
    cancel_action,
    leverage_action,
    order_action,
    parse_results,
)
from allora_mqtt.protocol.errors import BotError, ErrorCode
from tests.unit.market.exchange import META

ASSETS = assets_from_meta(META)
CLOID = "0x" + "0A" * 16
ENTRY = OrderSpec(
    symbol="ETH",
    is_buy=True,
    size=Decimal("0.02"),
    limit_price=Decimal("2900.5"),
    tif="Ioc",
    trigger=None,
    reduce_only=False,
    cloid=CLOID,
)
STOP = replace(ENTRY, is_buy=False, tif=None, trigger=Trigger(Decimal("2800.0"), "sl"), reduce_only=True, cloid=None)


def ok(*statuses: object) -> dict[str, Any]:
    return {"status": "ok", "response": {"type": "order", "data": {"statuses": list(statuses)}}}


def refusal(spec: OrderSpec) -> BotError:
    with pytest.raises(BotError) as caught:
        order_action([spec], "na", ASSETS)
    return caught.value


def test_orders_look_on_the_wire_as_the_exchange_wants_them() -> None:
    action = order_action([ENTRY, STOP], "normalTpsl", ASSETS)
    assert list(action) == ["type", "orders", "grouping"]
    assert action == {
        "type": "order",
        "orders": [
            {
                "a": 2,
                "b": True,
                "p": "2900.5",
                "s": "0.02",
                "r": False,
                "t": {"limit": {"tif": "Ioc"}},
                "c": CLOID.lower(),
            },
            {
                "a": 2,
                "b": False,
                "p": "2900.5",
                "s": "0.02",
                "r": True,
                "t": {"trigger": {"isMarket": True, "triggerPx": "2800", "tpsl": "sl"}},
            },
        ],
        "grouping": "normalTpsl",
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "NOPE"}, ErrorCode.UNKNOWN_SYMBOL),
        ({"size": Decimal("0.00001")}, ErrorCode.BAD_VALUE),
        ({"size": Decimal(0)}, ErrorCode.BAD_VALUE),
        ({"size": Decimal("NaN")}, ErrorCode.BAD_VALUE),
        ({"limit_price": Decimal("2900.55")}, ErrorCode.BAD_VALUE),
        ({"limit_price": Decimal(-1)}, ErrorCode.BAD_VALUE),
        ({"tif": None}, ErrorCode.BAD_VALUE),
        ({"trigger": Trigger(Decimal(2800), "sl")}, ErrorCode.BAD_VALUE),
        ({"tif": None, "trigger": Trigger(Decimal("2800.55"), "sl")}, ErrorCode.BAD_VALUE),
        ({"size": Decimal("12345678901234.5678")}, ErrorCode.BAD_VALUE),
    ],
)
def test_what_the_exchange_would_refuse_is_not_signed(changes: dict[str, Any], code: ErrorCode) -> None:
    assert refusal(replace(ENTRY, **changes)).code == code


def test_an_empty_action_is_refused() -> None:
    with pytest.raises(BotError, match="BAD_VALUE"):
        order_action([], "na", ASSETS)
    with pytest.raises(BotError, match="BAD_VALUE"):
        cancel_action([], ASSETS)


def test_cancels_and_leverage() -> None:
    assert cancel_action([("BTC", 7), ("ETH", 8)], ASSETS) == {
        "type": "cancel",
        "cancels": [{"a": 0, "o": 7}, {"a": 2, "o": 8}],
    }
    assert leverage_action("ETH", 25, is_cross=True, assets=ASSETS) == {
        "type": "updateLeverage",
        "asset": 2,
        "isCross": True,
        "leverage": 25,
    }
    for leverage in (0, 26):
        with pytest.raises(BotError, match="OUT_OF_RANGE"):
            leverage_action("ETH", leverage, is_cross=True, assets=ASSETS)


def test_each_order_gets_its_result() -> None:
    answer = ok(
        {"filled": {"totalSz": "0.01", "avgPx": "2900.25", "oid": 2, "cloid": CLOID}},
        {"resting": {"oid": 1}},
        "waitingForFill",
        "waitingForTrigger",
        {"error": "Insufficient margin to place order. asset=1"},
    )
    assert parse_results(answer, 5) == [
        OrderResult("filled", 2, Decimal("0.01"), Decimal("2900.25")),
        OrderResult("resting", 1),
        OrderResult("waiting"),
        OrderResult("waiting"),
        OrderResult("error", error="Insufficient margin to place order. asset=1"),
    ]


def test_one_error_for_the_batch_is_each_orders_error() -> None:
    assert parse_results(ok({"error": "bad tick"}), 3) == [OrderResult("error", error="bad tick")] * 3


def test_cancels_and_settings_succeed() -> None:
    assert parse_results(ok("success", "success"), 2) == [OrderResult("success")] * 2
    assert parse_results({"status": "ok", "response": {"type": "default"}}, 1) == [OrderResult("success")]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"error": "Could not parse JSON"},
        {"status": "ok"},
        ok(),
        ok({"resting": {"oid": 1}}),
        ok({"resting": {"oid": 1}}, {"resting": {}}),
        ok({"filled": {"oid": 1, "totalSz": "NaN", "avgPx": "1"}}, "waitingForFill"),
        ok("who knows", "success"),
    ],
)
def test_an_answer_that_is_not_understood_leaves_the_outcome_unknown(answer: object) -> None:
    with pytest.raises(OutcomeUnknown, match="EXCHANGE_UNREACHABLE"):
        parse_results(answer, 2)


def test_a_refusal_of_the_whole_is_told_in_the_exchanges_words() -> None:
    with pytest.raises(BotError, match=r"EXCHANGE_REJECTED.*0x1 does not exist; approve the agent wallet"):
        parse_results({"status": "err", "response": "User or API Wallet 0x1 does not exist."}, 1)
    with pytest.raises(DuplicateNonce, match="EXCHANGE_REJECTED"):
        parse_results({"status": "err", "response": "Invalid nonce: duplicate nonce 5"}, 1)
    with pytest.raises(ActionsExhausted, match="no entries are made until"):
        parse_results({"status": "err", "response": "Too many cumulative requests sent (10001 > 10000)."}, 1)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.text(max_size=8) | st.integers() | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["status", "response", "data", "statuses", "error", "filled", "oid"]), inner, max_size=3
            )
        ),
        max_leaves=12,
    )
)
def test_any_answer_gives_results_or_a_boterror(answer: object) -> None:
    for wrapped in (answer, ok(answer)):
        with contextlib.suppress(BotError):
            assert len(parse_results(wrapped, 2)) == 2
