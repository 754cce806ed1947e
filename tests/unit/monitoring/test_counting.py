"""What is counted, and that nobody can make the labels grow."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest

from allora_mqtt.monitoring.counting import Tally
from allora_mqtt.protocol.messages import (
    BreakerChanged,
    FillView,
    OrderView,
    PositionClosed,
    Response,
    SignalView,
)
from allora_mqtt.protocol.topics import Event

AT = datetime(2026, 11, 20, 10, tzinfo=UTC)
SIGNAL = {
    "signal_id": "s", "symbol": "BTC", "direction": "BUY", "gap_pct": 1, "prediction": 2, "mark_price": 1,
    "topic_id": 14, "prediction_at": AT, "acted": True, "reasons": ["gap"], "at": AT,
}  # fmt: skip
ORDER = {
    "order_id": "0x1", "symbol": "BTC", "side": "BUY", "purpose": "entry", "size": 1, "limit_price": 1,
    "trigger_price": None, "reduce_only": False, "status": "filled", "filled_size": 1, "average_price": 1,
    "error": None, "signal_id": "s", "reason": "gap", "at": AT,
}  # fmt: skip
FILL = {
    "fill_id": "1-1", "symbol": "BTC", "side": "BUY", "direction": "Open Long", "size": 0.5, "price": 100,
    "fee_usd": 0, "closed_pnl_usd": 0, "order_id": None, "at": AT,
}  # fmt: skip
CLOSED = {
    "symbol": "BTC", "side": "LONG", "size": 1, "closed_pnl_usd": 1, "fees_usd": 0, "funding_usd": 0, "pnl_usd": 1,
    "reason": "stop", "at": AT,
}  # fmt: skip


def response(name: str = "mode", status: str = "EXECUTED", took_s: float = 0.02) -> Response:
    return Response.model_validate(
        {"id": None, "name": name, "status": status, "received_at": AT, "executed_at": AT + timedelta(seconds=took_s),
         "duration_ms": 1, "revision": 1}
    )  # fmt: skip


def value(tally: Tally, metric: str, /, **labels: str) -> float | None:
    return tally.registry.get_sample_value(f"allora_mqtt_{metric}", labels)


def test_commands_are_counted_and_timed_from_their_arrival() -> None:
    tally = Tally()
    tally.ended(response())
    tally.ended(response(status="FAILED", took_s=-5))
    assert value(tally, "commands_total", name="mode", status="EXECUTED") == 1
    assert value(tally, "commands_total", name="mode", status="FAILED") == 1
    assert value(tally, "command_duration_seconds_count", name="mode") == 2
    assert value(tally, "command_duration_seconds_sum", name="mode") == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("kind", "model", "fields", "name", "labels", "expected"),
    [
        (Event.SIGNAL, SignalView, SIGNAL, "signals_total", {"direction": "BUY", "outcome": "entered"}, 1),
        (Event.SIGNAL, SignalView, SIGNAL | {"acted": False}, "signals_total",
         {"direction": "BUY", "outcome": "refused"}, 1),
        (Event.SIGNAL, SignalView, SIGNAL | {"acted": False, "direction": "HOLD"}, "signals_total",
         {"direction": "HOLD", "outcome": "held"}, 1),
        (Event.ORDER, OrderView, ORDER, "orders_total", {"purpose": "entry", "status": "filled"}, 1),
        (Event.FILL, FillView, FILL, "fill_volume_usd_total", {"side": "BUY"}, 50),
        (Event.FILL, FillView, FILL, "fills_total", {"side": "BUY"}, 1),
        (Event.POSITION_CLOSED, PositionClosed, CLOSED, "positions_closed_total", {"reason": "stop"}, 1),
        (Event.BREAKER_OPENED, BreakerChanged, {"name": "allora", "reason": "x", "at": AT}, "breaker_changes_total",
         {"breaker": "allora", "state": "open"}, 1),
        (Event.BREAKER_CLOSED, BreakerChanged, {"name": "allora", "reason": "x", "at": AT}, "breaker_changes_total",
         {"breaker": "allora", "state": "closed"}, 1),
    ],
)  # fmt: skip
def test_what_happens_is_counted(
    kind: Event, model: Any, fields: dict[str, Any], name: str, labels: dict[str, str], expected: float
) -> None:
    tally = Tally()
    assert value(tally, name, **labels) == 0, "the first one is an increase only where there was a 0 before"
    tally.happened(kind, model.model_validate(fields))
    assert value(tally, name, **labels) == expected


def test_words_of_others_do_not_become_labels() -> None:
    tally = Tally()
    before = generate_latest(tally.registry).count(b"\n")
    for number in range(50):
        tally.ended(response(name=f"made_up_{number}"))
        tally.happened(Event.ORDER, OrderView.model_validate(ORDER | {"status": f"odd{number}"}))
        tally.happened(Event.POSITION_CLOSED, PositionClosed.model_validate(CLOSED | {"reason": f"odd{number}"}))
        breaker = BreakerChanged(name=f"odd{number}", reason="", at=AT)
        tally.happened(Event.BREAKER_OPENED, breaker)
    text = generate_latest(tally.registry)
    assert b"odd" not in text
    assert b"made_up" not in text
    assert value(tally, "commands_total", name="other", status="EXECUTED") == 50
    assert text.count(b"\n") - before < 30
