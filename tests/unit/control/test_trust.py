from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from allora_mqtt.control.trust import Judged, Trust, Unsigned
from allora_mqtt.protocol.commands import Body, Envelope, Flatten, Mode, Ping, SetMode, write
from allora_mqtt.protocol.errors import ErrorCode
from allora_mqtt.protocol.messages import SignedCommands
from allora_mqtt.protocol.reading import read
from allora_mqtt.protocol.signed import Keys
from allora_mqtt.protocol.topics import Topics

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ALICE = Keys({"alice": "a" * 32})
STRANGER = Keys({"alice": "b" * 32})
TOPICS = Topics("bot")
ACTIVE, STANDBY = SetMode(value=Mode.ACTIVE), SetMode(value=Mode.STANDBY)
DAY = timedelta(days=1)


def judged(
    trust: Trust, body: Body, envelope: Envelope | None = None, by: Keys | None = ALICE, topic: str | None = None
) -> Judged:
    if envelope is None:
        envelope = Envelope(id="x", issued_at=NOW, source="me", transaction={"n": 1})
    address, payload = write(body, envelope)
    topic = topic or TOPICS.command(address)
    parsed = read(address, payload if by is None else by.sign(topic, payload))
    return trust.judge(parsed, TOPICS.command(address), NOW)


def refusal(*arguments: Any, **named: Any) -> ErrorCode | None:
    found = judged(*arguments, **named)
    assert found.is_trusted is (found.parsed.error is None)
    assert found.is_trusted or found.kept.id is None
    return None if found.parsed.error is None else found.parsed.error.code


def issued(ago: timedelta) -> Envelope:
    return Envelope(id="x", issued_at=NOW - ago)


def test_without_keys_anybody_may_command_and_signatures_are_not_looked_at() -> None:
    trust = Trust(None)
    for by in (None, ALICE, STRANGER):
        found = judged(trust, ACTIVE, by=by)
        assert (found.parsed.body, found.parsed.envelope.id, found.parsed.signed_by) == (ACTIVE, "x", None)
    assert trust.counts is None


def test_who_signs_is_believed_and_named() -> None:
    found = judged(Trust(ALICE), ACTIVE)
    assert (found.parsed.body, found.parsed.signed_by, found.kept.id) == (ACTIVE, "alice", "x")
    assert found.is_trusted


@pytest.mark.parametrize("body", [ACTIVE, STANDBY, Ping()])
def test_nobody_else_is(body: Body) -> None:
    trust = Trust(ALICE)
    assert refusal(trust, body, by=None) is ErrorCode.NOT_SIGNED
    assert refusal(trust, body, by=STRANGER) is ErrorCode.BAD_SIGNATURE
    assert refusal(trust, body, topic="bot/config/set") is ErrorCode.BAD_SIGNATURE


def test_a_stranger_s_answer_says_little_and_takes_no_id() -> None:
    for by in (None, STRANGER):
        found = judged(Trust(ALICE), ACTIVE, by=by)
        assert found.parsed.body is None
        assert found.parsed.envelope == Envelope(id="x", source="me")
        assert found.kept == Envelope(source="me")


def test_unsigned_commands_that_take_risk_away_are_let_through_where_that_is_wanted() -> None:
    trust = Trust(ALICE, "reduce_risk")
    for body in (STANDBY, Flatten()):
        found = judged(trust, body, issued(-DAY), by=None)
        assert (found.parsed.body, found.is_trusted, found.parsed.signed_by) == (body, True, None)
        # It is nobody's: it neither takes a real command's id nor says that it is newer.
        assert found.kept == Envelope()
        assert found.parsed.envelope == Envelope(id="x")
    assert refusal(trust, ACTIVE, by=None) is ErrorCode.NOT_SIGNED
    assert refusal(trust, Ping(), by=None) is ErrorCode.NOT_SIGNED
    assert refusal(trust, STANDBY, by=STRANGER) is ErrorCode.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("body", "ago", "began", "code"),
    [
        (ACTIVE, 6 * DAY, 90 * DAY, None),
        (ACTIVE, 8 * DAY, 90 * DAY, ErrorCode.STALE_SIGNATURE),
        (Ping(), 8 * DAY, 90 * DAY, ErrorCode.STALE_SIGNATURE),
        # Less risk never expires, as far back as the journal knows all ids.
        (STANDBY, 89 * DAY, 90 * DAY, None),
        (Flatten(), 89 * DAY, 90 * DAY, None),
        (STANDBY, 91 * DAY, 90 * DAY, ErrorCode.STALE_SIGNATURE),
        # A journal that was lost knows nothing, and what waited in the broker still runs.
        (STANDBY, 6 * DAY, timedelta(0), None),
        (STANDBY, 8 * DAY, timedelta(0), ErrorCode.STALE_SIGNATURE),
        # A clock that is wrong by hours keeps nobody from stopping the bot.
        (STANDBY, -9 * DAY, 90 * DAY, None),
        (ACTIVE, -timedelta(minutes=59), 90 * DAY, None),
        (ACTIVE, -timedelta(minutes=61), 90 * DAY, ErrorCode.STALE_SIGNATURE),
    ],
)
def test_the_window(body: Body, ago: timedelta, began: timedelta, code: ErrorCode | None) -> None:
    trust = Trust(ALICE, window=7 * DAY)
    trust.remembers_since(NOW - began)
    assert refusal(trust, body, issued(ago)) is code


def test_before_the_journal_is_read_nothing_is_older_than_the_window() -> None:
    assert refusal(Trust(ALICE), STANDBY, issued(8 * DAY)) is ErrorCode.STALE_SIGNATURE


@pytest.mark.parametrize("envelope", [Envelope(), Envelope(id="x"), Envelope(issued_at=NOW)])
def test_what_is_signed_has_an_id_and_a_time(envelope: Envelope) -> None:
    assert refusal(Trust(ALICE), STANDBY, envelope) is ErrorCode.BAD_SIGNATURE


def test_what_is_signed_and_makes_no_sense_is_answered_as_such() -> None:
    address, _ = write(ACTIVE)
    parsed = read(address, ALICE.sign("bot/mode/set", b'{"value":"FAST","id":"x"}'))
    found = Trust(ALICE).judge(parsed, "bot/mode/set", NOW)
    assert found.is_trusted
    assert found.parsed.error is not None
    assert found.parsed.error.code is ErrorCode.BAD_VALUE


@pytest.mark.parametrize("unsigned", ["refuse", "reduce_risk"])
def test_of_a_flood_only_a_little_is_written_down_and_all_is_counted(unsigned: Unsigned) -> None:
    trust = Trust(ALICE, unsigned)
    forged, real = judged(trust, ACTIVE, by=STRANGER), judged(trust, ACTIVE)
    taken = sum(trust.takes(forged, "bot/mode/set", "h", NOW + n * timedelta(milliseconds=1)) for n in range(1000))
    assert taken == 20
    assert trust.counts == SignedCommands(unsigned=0, forged=1000, stale=0, replayed=0, dropped=980)
    assert trust.takes(real, "bot/mode/set", "r", NOW), "who may command is heard all the same"
    assert not trust.takes(real, "bot/mode/set", "r", NOW), "the very same again is a replay"
    hour = sum(trust.takes(forged, "bot/mode/set", "h", NOW + timedelta(seconds=n)) for n in range(1, 3601))
    assert hour == 360
    assert not trust.takes(forged, f"bot/request/{'x' * 300}", "h", NOW + timedelta(hours=2))
    assert trust.takes(judged(trust, ACTIVE, by=None), "bot/mode/set", "h", NOW + timedelta(hours=2))
    assert trust.takes(judged(trust, ACTIVE, issued(9 * DAY)), "bot/mode/set", "h", NOW + timedelta(hours=2))
    counts = trust.counts
    assert (counts.unsigned, counts.stale, counts.replayed) == (1, 1, 1)


def test_a_clock_that_goes_back_lets_nobody_starve() -> None:
    trust = Trust(ALICE)
    forged = judged(trust, ACTIVE, by=STRANGER)
    for n in range(30):
        trust.takes(forged, "bot/mode/set", "h", NOW - n * DAY)
    assert trust.takes(forged, "bot/mode/set", "h", NOW - 29 * DAY + timedelta(seconds=10))


def test_after_a_restart_it_is_known_again_who_signed() -> None:
    address, payload = write(ACTIVE, Envelope(id="x", issued_at=NOW))
    parsed = read(address, ALICE.sign("bot/mode/set", payload))
    assert Trust(ALICE).signer_of(parsed, "bot/mode/set") == "alice"
    assert Trust(STRANGER).signer_of(parsed, "bot/mode/set") is None
    assert Trust(None).signer_of(parsed, "bot/mode/set") is None
    assert Trust(ALICE).signer_of(read(address, payload), "bot/mode/set") is None
