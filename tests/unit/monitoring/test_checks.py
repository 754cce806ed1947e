"""When the bot counts as alive, and when as ready."""

from typing import Any

import pytest

from allora_mqtt.monitoring.checks import MAX_ACCOUNT_AGE_S, liveness, readiness

READY: dict[str, Any] = {
    "broker_error": None, "is_connected": True, "has_read_mailbox": True, "account_age_s": 1.0,
}  # fmt: skip


def test_a_bot_that_can_write_lives() -> None:
    verdict = liveness(None)
    assert (verdict.status, verdict.http_status) == ("ok", 200)


def test_a_bot_that_cannot_write_does_not() -> None:
    verdict = liveness("the disk is full")
    assert (verdict.status, verdict.http_status) == ("failing", 503)
    assert verdict.checks["store"].reason == "the disk is full"
    assert verdict.checks["loop"].ok


def test_a_bot_that_knows_everything_is_ready() -> None:
    assert readiness(**READY).http_status == 200


@pytest.mark.parametrize(
    ("changes", "failing", "reason"),
    [
        ({"is_connected": False, "broker_error": "refused"}, {"broker", "mailbox"}, "not connected: refused"),
        ({"is_connected": False}, {"broker", "mailbox"}, "not connected: not yet"),
        ({"has_read_mailbox": False}, {"mailbox"}, "commands that waited are still being read"),
        ({"account_age_s": None}, {"exchange"}, "it has not said yet what the account holds"),
        ({"account_age_s": MAX_ACCOUNT_AGE_S + 1}, {"exchange"}, "what the account holds was last known 31 s ago"),
    ],
)
def test_a_bot_that_lacks_something_says_what(changes: dict[str, Any], failing: set[str], reason: str) -> None:
    verdict = readiness(**READY | changes)
    assert verdict.http_status == 503
    assert {name for name, check in verdict.checks.items() if not check.ok} == failing
    assert reason in {check.reason for check in verdict.checks.values()}
