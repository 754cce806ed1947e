from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from allora_mqtt.control.desired import Desired, at_start, changes, with_mode
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.entries import Saved
from allora_mqtt.store.journal import STOOD_DOWN

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WAS_ACTIVE = {"mode": {"mode": "ACTIVE", "since": NOW.isoformat(), "reason": "command", "seq": 7}}
TRIP = {"daily_loss": {"reason": "lost 6 % today", "since": NOW.isoformat()}}


def start(default: DefaultMode, **state: Any) -> Desired:
    return at_start(Saved({**WAS_ACTIVE, **state}, None, {}), default, {}, RuntimeSettings(), NOW)


@pytest.mark.parametrize("default", [DefaultMode.ACTIVE, DefaultMode.LAST])
@pytest.mark.parametrize("left", [{"trips": TRIP}, {STOOD_DOWN: True, "trips": {}}])
def test_after_a_limit_on_losses_it_starts_in_standby_whatever_the_default(
    default: DefaultMode, left: dict[str, Any]
) -> None:
    desired = start(default, **left)
    assert desired.mode is Mode.STANDBY
    assert "send ACTIVE" in desired.reason
    assert start(default, **{STOOD_DOWN: False, "trips": {}}).mode is Mode.ACTIVE


@pytest.mark.parametrize(("mode", "stored"), [(Mode.ACTIVE, False), (Mode.STANDBY, None), (Mode.STOPPED, None)])
def test_only_active_ends_the_standing_down(mode: Mode, stored: bool | None) -> None:  # noqa: FBT001 - a case
    old = replace(start(DefaultMode.STANDBY), mode=Mode.STOPPED if mode is Mode.STANDBY else Mode.STANDBY)
    new = with_mode(old, mode, reason="command", seq=8, now=NOW)
    assert changes(old, new).state.get(STOOD_DOWN) is stored
