"""An older command never undoes a newer one, on the real inbox, dispatcher and journal."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from allora_mqtt.protocol.commands import Mode, SetMode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.settings import DefaultMode
from tests.integration.control.bench import MODE, Bench, Clock, life

pytestmark = pytest.mark.usefixtures("engine")


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
