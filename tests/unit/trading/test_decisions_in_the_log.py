"""What is said of decisions in the log: every entry, and why there is none when that is something new."""

import logging
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from allora_mqtt.protocol.messages import Direction, SignalView
from allora_mqtt.trading.risk import FOLLOWS_FROM_AN_ENTRY, Refused
from allora_mqtt.trading.signals import Signals

AT = datetime(2026, 11, 20, 10, tzinfo=UTC)
SIGNAL = SignalView.model_validate(
    {"signal_id": "s1", "symbol": "BTC", "direction": "BUY", "gap_pct": 1, "prediction": 2, "mark_price": 1,
     "topic_id": 14, "prediction_at": AT, "acted": False, "reasons": ["gap +1 %"], "at": AT}
)  # fmt: skip


@pytest.fixture
def thoughts() -> Signals:
    unused = cast("Any", None)  # the log needs none of them
    return Signals(unused, unused, unused, None, 60, lambda: "0" * 32, lambda: AT)


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


def test_why_there_is_no_entry_is_said_once_for_each_kind_of_reason(
    thoughts: Signals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for reason in ("cooling down for 30 s more", "cooling down for 7 s more", "the price is old", "the price is old"):
        thoughts.log_decision(SIGNAL, Refused(reason))
    assert levels(caplog) == ["INFO", "DEBUG", "INFO", "DEBUG"]
    assert caplog.messages[0] == "BTC BUY: no entry (cooling down for 30 s more)"
    assert vars(caplog.records[0])["signal"] == "s1"


def test_each_coin_has_reasons_of_its_own(thoughts: Signals, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for symbol in ("BTC", "ETH", "BTC"):
        thoughts.log_decision(SIGNAL.model_copy(update={"symbol": symbol}), Refused("no entries in STANDBY"))
    assert levels(caplog) == ["INFO", "INFO", "DEBUG"]


def test_hold_is_seen_only_where_that_is_wanted_and_makes_no_reason_new(
    thoughts: Signals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    held = SIGNAL.model_copy(update={"direction": Direction.HOLD})
    thoughts.log_decision(SIGNAL, Refused("the price is old"))
    thoughts.log_decision(held, None)
    thoughts.log_decision(SIGNAL, Refused("the price is old"))
    assert levels(caplog) == ["INFO", "DEBUG", "DEBUG"]


@pytest.mark.parametrize("reason", sorted(FOLLOWS_FROM_AN_ENTRY))
def test_what_follows_from_every_entry_is_no_news(
    thoughts: Signals, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for refused in (Refused("no entries in STANDBY"), Refused(reason), Refused("no entries in STANDBY")):
        thoughts.log_decision(SIGNAL, refused)
    assert levels(caplog) == ["INFO", "DEBUG", "DEBUG"]


def test_an_entry_is_always_said_and_makes_every_reason_new(
    thoughts: Signals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    thoughts.log_decision(SIGNAL, Refused("the price is old"))
    thoughts.log_decision(SIGNAL.model_copy(update={"acted": True}), None)
    thoughts.log_decision(SIGNAL, Refused("the price is old"))
    assert levels(caplog) == ["INFO", "INFO", "INFO"]
    assert caplog.messages[1] == "BTC BUY: an entry is made (gap +1 %)"
