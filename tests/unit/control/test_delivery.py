"""The delivery rules, section by section, on the real inbox, dispatcher and journal."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from allora_mqtt.control.dispatcher import Accepted
from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.protocol.commands import Flatten, Mode, Ping, SetConfig, SetMode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.messages import Response
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.journal import Changes, Incoming, Recorded
from tests.unit.control.bench import Bench, Clock, life

MODE = "bot/mode/set"


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_command_is_acknowledged_only_when_it_is_on_disk(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        hold = threading.Event()
        blocked = bench.database.submit(lambda _connection: hold.wait(5))
        bench.deliver(MODE, "ACTIVE", packet_id=7)
        await asyncio.sleep(0.05)
        assert bench.acknowledged == []
        hold.set()
        assert await bench.outcomes(1) == ["EXECUTED"]
        assert bench.acknowledged == [7]
        assert blocked.done()


async def test_a_crash_before_the_acknowledgement_lets_the_command_run_once(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.wire.acknowledges = False
        first.deliver(MODE, "ACTIVE", packet_id=5)
        await first.outcomes(1)
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", packet_id=5, again=True)
        second.mailbox_read()
        await second.quiet()
        assert second.acknowledged == [5]
        assert second.handlers.ran == []
        assert second.mode() is Mode.STANDBY


async def test_the_same_bytes_with_a_free_packet_identifier_are_a_new_command(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.deliver("bot/request/ping", "", packet_id=5)
        await bench.outcomes(1)
        await bench.quiet()
        bench.deliver("bot/request/ping", "", packet_id=5)
        assert await bench.outcomes(2) == ["EXECUTED", "EXECUTED"]


async def test_packet_identifiers_of_a_lost_session_mean_nothing(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.wire.acknowledges = False
        first.deliver(MODE, "ACTIVE", packet_id=1)
        await first.outcomes(1)
    async with life(tmp_path, clock) as second:
        second.connect(resumed=False)
        second.deliver(MODE, "ACTIVE", packet_id=1)
        second.mailbox_read()
        assert await second.outcomes(1) == ["EXECUTED"]


async def test_a_reused_packet_identifier_is_a_new_command_even_before_its_answer_is_acknowledged(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.wire.acknowledges = False
        bench.deliver("bot/request/ping", "", packet_id=5)
        await bench.outcomes(1)
        bench.deliver("bot/request/ping", "", packet_id=5)
        assert await bench.outcomes(2) == ["EXECUTED", "EXECUTED"]


async def test_a_redelivery_in_a_later_session_is_not_mistaken_for_a_packet_of_a_lost_one(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.wire.acknowledges = False
        first.deliver("bot/request/ping", "", packet_id=1)
        await first.outcomes(1)
    async with life(tmp_path, clock) as second:
        second.online(resumed=False)
        # Sent in the new session, cut off before it was read, and sent again.
        second.online()
        second.deliver("bot/request/ping", "", packet_id=1, again=True)
        assert await second.outcomes(1) == ["EXECUTED"]


async def test_a_redelivery_without_the_dup_flag_is_known_at_the_head_of_a_session(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.wire.acknowledges = False
        bench.deliver("bot/request/ping", "", packet_id=3)
        await bench.outcomes(1)
        bench.online()
        bench.deliver("bot/request/ping", "", packet_id=3)
        await bench.quiet()
        assert len(bench.handlers.ran) == 1


async def test_a_redelivery_while_the_disk_is_still_busy_is_acknowledged_once_and_runs_once(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        release = threading.Event()
        bench.database.submit(lambda _connection: release.wait(5))
        bench.deliver("bot/request/ping", "", packet_id=4)
        bench.online()
        bench.deliver("bot/request/ping", "", packet_id=4, again=True)
        await asyncio.sleep(0.05)
        assert bench.acknowledged == []
        release.set()
        await bench.outcomes(1)
        await bench.quiet()
        assert bench.acknowledged == [4]
        assert len(bench.handlers.ran) == 1


async def test_an_answer_that_was_sent_again_frees_the_packet_identifier(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.wire.acknowledges = False
        first.deliver("bot/request/ping", "", packet_id=9)
        await first.outcomes(1)
    async with life(tmp_path, clock) as second:
        second.online()
        await second.dispatcher.republish_answers()
        await second.quiet()
        second.online()
        second.deliver("bot/request/ping", "", packet_id=9, again=True)
        assert await second.outcomes(2) == ["EXECUTED", "EXECUTED"]
        assert len(second.handlers.ran) == 1


async def test_what_waited_runs_in_its_order_though_only_some_of_it_raises_risk(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect()
        bench.deliver("bot/cryptos/BTC/set", "ON")
        bench.deliver("bot/cryptos/BTC/set", "OFF")
        await bench.quiet()
        bench.mailbox_read()
        await bench.outcomes(2)
        assert dict(bench.dispatcher.desired.active) == {}


async def test_standby_blocks_entries_though_the_disk_takes_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock, default_mode=DefaultMode.ACTIVE) as bench:
        bench.online()

        def refuse(_incoming: Incoming, _place: int) -> asyncio.Future[Recorded]:
            refused: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
            refused.set_exception(BotError(ErrorCode.STORE_UNAVAILABLE, "The disk is full."))
            return refused

        store = bench.journal.record
        monkeypatch.setattr(bench.journal, "record", refuse)
        bench.deliver("bot/request/ping", {"id": "first in line"})
        bench.deliver(MODE, "STANDBY", packet_id=8)
        await asyncio.sleep(0.05)
        assert bench.handlers.prepared == [SetMode(value=Mode.STANDBY)]
        assert bench.acknowledged == []
        monkeypatch.setattr(bench.journal, "record", store)
        assert sorted(await bench.outcomes(2)) == ["EXECUTED", "EXECUTED"]
        assert bench.mode() is Mode.STANDBY


async def test_what_came_before_a_standby_that_waits_for_the_disk_opens_the_gate_no_more(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock, default_mode=DefaultMode.ACTIVE) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver("bot/config/tp_ratio/set", "2")
        await bench.quiet()
        await _refuse(bench, "INSERT")
        bench.deliver(MODE, "STANDBY")
        await bench.quiet()
        bench.handlers.hold.set()
        assert await bench.outcomes(1) == ["EXECUTED"]
        assert (bench.mode(), bench.handlers.trading[-1]) == (Mode.ACTIVE, False)
        await _accept(bench)
        assert await bench.outcomes(2) == ["EXECUTED", "EXECUTED"]
        assert bench.mode() is Mode.STANDBY
        bench.deliver(MODE, "ACTIVE")
        await bench.outcomes(3)
        assert bench.handlers.trading[-1] is True


async def test_a_standby_sent_twice_while_the_disk_was_full_keeps_the_gate_closed_no_longer_than_it_must(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        await _refuse(bench, "INSERT")
        for _ in range(2):
            bench.deliver(MODE, {"value": "STANDBY", "id": "a"})
        await bench.quiet()
        await _accept(bench)
        assert sorted(await bench.outcomes(2)) == ["DUPLICATE", "EXECUTED"]
        bench.deliver(MODE, "ACTIVE")
        await bench.outcomes(3)
        assert bench.handlers.trading[-1] is True


async def test_a_command_whose_end_cannot_be_stored_waits_and_runs_once(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        await _refuse(bench, "UPDATE")
        bench.deliver("bot/config/tp_ratio/set", "2")
        bench.deliver("bot/config/tp_ratio/set", "3")
        await bench.quiet()
        assert bench.responses() == []
        assert bench.dispatcher.desired.settings.tp_ratio != 2
        await _accept(bench)
        assert await bench.outcomes(2) == ["EXECUTED", "EXECUTED"]
        assert [body.value for body in bench.handlers.ran if isinstance(body, SetConfig)] == [
            {"tp_ratio": "2"},
            {"tp_ratio": "3"},
        ]
        assert bench.dispatcher.desired.settings.tp_ratio == 3
        assert await bench.journal.unfinished() == []


async def _refuse(bench: Bench, verb: str) -> None:
    body = "BEGIN SELECT RAISE(ABORT, 'full'); END"
    await bench.database.write(
        lambda connection: connection.exec_driver_sql(f"CREATE TRIGGER full BEFORE {verb} ON bot_commands {body}")
    )


async def _accept(bench: Bench) -> None:
    await bench.database.write(lambda connection: connection.exec_driver_sql("DROP TRIGGER full"))


async def test_an_id_runs_once_for_ever_and_the_first_outcome_comes_back(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.deliver(MODE, {"value": "ACTIVE", "id": "a"})
        await first.outcomes(1)
    async with life(tmp_path, clock) as second:
        second.online()
        second.deliver(MODE, {"value": "ACTIVE", "id": "a"})
        assert await second.outcomes(1) == ["DUPLICATE"]
        assert second.responses()[0]["data"]["first"]["status"] == "EXECUTED"
        assert second.mode() is Mode.STANDBY


async def test_what_was_journaled_and_not_run_is_resumed_after_a_crash(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.handlers.hold = asyncio.Event()
        first.deliver(MODE, {"value": "ACTIVE", "id": "late", "source": "me"})
        first.deliver("bot/request/ping", {"id": "p"})
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        # The ping was not begun, so it runs; the mode was being set, which can be done again.
        assert await second.outcomes(2) == ["EXECUTED", "EXECUTED"]
        assert {response["id"] for response in second.responses()} == {"late", "p"}
        assert second.mode() is Mode.ACTIVE


async def test_a_query_that_was_running_at_the_crash_is_answered_after_it(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.handlers.hold = asyncio.Event()
        first.deliver("bot/request/trades", {"id": "x"})
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        assert await second.outcomes(1) == ["EXECUTED"]


def dies_before(_accepted: Accepted) -> None:
    """Stands where a command is handed on, for a bot that dies between that and the journal."""


async def test_a_duplicate_that_had_not_ended_at_the_crash_is_still_a_duplicate(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.deliver("bot/request/ping", {"id": "a"})
        await first.outcomes(1)
        first.handlers.hold = asyncio.Event()
        first.deliver("bot/request/reset_breaker", {"id": "blocks"})
        await first.quiet()
        monkeypatch.setattr(first.dispatcher, "submit", dies_before)
        first.deliver("bot/request/ping", {"id": "a"})
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        assert await second.outcomes(2) == ["FAILED", "DUPLICATE"]
        assert second.handlers.ran == []


@pytest.mark.parametrize(
    ("payload", "retained", "code"), [(b" " * 70_000, False, "TOO_LARGE"), (b"PRESS", True, "RETAINED_ACTION")]
)
async def test_what_was_refused_when_it_came_is_refused_after_a_crash(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, payload: bytes, code: str, *, retained: bool
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.handlers.hold = asyncio.Event()
        first.deliver("bot/request/reset_breaker", {"id": "blocks"})
        await first.quiet()
        monkeypatch.setattr(first.dispatcher, "submit", dies_before)
        first.deliver("bot/request/flatten", payload, retained=retained)
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        assert await second.outcomes(2) == ["FAILED", code]
        assert second.handlers.ran == []


async def test_what_mqtt_5_properties_said_is_known_after_a_crash(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.handlers.hold = asyncio.Event()
        first.deliver(MODE, "ACTIVE", correlation=b"c-1", properties=(("source", "panel"),))
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        await second.outcomes(1)
        assert (second.responses()[0]["id"], second.responses()[0]["source"]) == ("c-1", "panel")


async def test_an_action_that_was_running_at_the_crash_is_not_run_twice(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.handlers.hold = asyncio.Event()
        first.deliver("bot/request/reset_breaker", {"id": "x"})
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        assert await second.outcomes(1) == ["FAILED"]
        assert second.responses()[0]["error"]["code"] == "INTERRUPTED"
        assert second.handlers.ran == []


async def test_answers_the_broker_may_not_have_are_sent_again(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.wire.is_up = False
        first.deliver(MODE, {"value": "ACTIVE", "id": "a"})
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        await second.dispatcher.republish_answers()
        assert [response["id"] for response in second.responses()] == ["a"]
        await second.quiet()
    async with life(tmp_path, clock) as third:
        await third.dispatcher.republish_answers()
        assert third.responses() == []


async def test_an_answer_on_its_way_is_not_sent_a_second_time(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.wire.acknowledges = False
        bench.deliver(MODE, {"value": "ACTIVE", "id": "a"})
        await bench.outcomes(1)
        await bench.dispatcher.republish_answers()
        assert [response["id"] for response in bench.responses()] == ["a"]


# retained commands


async def test_a_retained_command_runs_once_and_its_mailbox_is_emptied(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect(resumed=False)
        bench.deliver(MODE, "ACTIVE", retained=True)
        bench.mailbox_read()
        assert await bench.outcomes(1) == ["EXECUTED"]
        await bench.quiet()
        assert bench.wire.on(MODE) == [b""]
        assert [sent.retain for sent in bench.wire.sent if sent.topic == MODE] == [True]


async def test_the_same_retained_command_seen_again_is_no_command_but_is_cleared_again(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.connect(resumed=False)
        first.deliver(MODE, "ACTIVE", retained=True)
        first.mailbox_read()
        await first.outcomes(1)
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        await second.quiet()
        assert second.handlers.ran == []
        assert second.wire.on(MODE) == [b""]


async def test_queued_and_retained_twins_end_in_one_execution(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect()
        bench.deliver(MODE, "ACTIVE")
        await bench.quiet()
        bench.deliver(MODE, "ACTIVE", retained=True)
        bench.mailbox_read()
        assert await bench.outcomes(1) == ["EXECUTED"]
        await bench.quiet()
        assert bench.handlers.ran == [SetMode(value=Mode.ACTIVE)]


async def test_twins_are_known_even_when_they_come_in_one_breath(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect()
        bench.deliver(MODE, "ACTIVE")
        bench.deliver(MODE, "ACTIVE", retained=True)
        bench.mailbox_read()
        await bench.outcomes(1)
        await bench.quiet()
        assert bench.handlers.ran == [SetMode(value=Mode.ACTIVE)]
        assert bench.wire.on(MODE) == [b""]


async def test_a_command_that_came_before_the_echo_of_a_clear_leaves_no_fingerprint(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.deliver(MODE, "STANDBY")
        await first.outcomes(1)
        first.deliver(MODE, "ACTIVE")  # the broker has it before our clear, which therefore removes it there
        first.deliver(MODE, "")
        await first.outcomes(2)
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        assert await second.outcomes(1) == ["EXECUTED"]


async def test_once_the_clear_came_back_the_same_bytes_are_a_new_command(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.connect(resumed=False)
        first.deliver(MODE, "ACTIVE", retained=True)
        first.mailbox_read()
        await first.outcomes(1)
        first.deliver(MODE, "")  # the echo of the clear
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        assert await second.outcomes(1) == ["EXECUTED"]
        assert second.mode() is Mode.ACTIVE


async def test_a_clear_does_not_wipe_out_a_newer_command_that_waits(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver("bot/config/price_gap_pct/set", "0.4")
        bench.deliver("bot/config/price_gap_pct/set", "0.5")
        await bench.quiet()
        bench.handlers.hold.set()
        await bench.outcomes(2)
        await bench.quiet()
        clears = bench.wire.on("bot/config/price_gap_pct/set")
        assert clears == [b""]
        assert bench.dispatcher.desired.settings.price_gap_pct == pytest.approx(0.5)


async def test_without_clearing_the_fingerprint_alone_keeps_it_from_running_again(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, clear=False) as first:
        first.connect(resumed=False)
        first.deliver(MODE, "ACTIVE", retained=True)
        first.mailbox_read()
        await first.outcomes(1)
        assert first.wire.on(MODE) == []
    async with life(tmp_path, clock, clear=False) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        await second.quiet()
        assert second.handlers.ran == []


async def test_a_retained_action_is_refused_cleared_and_its_clear_is_no_press(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.deliver("bot/request/flatten", "PRESS", retained=True)
        assert await bench.outcomes(1) == ["RETAINED_ACTION"]
        await bench.quiet()
        assert bench.wire.on("bot/request/flatten") == [b""]
        bench.deliver("bot/request/flatten", "")  # the echo of the clear, as 3.1.1 delivers it
        await bench.quiet()
        assert bench.handlers.ran == []
        bench.deliver("bot/request/flatten", "")
        assert (await bench.outcomes(2))[-1] == "EXECUTED"
        assert bench.handlers.ran == [Flatten()]


# never backwards


async def test_the_sequence_measured_on_mosquitto_ends_in_standby(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.connect(resumed=False)
        first.deliver(MODE, "ACTIVE", retained=True)
        first.mailbox_read()
        await first.outcomes(1)
        first.connect()
        first.deliver(MODE, "STANDBY")
        await first.outcomes(2)
        first.deliver(MODE, "ACTIVE", retained=True)
        first.mailbox_read()
        await first.quiet()
        assert first.mode() is Mode.STANDBY
        assert first.handlers.trading[-1] is False


async def test_an_unseen_retained_active_beside_a_queued_standby_is_ambiguous(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, default_mode=DefaultMode.ACTIVE) as bench:
        bench.connect()
        bench.deliver(MODE, "STANDBY")
        bench.deliver(MODE, "ACTIVE", retained=True)
        bench.mailbox_read()
        assert await bench.outcomes(2) == ["EXECUTED", "AMBIGUOUS_ORDER"]
        assert bench.mode() is Mode.STANDBY


async def test_a_queued_active_beside_an_unseen_retained_standby_is_ambiguous_too(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect()
        bench.deliver(MODE, "ACTIVE")
        bench.deliver(MODE, "STANDBY", retained=True)
        bench.mailbox_read()
        assert sorted(await bench.outcomes(2)) == ["AMBIGUOUS_ORDER", "EXECUTED"]
        assert bench.mode() is Mode.STANDBY
        assert SetMode(value=Mode.ACTIVE) not in bench.handlers.ran


@pytest.mark.parametrize(("retained_is_newer", "ends_in"), [(True, Mode.ACTIVE), (False, Mode.STANDBY)])
async def test_issue_times_decide_where_both_senders_say_them(
    tmp_path: Path, clock: Clock, ends_in: Mode, *, retained_is_newer: bool
) -> None:
    older, newer = rfc3339(clock()), rfc3339(clock() + timedelta(seconds=2))
    retained_at, queued_at = (newer, older) if retained_is_newer else (older, newer)
    async with life(tmp_path, clock) as bench:
        bench.connect()
        bench.deliver(MODE, {"value": "STANDBY", "issued_at": queued_at})
        bench.deliver(MODE, {"value": "ACTIVE", "issued_at": retained_at}, retained=True)
        bench.mailbox_read()
        await bench.outcomes(2)
        assert bench.mode() is ends_in


async def test_a_command_from_the_year_9999_does_not_supersede_those_of_tomorrow(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.deliver(MODE, {"value": "STANDBY", "issued_at": "9999-12-31T23:59:59Z"})
        bench.deliver(MODE, {"value": "ACTIVE", "issued_at": rfc3339(clock() + timedelta(hours=1))})
        assert await bench.outcomes(2) == ["EXECUTED", "SUPERSEDED"]
        bench.deliver(MODE, {"value": "ACTIVE", "issued_at": rfc3339(clock() + timedelta(hours=25))})
        assert await bench.outcomes(3) == ["EXECUTED", "SUPERSEDED", "EXECUTED"]


async def test_a_late_active_issued_before_a_standby_that_ran_is_superseded(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        early = rfc3339(clock())
        clock.advance(60)
        bench.deliver(MODE, {"value": "STANDBY", "issued_at": rfc3339(clock())})
        await bench.outcomes(1)
        bench.deliver(MODE, {"value": "ACTIVE", "issued_at": early})
        assert await bench.outcomes(2) == ["EXECUTED", "SUPERSEDED"]
        assert bench.mode() is Mode.STANDBY


async def test_a_late_active_does_not_undo_a_standby_that_said_no_time(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        early = rfc3339(clock())
        clock.advance(60)
        bench.deliver(MODE, "STANDBY")
        await bench.outcomes(1)
        bench.deliver(MODE, {"value": "ACTIVE", "issued_at": early})
        assert (await bench.outcomes(2))[1] == "SUPERSEDED"


async def _end_while_unsettled(bench: Bench, *commands: tuple[str, bool]) -> None:
    """Deliver commands before the mailbox has been read to its end, and let urgent ones run."""
    bench.connect()
    for payload, retained in commands:
        bench.deliver(MODE, payload, retained=retained)
    await bench.quiet()


async def test_a_standby_that_ran_before_a_crash_still_stands_against_the_mailbox(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        await _end_while_unsettled(first, ("STANDBY", False))
        assert await first.outcomes(1) == ["EXECUTED"]
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        assert await second.outcomes(1) == ["AMBIGUOUS_ORDER"]
        assert second.mode() is Mode.STANDBY


async def test_a_standby_that_did_not_run_before_a_crash_stands_against_the_mailbox(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock) as first:
        monkeypatch.setattr(first.dispatcher, "submit", lambda _accepted: None)
        await _end_while_unsettled(first, ("STANDBY", False))
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        assert sorted(await second.outcomes(2)) == ["AMBIGUOUS_ORDER", "EXECUTED"]
        assert second.mode() is Mode.STANDBY


async def test_a_standby_whose_gate_was_slow_stands_against_the_mailbox_after_a_crash(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock) as first:

        async def still_on_its_way(_body: object) -> BotError:
            return BotError(ErrorCode.INTERNAL, "An order was on its way.")

        monkeypatch.setattr(first.handlers, "prepare", still_on_its_way)
        await _end_while_unsettled(first, ("STANDBY", False))
        assert await first.outcomes(1) == ["FAILED"]
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        assert await second.outcomes(1) == ["AMBIGUOUS_ORDER"]


@pytest.mark.parametrize("issued", [False, True])
async def test_a_refusal_decided_before_a_crash_is_the_answer_after_it(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, issued: bool
) -> None:
    early, late = rfc3339(clock()), rfc3339(clock() + timedelta(seconds=1))
    async with life(tmp_path, clock) as first:
        first.connect()
        first.deliver(MODE, {"value": "STANDBY"} | ({"issued_at": late} if issued else {}))
        await first.outcomes(1)
        first.deliver(MODE, {"value": "ACTIVE"} | ({"issued_at": early} if issued else {}), retained=True)
        await first.quiet()
        monkeypatch.setattr(first.dispatcher, "submit", lambda _accepted: None)
        first.mailbox_read()
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        await second.outcomes(1)
        response = second.responses()[0]
        told = (response["status"], response["error"]["code"])
        assert told == (("SUPERSEDED", "SUPERSEDED") if issued else ("REJECTED", "AMBIGUOUS_ORDER"))
        assert second.handlers.ran == []


async def test_what_was_settled_does_not_stand_against_what_is_sent_later(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        await _end_while_unsettled(first, ("STANDBY", False))
        first.mailbox_read()
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        assert await second.outcomes(1) == ["EXECUTED"]


async def test_the_end_of_what_waited_on_a_lost_connection_says_nothing_of_the_next(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect()
        release = threading.Event()
        bench.database.submit(lambda _connection: release.wait(5))
        bench.deliver("bot/request/ping", "")
        bench.mailbox_read()
        await asyncio.sleep(0)
        bench.connect()
        release.set()
        await bench.quiet()
        bench.deliver(MODE, "STANDBY")
        bench.deliver(MODE, "ACTIVE", retained=True)
        await bench.quiet()
        bench.mailbox_read()
        assert await bench.outcomes(3) == ["EXECUTED", "EXECUTED", "AMBIGUOUS_ORDER"]
        assert bench.mode() is Mode.STANDBY


async def test_an_echo_told_again_does_not_forget_what_came_after_it(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.wire.acknowledges = False
        bench.deliver(MODE, "", packet_id=5)
        bench.deliver(MODE, "ACTIVE", packet_id=6)
        await bench.outcomes(1)
        bench.connect()
        bench.deliver(MODE, "", packet_id=5, again=True)
        bench.deliver(MODE, "ACTIVE", packet_id=6, again=True)
        bench.deliver(MODE, "ACTIVE", retained=True)
        bench.mailbox_read()
        await bench.quiet()
        assert bench.handlers.ran == [SetMode(value=Mode.ACTIVE)]


async def test_a_mailbox_is_not_emptied_before_it_has_been_read(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect()
        bench.deliver(MODE, "STANDBY")
        await bench.outcomes(1)
        await bench.quiet()
        assert bench.wire.on(MODE) == []
        bench.mailbox_read()
        await bench.quiet()
        assert bench.wire.on(MODE) == [b""]


# start and age


async def test_a_command_that_ran_does_not_run_again_at_start_and_one_that_did_not_does(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.deliver(MODE, "ACTIVE")
        await first.outcomes(1)
    async with life(tmp_path, clock) as second:
        assert second.mode() is Mode.STANDBY
        second.connect()
        second.deliver(MODE, {"value": "ACTIVE", "id": "while away"})
        await second.quiet()
        assert second.mode() is Mode.STANDBY  # the mailbox might still hold a STANDBY
        second.mailbox_read()
        await second.outcomes(1)
        assert second.mode() is Mode.ACTIVE
    async with life(tmp_path, clock, default_mode=DefaultMode.LAST) as third:
        assert third.mode() is Mode.ACTIVE


@pytest.mark.parametrize(
    ("rule", "age_s", "expected"),
    [
        ("run", 3600, "EXECUTED"),
        ("fresh", 10, "EXECUTED"),
        ("fresh", 61, "STALE_ACTIVATION"),
        ("reject", 1, "STALE_ACTIVATION"),
    ],
)
async def test_activations_that_waited_follow_the_rule_that_is_set(
    tmp_path: Path, clock: Clock, rule: str, age_s: float, expected: str
) -> None:
    policy = WaitingPolicy(rule, 60)  # type: ignore[arg-type]  # parametrized
    async with life(tmp_path, clock, policy=policy) as bench:
        issued = rfc3339(clock())
        clock.advance(age_s)
        bench.connect()
        bench.deliver(MODE, {"value": "ACTIVE", "issued_at": issued})
        bench.mailbox_read()
        assert await bench.outcomes(1) == [expected]


async def test_the_rule_for_waiting_activations_leaves_standby_alone(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, policy=WaitingPolicy("reject", 60)) as bench:
        bench.connect()
        bench.deliver(MODE, "STANDBY")
        assert await bench.outcomes(1) == ["EXECUTED"]


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        (MODE, {"value": "ACTIVE"}, "EXPIRED"),
        (MODE, {"value": "STANDBY"}, "EXECUTED"),
        (MODE, {"value": "STOPPED"}, "EXECUTED"),
        ("bot/cryptos/BTC/set", {"value": "ON"}, "EXPIRED"),
        ("bot/cryptos/BTC/set", {"value": "OFF"}, "EXECUTED"),
        ("bot/request/activate", {"symbol": "BTC"}, "EXPIRED"),
        ("bot/config/set", {"value": {"max_leverage": 5}}, "EXPIRED"),
        ("bot/config/set", {"value": {"max_leverage": 1}}, "EXECUTED"),
        ("bot/request/flatten", {}, "EXECUTED"),
        ("bot/request/close", {"symbol": "BTC"}, "EXECUTED"),
        ("bot/request/ping", {}, "EXPIRED"),
    ],
)
async def test_more_risk_expires_and_less_risk_never_does(
    tmp_path: Path, clock: Clock, topic: str, payload: dict[str, object], expected: str
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        expired = rfc3339(clock() - timedelta(seconds=1))
        bench.deliver(topic, {**payload, "expires_at": expired})
        assert await bench.outcomes(1) == [expected]


async def test_message_expiry_of_mqtt_5_counts_from_the_arrival(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver("bot/request/ping", "")
        bench.deliver(MODE, "ACTIVE", expires_in_s=30)
        await bench.quiet()
        clock.advance(31)
        bench.handlers.hold.set()
        assert await bench.outcomes(2) == ["EXECUTED", "EXPIRED"]


# lanes


@pytest.mark.parametrize("urgent", ["STANDBY", "STOPPED"])
async def test_standby_and_stopped_overtake_a_thousand_commands_and_one_that_hangs(
    tmp_path: Path, clock: Clock, urgent: str
) -> None:
    async with life(tmp_path, clock, default_mode=DefaultMode.ACTIVE) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        for _ in range(1000):
            bench.deliver("bot/request/ping", "")
        bench.deliver(MODE, urgent)
        async with asyncio.timeout(5):
            while not bench.responses():
                await asyncio.sleep(0.01)
        assert bench.responses()[0]["data"] == {"mode": urgent}
        assert bench.mode() is Mode(urgent)
        assert bench.handlers.ran == [SetMode(value=Mode(urgent))]


async def test_an_active_that_was_overtaken_by_standby_is_superseded(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver("bot/request/ping", {"id": "blocks"})
        bench.deliver(MODE, {"value": "ACTIVE", "id": "overtaken"})
        bench.deliver(MODE, {"value": "STANDBY", "id": "urgent"})
        await bench.outcomes(1)
        bench.handlers.hold.set()
        await bench.outcomes(3)
        statuses = {response["id"]: response["status"] for response in bench.responses()}
        assert statuses == {"blocks": "EXECUTED", "overtaken": "SUPERSEDED", "urgent": "EXECUTED"}
        assert True not in bench.handlers.trading


async def test_an_active_that_is_being_run_when_standby_comes_never_opens_the_gate(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver(MODE, {"value": "ACTIVE", "id": "running"})
        await bench.quiet()
        bench.deliver(MODE, {"value": "STANDBY", "id": "urgent"})
        await bench.outcomes(1)
        bench.handlers.hold.set()
        await bench.outcomes(2)
        assert bench.mode() is Mode.STANDBY
        assert True not in bench.handlers.trading


async def test_a_standby_that_comes_while_an_active_is_being_stored_keeps_the_gate_closed(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        store = bench.journal.finish

        async def finish(seq: int, response: Response, changes: Changes) -> None:
            await store(seq, response, changes)
            if response.id == "first":
                bench.deliver(MODE, {"value": "STANDBY", "id": "urgent"})
                await bench.quiet()

        monkeypatch.setattr(bench.journal, "finish", finish)
        bench.deliver(MODE, {"value": "ACTIVE", "id": "first"})
        await bench.outcomes(2)
        assert bench.mode() is Mode.STANDBY
        assert True not in bench.handlers.trading


async def test_a_flatten_that_fails_leaves_the_bot_in_standby_all_the_same(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, default_mode=DefaultMode.ACTIVE) as bench:
        bench.online()
        bench.handlers.fail = BotError(ErrorCode.EXCHANGE_UNREACHABLE, "It does not answer.")
        bench.deliver("bot/request/flatten", "")
        assert await bench.outcomes(1) == ["FAILED"]
        assert bench.responses()[0]["error"]["code"] == "EXCHANGE_UNREACHABLE"
        assert bench.mode() is Mode.STANDBY
        assert bench.handlers.trading[-1] is False


async def test_an_active_that_a_failed_flatten_overtook_does_not_run_after_it(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver("bot/request/ping", {"id": "blocks"})
        bench.deliver(MODE, {"value": "ACTIVE", "id": "overtaken"})
        bench.handlers.fail = BotError(ErrorCode.EXCHANGE_UNREACHABLE, "It does not answer.")
        bench.deliver("bot/request/flatten", {"id": "failed"})
        await bench.outcomes(1)
        bench.handlers.fail = None
        bench.handlers.hold.set()
        await bench.outcomes(3)
        statuses = {response["id"]: response["status"] for response in bench.responses()}
        assert statuses == {"blocks": "EXECUTED", "overtaken": "SUPERSEDED", "failed": "FAILED"}
        assert bench.mode() is Mode.STANDBY


async def test_an_active_sent_after_standby_runs(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        for mode in ("ACTIVE", "STANDBY", "ACTIVE"):
            bench.deliver(MODE, mode)
        await bench.outcomes(3)
        assert bench.mode() is Mode.ACTIVE
        assert bench.handlers.trading[-1] is True


async def test_everything_else_runs_in_the_order_of_arrival(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        gaps = [f"{0.1 + index / 100:.2f}" for index in range(50)]
        for gap in gaps:
            bench.deliver("bot/config/price_gap_pct/set", gap)
        await bench.outcomes(50)
        assert [body.value for body in bench.handlers.ran if isinstance(body, SetConfig)] == [
            {"price_gap_pct": gap} for gap in gaps
        ]


# answers


async def test_the_answer_carries_what_the_sender_said(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.deliver(MODE, {"value": "ACTIVE", "id": "x", "source": "cli:alice", "transaction": {"n": [1]}})
        await bench.outcomes(1)
        response = bench.responses()[0]
        assert (response["id"], response["source"], response["transaction"]) == ("x", "cli:alice", {"n": [1]})
        assert response["revision"] == bench.dispatcher.desired.revision


async def test_mqtt_5_properties_fill_in_what_the_payload_does_not_say(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.deliver(
            MODE,
            {"value": "ACTIVE", "source": "payload"},
            response_topic="my/answers",
            correlation=b"c-1",
            properties=(("source", "property"),),
        )
        await bench.outcomes(1)
        response = bench.responses()[0]
        assert (response["id"], response["source"]) == ("c-1", "payload")
        assert len(bench.wire.on("my/answers")) == 1


@pytest.mark.parametrize("topic", ["", "a/#", "a/+/b", "$SYS/x", "a\0b", "bot/mode/set", "bot/mode"])
async def test_an_answer_does_not_go_where_a_sender_must_not_send_the_bot(
    tmp_path: Path, clock: Clock, topic: str
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.deliver("bot/request/ping", "", response_topic=topic)
        await bench.outcomes(1)
        await bench.quiet()
        assert bench.wire.on(topic) == []


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        (MODE, b"\xff\xfe", "BAD_JSON"),
        (MODE, '{"value":', "BAD_JSON"),
        (MODE, "FASTER", "BAD_VALUE"),
        (MODE, b"A" * 70_000, "TOO_LARGE"),
        ("bot/request/dance", "", "UNSUPPORTED_ACTION"),
        ("bot/request/close", "", "BAD_VALUE"),
    ],
)
async def test_bad_input_is_answered_with_a_code_and_changes_nothing(
    tmp_path: Path, clock: Clock, topic: str, payload: str | bytes, code: str
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        before = bench.dispatcher.desired
        bench.deliver(topic, payload)
        assert await bench.outcomes(1) == [code]
        assert bench.dispatcher.desired == before
        assert bench.handlers.ran == []


async def test_a_fault_of_our_own_is_answered_and_the_next_command_runs(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.fail = ZeroDivisionError("oops")
        bench.deliver("bot/request/ping", "")
        assert await bench.outcomes(1) == ["FAILED"]
        assert bench.responses()[0]["error"]["code"] == "INTERNAL"
        bench.handlers.fail = BotError(ErrorCode.EXCHANGE_UNREACHABLE, "It does not answer.")
        bench.deliver("bot/request/ping", "")
        assert await bench.outcomes(2) == ["FAILED", "FAILED"]
        bench.handlers.fail = None
        bench.deliver("bot/request/ping", "")
        assert (await bench.outcomes(3))[-1] == "EXECUTED"
        assert bench.handlers.ran == [Ping()]


async def test_the_revision_rises_with_each_change_and_survives_a_restart(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        start = first.dispatcher.desired.revision
        first.deliver(MODE, "ACTIVE")
        first.deliver("bot/cryptos/BTC/set", "ON")
        first.deliver("bot/cryptos/BTC/set", "ON")
        first.deliver("bot/config/price_gap_pct/set", "0.5")
        await first.outcomes(4)
        assert first.dispatcher.desired.revision == start + 3
    async with life(tmp_path, clock) as second:
        assert second.dispatcher.desired.revision == start + 4
        assert dict(second.dispatcher.desired.active) == {"BTC": 14}
        assert str(second.dispatcher.desired.settings.price_gap_pct) == "0.5"


async def test_what_is_no_command_is_answered_while_another_runs_and_does_not_wait(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.deliver("bot/request/ping", {"id": "ended"})
        await bench.outcomes(1)
        bench.handlers.hold = asyncio.Event()
        bench.deliver("bot/request/ping", {"id": "runs"})
        for _ in range(300):
            bench.deliver("bot/mode/set", "active!")
        bench.deliver("bot/request/ping", {"id": "ended"})
        bench.deliver("bot/request/ping", {"id": "runs"})
        assert sorted(set(await bench.outcomes(302))) == ["BAD_VALUE", "DUPLICATE", "EXECUTED"]
        bench.handlers.hold.set()
        await bench.outcomes(304)
        # The repetition of the one that ran has waited to say how it ended.
        firsts = [each["data"]["first"]["status"] for each in bench.responses() if each["status"] == "DUPLICATE"]
        assert firsts == ["EXECUTED", "EXECUTED"]


async def test_commands_that_wait_have_a_bound_in_bytes_too(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.control.dispatcher._MAX_WAITING_BYTES", 100)
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver("bot/request/ping", "")
        await bench.quiet()
        for number in range(3):
            bench.deliver("bot/request/history", {"id": f"{number}", "transaction": "x" * 20})
        bench.deliver("bot/mode/set", "STANDBY")
        assert sorted(await bench.outcomes(2)) == ["EXECUTED", "OVERLOADED"]
        bench.handlers.hold.set()
        assert sorted(await bench.outcomes(5)) == ["EXECUTED"] * 4 + ["OVERLOADED"]
        bench.deliver("bot/request/ping", "")
        assert sorted(await bench.outcomes(6)) == ["EXECUTED"] * 5 + ["OVERLOADED"]


async def test_commands_that_the_disk_does_not_take_are_left_with_the_broker_beyond_a_bound(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.control.inbox._MAX_WAITING_BYTES", 100)
    async with life(tmp_path, clock) as bench:
        bench.online()
        first = [bench.deliver("bot/request/ping", {"transaction": "x" * 100}) for _ in range(3)]
        await bench.outcomes(1)
        await bench.quiet()
        assert bench.acknowledged == first[:1]
        again = bench.deliver("bot/request/ping", {"transaction": "x" * 100})
        await bench.outcomes(2)
        assert bench.acknowledged == [first[0], again]
