"""Commands for the same thing that came different ways: which of them holds."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from allora_mqtt.control.desired import Desired
from allora_mqtt.control.ordering import Candidate, Origin, candidate, settle, with_newest
from allora_mqtt.protocol.commands import (
    Activate,
    Body,
    Envelope,
    Mode,
    SetConfig,
    SetCrypto,
    SetCryptos,
    SetMode,
    Switch,
)
from allora_mqtt.protocol.runtime import RuntimeSettings

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
DESIRED = Desired(Mode.STANDBY, NOW, "test", 0, {}, RuntimeSettings(max_leverage=3))
ACTIVE, STANDBY, STOPPED = (SetMode(value=mode) for mode in (Mode.ACTIVE, Mode.STANDBY, Mode.STOPPED))
_seqs = itertools.count(1)


def sent(body: Body, origin: Origin, issued_s: float | None = None) -> Candidate:
    issued_at = None if issued_s is None else NOW + timedelta(seconds=issued_s)
    return candidate(next(_seqs), body, Envelope(issued_at=issued_at), origin, DESIRED)


def codes(*candidates: Candidate) -> list[str | None]:
    refused = settle(candidates)
    return [refused[each.seq].error.code if each.seq in refused else None for each in candidates]


UNKNOWN = [
    (Origin.SPOOL, Origin.JOURNAL),
    (Origin.SPOOL, Origin.QUEUE),
    (Origin.SPOOL, Origin.MAILBOX),
    (Origin.QUEUE, Origin.MAILBOX),
]


@pytest.mark.parametrize(("one", "other"), UNKNOWN + [(other, one) for one, other in UNKNOWN])
def test_where_nothing_tells_the_less_risky_one_holds(one: Origin, other: Origin) -> None:
    lower, higher = SetConfig(value={"max_leverage": 2}), SetConfig(value={"max_leverage": 4})
    assert codes(sent(STANDBY, one), sent(ACTIVE, other)) == [None, "AMBIGUOUS_ORDER"]
    assert codes(sent(lower, one), sent(higher, other)) == [None, "AMBIGUOUS_ORDER"]
    assert codes(sent(SetCryptos(value={}), one), sent(SetCryptos(value={"BTC": None}), other)) == [
        None,
        "AMBIGUOUS_ORDER",
    ]


@pytest.mark.parametrize(("one", "other"), UNKNOWN)
def test_the_action_that_switches_a_coin_on_is_weighed_as_the_switch_is(one: Origin, other: Origin) -> None:
    off, on = SetCrypto(symbol="BTC", value=Switch.OFF), Activate(symbol="btc")
    assert codes(sent(off, one), sent(on, other)) == [None, "AMBIGUOUS_ORDER"]
    assert codes(sent(off, one, 1), sent(on, other, 0)) == [None, "SUPERSEDED"]


@pytest.mark.parametrize(("one", "other"), UNKNOWN)
def test_times_decide_where_both_say_them(one: Origin, other: Origin) -> None:
    assert codes(sent(STANDBY, one, 0), sent(ACTIVE, other, 1)) == ["SUPERSEDED", None]
    assert codes(sent(STANDBY, one, 1), sent(ACTIVE, other, 0)) == [None, "SUPERSEDED"]
    assert codes(sent(STANDBY, one, 1), sent(ACTIVE, other)) == [None, "AMBIGUOUS_ORDER"]


@pytest.mark.parametrize(("one", "other"), UNKNOWN)
def test_of_two_that_risk_the_same_the_one_that_has_run_or_was_queued_holds(one: Origin, other: Origin) -> None:
    first, second = SetCryptos(value={"BTC": None}), SetCrypto(symbol="ETH", value=Switch.ON)
    assert codes(sent(first, one), sent(second, other)) == [None, "AMBIGUOUS_ORDER"]
    assert codes(sent(second, other), sent(first, one)) == ["AMBIGUOUS_ORDER", None]


@pytest.mark.parametrize("origins", [*[(each, each) for each in Origin], (Origin.JOURNAL, Origin.QUEUE)])
def test_where_the_order_is_known_nobody_is_refused(origins: tuple[Origin, Origin]) -> None:
    assert codes(sent(STANDBY, origins[0]), sent(ACTIVE, origins[1])) == [None, None]


def test_commands_for_different_things_do_not_concern_each_other() -> None:
    assert codes(sent(STANDBY, Origin.SPOOL), sent(SetCrypto(symbol="BTC", value=Switch.ON), Origin.QUEUE)) == [
        None,
        None,
    ]
    assert codes(sent(ACTIVE, Origin.SPOOL), sent(ACTIVE, Origin.QUEUE)) == [None, None]


def test_days_of_files_leave_few_candidates() -> None:
    kept: list[Candidate] = [sent(ACTIVE, Origin.QUEUE)]
    for _ in range(500):
        kept = with_newest(kept, sent(STANDBY, Origin.SPOOL))
        kept = with_newest(kept, sent(ACTIVE, Origin.SPOOL))
        kept = with_newest(kept, sent(SetConfig(value={"max_leverage": 2}), Origin.SPOOL))
    assert [(each.body, each.origin) for each in kept] == [
        (ACTIVE, Origin.QUEUE),
        (STANDBY, Origin.SPOOL),
        (ACTIVE, Origin.SPOOL),
        (SetConfig(value={"max_leverage": 2}), Origin.SPOOL),
    ]
    kept = with_newest(kept, sent(STOPPED, Origin.SPOOL))
    assert [each.body for each in kept if each.origin is Origin.SPOOL and isinstance(each.body, SetMode)] == [STOPPED]


@pytest.mark.parametrize(
    ("body", "risk"),
    [
        (ACTIVE, 2),
        (STANDBY, 1),
        (SetCryptos(value={}), 0),
        (SetCryptos(value={"BTC": None}), 1),
        (SetCrypto(symbol="BTC", value=Switch.OFF), 0),
        (SetConfig(value={"max_leverage": 1}), 1),
    ],
)
def test_of_what_has_run_only_that_which_always_takes_risk_away_counts_as_safe(body: Body, risk: int) -> None:
    assert candidate(1, body, Envelope(), Origin.SPOOL, None).risk == risk
