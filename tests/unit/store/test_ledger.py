import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.store.database import Database
from allora_mqtt.store.ledger import Ledger
from tests.unit.store.conftest import NOW, Place, on_sqlite, rows, settled

FINE = Decimal("12345678901234567890.123456789012345678901")
"""More digits than any binary number holds."""

TOKYO = timezone(timedelta(hours=9))


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def signal(signal_id: str = "s1", **changes: Any) -> dict[str, Any]:
    return {
        "signal_id": signal_id, "symbol": "BTC", "topic_id": 14, "direction": "BUY", "prediction": FINE,
        "prediction_at": NOW, "mark_price": Decimal("0.10"), "gap_pct": Decimal("-0.0000001"), "acted": True,
        "reasons": ["gap"], "at": NOW,
    } | changes  # fmt: skip


def order(order_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "order_id": order_id, "parent_id": None, "signal_id": "s1", "symbol": "BTC", "side": "BUY", "purpose": "entry",
        "size": Decimal("0.00010"), "limit_price": FINE, "trigger_price": None, "reduce_only": False,
        "status": "SENDING", "oid": None, "filled_size": Decimal(0), "average_price": None, "error": None,
        "reason": "gap", "envelope": {"nonce": 1, "action": {"type": "order"}}, "nonce": 1, "at": NOW,
        "updated_at": NOW,
    } | changes  # fmt: skip


def fill(fill_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "fill_id": fill_id, "oid": 77, "order_id": "o1", "symbol": "BTC", "side": "SELL", "direction": "Close Long",
        "size": Decimal("0.1"), "price": FINE, "fee_usd": Decimal("0.01"), "closed_pnl_usd": Decimal("1.1"), "at": NOW,
        "start_position": Decimal("0.1"), "trade_id": None,
    } | changes  # fmt: skip


def booked(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Fills as they come back, each of which closed what was there before it."""
    return [row | {"trade_id": row["fill_id"]} for row in rows]


def position(position_id: str = "p1", **changes: Any) -> dict[str, Any]:
    return {
        "position_id": position_id, "symbol": "BTC", "side": "LONG", "size": Decimal("0.1"), "entry_price": FINE,
        "stop_price": Decimal("0.000000001"), "target_price": Decimal("1E+3"), "topic_id": 14, "signal_id": "s1",
        "opened_at": NOW, "expires_at": at(28800),
    } | changes  # fmt: skip


async def test_a_signal_keeps_every_digit_its_reasons_and_its_times(ledger: Ledger, path: Place) -> None:
    await ledger.add_signal(signal(at=NOW.astimezone(TOKYO)))
    await ledger.add_signal(signal("s2", prediction=None, prediction_at=None, mark_price=None, gap_pct=None))
    stored = rows(path, "SELECT prediction, gap_pct, reasons, at, prediction_at FROM signals ORDER BY signal_id")
    time = "2026-11-20T10:00:00.123456+00:00"
    assert stored[0][:2] == (str(FINE), "-0.0000001")
    assert json.loads(stored[0][2]) == ["gap"]
    assert stored[0][3:] == (time, time)
    assert stored[1][:2] == (None, None)


async def test_predictions_that_were_traded_on_are_known_from_a_time_on(ledger: Ledger) -> None:
    await ledger.add_signal(signal("old", at=at(-10), prediction_at=at(-20)))
    await ledger.add_signal(signal("now", prediction_at=at(-1)))
    await ledger.add_signal(signal("ignored", acted=False, topic_id=13))
    assert await ledger.entered_predictions(NOW) == {(14, at(-1))}
    assert await ledger.entered_predictions(at(-10).astimezone(TOKYO)) == {(14, at(-20)), (14, at(-1))}


async def test_orders_come_back_as_they_were_stored(ledger: Ledger) -> None:
    entry = order("o1")
    stop = order("o2", parent_id="o1", purpose="stop", trigger_price=Decimal("0.5"), reduce_only=True, at=at(-1))
    await ledger.add_orders([entry, stop, order("o3")])
    assert await ledger.orders_by_id(["o1", "o2", "unknown"]) == [stop, entry]
    assert await ledger.orders_by_id([]) == []
    assert await ledger.known_orders(["o1", "o3", "theirs"]) == {"o1", "o3"}
    assert await ledger.orders_in(["SENDING"]) == [stop, entry, order("o3")]
    assert await ledger.orders_in(["filled"]) == []


async def test_of_several_orders_all_are_stored_or_none(ledger: Ledger) -> None:
    await ledger.add_orders([order("o1")])
    with pytest.raises(BotError) as caught:
        await ledger.add_orders([order("o2"), order("o1")])
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert await ledger.known_orders(["o1", "o2"]) == {"o1"}


async def test_what_became_of_an_order_is_written_to_that_order_only(ledger: Ledger) -> None:
    await ledger.add_orders([order("o1"), order("o2")])
    change = {"status": "filled", "oid": 123_456_789_012, "filled_size": Decimal("0.00010"), "average_price": FINE,
              "updated_at": at(1)}  # fmt: skip
    await ledger.update_orders({"o1": change})
    assert await ledger.orders_by_id(["o1"]) == [order("o1", **change)]
    assert await ledger.orders_by_id(["o2"]) == [order("o2")]
    assert await ledger.order_ids([123_456_789_012, 5]) == {123_456_789_012: "o1"}


async def test_the_newest_order_is_the_one_sent_last(ledger: Ledger) -> None:
    assert await ledger.newest_order() is None
    stop = order("o4", purpose="stop", at=at(9))
    await ledger.add_orders([order("o1"), order("o2", at=at(5)), order("o3", at=at(1)), stop])
    assert await ledger.newest_order() == order("o2", at=at(5))


async def test_the_highest_nonce_is_remembered(ledger: Ledger) -> None:
    assert await ledger.highest_nonce() == 0
    await ledger.add_orders([order("o1", nonce=1_795_000_000_001), order("o2", nonce=7), order("o3", nonce=None)])
    assert await ledger.highest_nonce() == 1_795_000_000_001
    await ledger.keep_nonce(1_795_000_000_003)
    await ledger.keep_nonce(1_795_000_000_002)
    assert await ledger.highest_nonce() == 1_795_000_000_003


async def test_small_values_are_stored_by_key(ledger: Ledger, path: Place) -> None:
    await ledger.put_state({"peak": "100.5", "day": {"start": 1}})
    await ledger.put_state({"peak": "101"})
    stored = {key: json.loads(value) for key, value in rows(path, "SELECT key, value FROM state")}
    assert stored == {"peak": "101", "day": {"start": 1}}


async def test_a_fill_is_stored_once_however_often_it_is_reported(ledger: Ledger) -> None:
    first, second = fill("f1"), fill("f2", at=at(1), order_id=None)
    assert await ledger.add_fills([first]) == [first]
    assert await ledger.add_fills([first, second, second]) == [second]
    assert await ledger.add_fills([first, second]) == []
    assert await ledger.add_fills([]) == []
    assert await ledger.fills(10, None, None) == booked(second, first)


async def test_trades_are_the_newest_fills_of_a_symbol_or_of_all_since_a_time(ledger: Ledger) -> None:
    assert await ledger.newest_fill_at() is None
    fills = [
        fill(f"f{index}", symbol=symbol, at=at(index)) for index, symbol in enumerate(["BTC", "ETH", "BTC", "BTC"])
    ]
    await ledger.add_fills([fills[2], fills[0], fills[3], fills[1]])
    assert await ledger.fills(2, None, None) == booked(fills[3], fills[2])
    assert await ledger.fills(10, "ETH", None) == booked(fills[1])
    assert await ledger.fills(10, "BTC", at(2).astimezone(TOKYO)) == booked(fills[3], fills[2])
    assert await ledger.fills(10, "SOL", None) == []
    assert await ledger.newest_fill_at() == at(3)


async def test_a_position_is_open_until_it_is_closed(ledger: Ledger, path: Place) -> None:
    await ledger.put_position(position())
    await ledger.put_position(position("p2", symbol="ETH"))
    await ledger.put_position(position(size=Decimal("0.05")))
    unclosed = {"closed_at": None, "close_reason": None, "closed_pnl_usd": None, "open_reason": None}
    one, other = sorted(await ledger.open_positions(), key=lambda row: str(row["position_id"]))
    assert one == position(size=Decimal("0.05")) | unclosed
    assert other == position("p2", symbol="ETH") | unclosed
    await ledger.close_position("p1", at(9), "target", -FINE)
    assert [row["position_id"] for row in await ledger.open_positions()] == ["p2"]
    closed = rows(path, "SELECT closed_at, close_reason, closed_pnl_usd FROM positions WHERE position_id = 'p1'")
    assert closed == [(at(9).isoformat(), "target", str(-FINE))]


@on_sqlite
async def test_the_last_stops_are_found_by_an_index(path: Place) -> None:
    query = "SELECT symbol, max(closed_at) FROM positions WHERE close_reason IN ('stop', 'liquidation') GROUP BY symbol"
    plan = " ".join(str(row[-1]) for row in rows(path, f"EXPLAIN QUERY PLAN {query}"))
    assert "USING COVERING INDEX ix_positions_close_reason_symbol_closed_at" in plan


async def test_the_last_stop_of_each_symbol_is_known(ledger: Ledger) -> None:
    closings = [
        ("p1", "BTC", 5, "stop"),
        ("p2", "BTC", 3, "stop"),
        ("p3", "BTC", 9, "target"),
        ("p4", "ETH", 1, "stop"),
    ]
    for position_id, symbol, seconds, reason in closings:
        await ledger.put_position(position(position_id, symbol=symbol))
        await ledger.close_position(position_id, at(seconds), reason, Decimal(0))
    await ledger.put_position(position("open", symbol="SOL"))
    assert await ledger.last_stopped_at() == {"BTC": at(5), "ETH": at(1)}


async def test_the_equity_curve_has_one_point_for_a_time(ledger: Ledger, path: Place) -> None:
    await ledger.add_equity(at(2), FINE, Decimal(0))
    await ledger.add_equity(at(1), Decimal("1.10"), Decimal("0.30"))
    await ledger.add_equity(at(0), Decimal(1), Decimal(1))
    await ledger.add_equity(at(1).astimezone(TOKYO), Decimal("1.20"), Decimal("0.30"))
    assert rows(path, "SELECT at, equity_usd FROM equity ORDER BY at") == [
        (at(0).isoformat(), "1"),
        (at(1).isoformat(), "1.20"),
        (at(2).isoformat(), str(FINE)),
    ]


async def test_the_audit_trail_grows_in_order(ledger: Ledger, database: Database, path: Place) -> None:
    content: dict[str, Any] = {"mode": "ACTIVE", "n": None}
    ledger.note("mode_changed", content, NOW)
    content["mode"] = "changed after it was noted"
    ledger.note("fill", {"fill_id": "f1"}, at(1))
    await settled(database)
    stored = rows(path, "SELECT seq, type, content, at FROM events ORDER BY seq")
    assert [(seq, kind, json.loads(text), time) for seq, kind, text, time in stored] == [
        (1, "mode_changed", {"mode": "ACTIVE", "n": None}, NOW.isoformat()),
        (2, "fill", {"fill_id": "f1"}, at(1).isoformat()),
    ]


@pytest.mark.parametrize("moment", [NOW, NOW.astimezone(TOKYO)])
async def test_times_come_back_with_their_zone(ledger: Ledger, moment: datetime) -> None:
    await ledger.add_fills([fill("f1", at=moment)])
    newest = await ledger.newest_fill_at()
    assert newest == NOW
    assert newest is not None
    assert newest.utcoffset() == timedelta(0)
