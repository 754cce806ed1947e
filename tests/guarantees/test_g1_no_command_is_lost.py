"""G1: what the broker has acknowledged reaches an end, is in the journal, and is answered."""

from collections import Counter

import pytest

from tests.guarantees.record import percentile_ms, record
from tests.guarantees.scale import IS_LONG, SCALE
from tests.guarantees.storm import Aftermath

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600 if IS_LONG else 300)]


def test_no_command_is_lost(storm: tuple[str, Aftermath]) -> None:
    where, after = storm
    statuses = Counter(command.status for command in after.commands if command.id in after.sendings)
    waits = [sending.responses[0][0] - sending.sent_at for sending in after.sendings.values() if sending.responses]
    quiet = [sending.responses[0][0] - sending.sent_at for sending in after.quiet]
    record(
        "G1",
        where,
        sent=len(after.sendings),
        acknowledged=len(after.acknowledged()),
        executed=statuses["EXECUTED"],
        **dict(after.faults),
        lost=len(after.lost()),
        unanswered=len(after.unanswered()),
        lost_by_broker=len(after.broken_by_broker()),
        storm_p50_ms=percentile_ms(waits, 0.5),
        storm_p99_ms=percentile_ms(waits, 0.99),
        quiet_p50_ms=percentile_ms(quiet, 0.5),
        quiet_p99_ms=percentile_ms(quiet, 0.99),
    )
    assert len(after.acknowledged()) == len(after.sendings) >= SCALE.commands
    assert after.faults["bot_kills"] == SCALE.bot_kills
    assert (after.lost(), after.unanswered()) == ([], [])


def test_every_answer_says_how_the_command_ended(storm: tuple[str, Aftermath]) -> None:
    _, after = storm
    ended = {command.id: command for command in after.commands if command.duplicate_of is None}
    for identifier, sending in after.sendings.items():
        for _, response in sending.responses:
            assert response["status"] in {ended[identifier].status, "DUPLICATE"}
            assert (response["error"] is None) is (response["status"] in {"EXECUTED", "DUPLICATE"})
