"""G2: no command and no order has its effect twice, however often it is delivered."""

import pytest

from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG
from tests.guarantees.storm import Aftermath

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600 if IS_LONG else 300)]


def test_nothing_has_its_effect_twice(storm: tuple[str, Aftermath]) -> None:
    where, after = storm
    repeated = sum(command.duplicate_of is not None for command in after.commands)
    record(
        "G2",
        where,
        commands=len(after.commands),
        sent_again=repeated,
        settings_changed=len(after.values),
        orders_accepted=len(after.cloids),
        doubled=len(after.doubled()),
    )
    assert after.doubled() == []
    # Otherwise nothing would have been tried.
    assert repeated > 0
    assert len(after.values) > 0


def test_an_older_command_never_undoes_a_newer_one(storm: tuple[str, Aftermath]) -> None:
    where, after = storm
    record("G3", where, mode_changes=len(after.mode_seqs), values=len(after.values), backwards=len(after.backwards()))
    assert after.backwards() == []


def test_what_is_published_is_what_is(storm: tuple[str, Aftermath]) -> None:
    where, after = storm
    record("G6", where, views_compared=5, disagreements=len(after.disagreements))
    assert after.disagreements == []
