"""What may have run between a backup and its restore is refused where it raises risk or must not be done twice."""

from datetime import UTC, datetime, timedelta

import pytest

from allora_mqtt.control import ordering
from allora_mqtt.control.desired import Desired, at_start, changes, with_mode
from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.protocol.commands import (
    Activate,
    Body,
    CancelOrders,
    Close,
    Envelope,
    Flatten,
    Mode,
    Performance,
    ReloadConfig,
    ResetBreaker,
    SetConfig,
    SetCrypto,
    SetCryptos,
    SetMode,
    Shutdown,
    Switch,
)
from allora_mqtt.protocol.errors import ErrorCode
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.entries import Saved
from allora_mqtt.store.journal import RESTORED

RESTORED_AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
NOW = RESTORED_AT + timedelta(minutes=1)
DESIRED = Desired(Mode.STANDBY, RESTORED_AT, "", 0, {"BTC": 14}, RuntimeSettings())


def refused(body: Body, issued_at: datetime | None = None, restored_at: datetime | None = RESTORED_AT) -> bool:
    why = ordering.refuse_by_age(
        body, Envelope(issued_at=issued_at), DESIRED, WaitingPolicy("run", 60), NOW, waited=True, seq=9,
        restored_at=restored_at,
    )  # fmt: skip
    assert why is None or why.error.code is ErrorCode.STALE_ACTIVATION
    return why is not None


@pytest.mark.parametrize(
    "body",
    [
        SetMode(value=Mode.ACTIVE),
        SetCrypto(symbol="SOL", value=Switch.ON),
        SetCryptos(value={"BTC": None, "SOL": None}),
        SetConfig(value={"max_leverage": 5}),
        Activate(symbol="SOL"),
        ResetBreaker(),
        Shutdown(),
    ],
)
def test_what_raises_risk_or_must_not_repeat_is_refused_unless_it_is_newer(body: Body) -> None:
    assert refused(body)
    assert refused(body, issued_at=RESTORED_AT - timedelta(seconds=1))
    assert not refused(body, issued_at=RESTORED_AT + timedelta(seconds=1))
    assert not refused(body, restored_at=None)


@pytest.mark.parametrize(
    "body",
    [
        SetMode(value=Mode.STANDBY),
        SetMode(value=Mode.STOPPED),
        SetCrypto(symbol="BTC", value=Switch.OFF),
        SetCryptos(value={}),
        SetCryptos(value={"BTC": None}),
        SetConfig(value={"max_leverage": 1}),
        Close(symbol="BTC"),
        Flatten(),
        CancelOrders(),
        ReloadConfig(),
        Performance(),
    ],
)
def test_what_takes_risk_away_or_only_asks_runs(body: Body) -> None:
    assert not refused(body)


@pytest.mark.parametrize("default", list(DefaultMode))
def test_restored_books_begin_in_standby_until_somebody_sends_active(default: DefaultMode) -> None:
    mode = {"mode": "ACTIVE", "since": "", "reason": "", "seq": 3}
    restored = Saved({"mode": mode, RESTORED: "2026-11-29 03:15 UTC"}, {}, {})
    desired = at_start(restored, default, {}, RuntimeSettings(), NOW)
    assert desired.mode is Mode.STANDBY
    assert "2026-11-29 03:15 UTC" in desired.reason
    active = with_mode(desired, Mode.ACTIVE, reason="", seq=4, now=NOW)
    assert changes(desired, active).state[RESTORED] is None
