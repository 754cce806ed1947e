"""Events as sentences: what happened, and the ids by which one leads to the next."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from pydantic import JsonValue

from allora_mqtt.protocol.schema import MESSAGES
from allora_mqtt.protocol.topics import Event
from allora_mqtt_cli import happenings
from tests.unit.protocol.strategies import instances, json_values

AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
T = "2026-11-20T10:00:00.000Z"
SIGNAL, ORDER = "802f28a439aaaaaaaaaaaaaaaaaaaaaa", "0x688944da81096bfbff9a5004d15a125a"
TRADED: list[tuple[Event, dict[str, Any], str]] = [
    (
        Event.COMMAND,
        {"status": "EXECUTED", "name": "mode", "id": "ce40374e25bbbb", "source": "cli:alice", "at": T, "seq": 42,
         "asked": "ACTIVE"},
        "mode ACTIVE from cli:alice: EXECUTED  [command 42, id ce40374e25]",
    ),
    (
        Event.MODE_CHANGED,
        {"mode": "ACTIVE", "previous": "STANDBY", "reason": "command", "revision": 2, "at": T, "command_seq": 42},
        "ACTIVE, was STANDBY (command)  [command 42]",
    ),
    (
        Event.CRYPTO_CHANGED,
        {"active": {"BTC": 14, "ETH": 9}, "switched_on": ["ETH"], "switched_off": ["SOL"], "revision": 3, "at": T,
         "command_seq": 43},
        "ETH on, SOL off; active: BTC, ETH  [command 43]",
    ),
    (
        Event.SIGNAL,
        {"signal_id": SIGNAL, "symbol": "BTC", "direction": "BUY", "gap_pct": 1.91, "prediction": 72000,
         "mark_price": 70000, "topic_id": 14, "prediction_at": T, "acted": True, "reasons": ["gap"], "at": T},
        "BTC BUY, gap +1.91 %: an entry is made  [signal 802f28a439]",
    ),
    (
        Event.ORDER,
        {"order_id": ORDER, "symbol": "BTC", "side": "BUY", "purpose": "entry", "size": 0.0014, "limit_price": 71096,
         "trigger_price": None, "reduce_only": False, "status": "filled", "filled_size": 0.0014,
         "average_price": 70752, "error": None, "signal_id": SIGNAL, "reason": "gap", "at": T, "oid": 4},
        ("entry BUY 0.0014 BTC, limit 71,096.00: filled, 0.0014 of it at 70,752.00  "
         "[order 0x688944da, oid 4, signal 802f28a439]"),
    ),
    (
        Event.FILL,
        {"fill_id": "2-4", "symbol": "BTC", "side": "BUY", "direction": "Open Long", "size": 0.0014, "price": 70752,
         "fee_usd": 0.044574, "closed_pnl_usd": 0, "order_id": ORDER, "at": T},
        "BUY 0.0014 BTC at 70,752.00 (Open Long), fee 0.0446 USD  [fill 2-4, order 0x688944da]",
    ),
    (
        Event.POSITION_CLOSED,
        {"symbol": "BTC", "side": "LONG", "size": 0.0014, "closed_pnl_usd": 1.2, "fees_usd": 0.09, "funding_usd": 0,
         "pnl_usd": 1.11, "reason": "target", "at": T, "position_id": ORDER, "trade_id": "2-4"},
        "LONG 0.0014 BTC ended (target): +$1.11  [position 0x688944da, trade 2-4]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "said"), TRADED, ids=[kind for kind, _, _ in TRADED])
def test_an_event_is_a_sentence_with_its_ids(kind: Event, content: dict[str, Any], said: str) -> None:
    line = happenings.line(kind, content, AT)
    assert line.endswith(f"  {said}")
    assert line.startswith(f"{AT.astimezone():%Y-%m-%d %H:%M:%S}  {kind} ")


def test_ids_lead_from_a_command_to_what_it_changed_and_from_a_signal_to_the_end_of_its_trade() -> None:
    lines = {kind: happenings.line(kind, content, AT) for kind, content, _ in TRADED}

    def share(text: str, *kinds: Event) -> bool:
        return all(text in lines[kind] for kind in kinds)

    assert share("command 42", Event.COMMAND, Event.MODE_CHANGED)
    assert share("signal 802f28a439", Event.SIGNAL, Event.ORDER)
    assert share("0x688944da", Event.ORDER, Event.FILL, Event.POSITION_CLOSED)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"acted": False, "reasons": ["gap +1 %", "5 s old", "no entries in STANDBY"]}, "no entry (no entries in STAN"),
        ({"acted": False, "direction": "HOLD", "reasons": ["gap +0 %", "5 s old"]}, "no entry (gap +0 %)"),
        ({"acted": False, "reasons": []}, "no entry (no reason given)"),
        ({"gap_pct": None}, "BTC BUY: an entry is made"),
    ],
)
def test_a_signal_says_why_nothing_followed(changes: dict[str, Any], said: str) -> None:
    content = next(content for kind, content, _ in TRADED if kind is Event.SIGNAL)
    assert said in happenings.line(Event.SIGNAL, content | changes, AT)


def test_a_note_about_a_wrong_topic_says_what_to_do() -> None:
    note: JsonValue = {
        "status": "REJECTED",
        "name": "mode",
        "error": {"code": "USE_SET_TOPIC", "message": "Use …/set."},
        "at": T,
    }
    assert "mode from somebody: REJECTED: Use …/set. (USE_SET_TOPIC)" in happenings.line(Event.COMMAND, note, AT)


def test_what_is_of_another_version_is_shown_as_it_is() -> None:
    assert happenings.line(Event.FILL, {"symbol": "BTC", "new": 1}, AT).endswith("symbol BTC, new 1")
    assert happenings.line("note", "text", AT).endswith("note             text")


@pytest.mark.parametrize("kind", Event)
def test_every_type_of_event_has_its_sentence(kind: Event) -> None:
    model = MESSAGES[f"event/{kind}"]

    @given(instances(model))
    def check(event: Any) -> None:
        content = json.loads(event.model_dump_json())
        assert happenings.line(kind, content, AT) != happenings.line("other", content, AT).replace("other", kind)
        assert happenings.sentence(event)

    check()


@given(json_values)
def test_any_content_is_written_as_something(content: Any) -> None:
    for kind in Event:
        assert happenings.line(kind, content, AT)


def test_commands_that_only_ask_are_told_from_others() -> None:
    assert happenings.asks_only(Event.COMMAND, {"name": "events"})
    assert not happenings.asks_only(Event.COMMAND, {"name": "flatten"})
    assert not happenings.asks_only(Event.FILL, {"name": "events"})
