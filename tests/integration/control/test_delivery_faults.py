"""What the state machine of the delivery rules has found, told again by hand."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from allora_mqtt.protocol.commands import Flatten, Mode, SetMode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.messages import Response
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.entries import Changes
from tests.integration.control.bench import MODE, Bench, Clock, life

pytestmark = pytest.mark.usefixtures("engine")

PING = "bot/request/ping"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk refuses is tried again soon."""
    monkeypatch.setattr("allora_mqtt.control.inbox._RETRY_JOURNAL_S", 0.02)
    monkeypatch.setattr("allora_mqtt.control.dispatcher._RETRY_JOURNAL_S", 0.02)


def refuse_commits(bench: Bench, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let so many transactions fail as on a full disk."""
    left = [times]
    commit = bench.database._commit

    def refuse(jobs: list[object]) -> list[object]:
        if left[0]:
            left[0] -= 1
            raise BotError(ErrorCode.STORE_UNAVAILABLE, "The disk is full.")
        return commit(jobs)  # type: ignore[arg-type]  # what the database handed over

    monkeypatch.setattr(bench.database, "_commit", refuse)


# the disk


async def test_commands_keep_their_order_when_the_disk_refuses_only_the_first(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        await bench.quiet()
        release = threading.Event()
        blocked = bench.database.submit(lambda _connection: release.wait(5))
        await asyncio.sleep(0.05)
        # Both are in one transaction, which fails, and then the first fails alone.
        refuse_commits(bench, monkeypatch, 2)
        bench.deliver(MODE, {"value": "ACTIVE", "id": "older"})
        bench.deliver(MODE, {"value": "STANDBY", "id": "newer"})
        release.set()
        await bench.outcomes(2)
        assert blocked.done()
        assert [row["id"] for row in await bench.journal.history(5)] == ["newer", "older"]
        assert bench.mode() is Mode.STANDBY
        assert bench.handlers.trading[-1] is False


async def test_a_command_whose_end_the_disk_refused_is_not_answered_and_then_run_at_the_next_start(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        store = first.journal.finish
        refusals = [BotError(ErrorCode.STORE_UNAVAILABLE, "The disk is full.")] * 2

        async def finish(seq: int, response: Response, changes: Changes) -> None:
            if refusals:
                raise refusals.pop()
            await store(seq, response, changes)

        monkeypatch.setattr(first.journal, "finish", finish)
        first.deliver(MODE, {"value": "ACTIVE", "id": "a"})
        assert await first.outcomes(1) == ["EXECUTED"]
        assert first.mode() is Mode.ACTIVE
    async with life(tmp_path, clock) as second:
        second.online()
        await second.quiet()
        assert second.handlers.ran == []


# what is retained


async def test_a_clear_that_comes_again_does_not_forget_a_command_that_came_after_it(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.deliver(MODE, "STANDBY", packet_id=1)
        await first.outcomes(1)
        first.wire.acknowledges = False
        first.deliver(MODE, "", packet_id=2)
        first.deliver(MODE, "ACTIVE", packet_id=3)  # retained too
        await first.outcomes(2)
        first.deliver(MODE, "STANDBY", packet_id=4)
        await first.outcomes(3)
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "", packet_id=2, again=True)
        second.deliver(MODE, "ACTIVE", packet_id=3, again=True)
        second.deliver(MODE, "STANDBY", packet_id=4, again=True)
        second.deliver(MODE, "ACTIVE", packet_id=5, retained=True)
        second.mailbox_read()
        await second.quiet()
        assert second.handlers.ran == []
        assert sorted(second.acknowledged) == [2, 3, 4, 5]


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_clear_that_comes_again_does_not_forget_what_came_after_it_with_qos_0(
    tmp_path: Path, clock: Clock, *, is_killed: bool
) -> None:
    async def come_again(bench: Bench) -> None:
        bench.connect()
        bench.deliver(MODE, "", packet_id=12, again=True)
        bench.deliver(MODE, "STANDBY", packet_id=13, again=True)
        bench.deliver(MODE, "ACTIVE", retained=True, qos=0)
        bench.mailbox_read()
        await bench.quiet()

    async with life(tmp_path, clock) as first:
        first.online()
        first.deliver(MODE, "STANDBY", packet_id=11)
        await first.outcomes(1)
        first.wire.acknowledges = False
        first.deliver(MODE, "", packet_id=12)
        first.deliver(MODE, "ACTIVE", qos=0)  # retained too
        await first.outcomes(2)
        first.deliver(MODE, "STANDBY", packet_id=13)
        await first.outcomes(3)
        if not is_killed:
            await come_again(first)
            assert len(first.handlers.ran) == 3
    if is_killed:
        async with life(tmp_path, clock) as second:
            await come_again(second)
            assert second.handlers.ran == []


async def test_a_clear_is_acknowledged_when_the_disk_knows_of_it(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.deliver(MODE, "STANDBY", packet_id=1)
        await bench.outcomes(1)
        await bench.quiet()
        release = threading.Event()
        blocked = bench.database.submit(lambda _connection: release.wait(5))
        bench.deliver(MODE, "", packet_id=2)
        await asyncio.sleep(0.05)
        assert bench.acknowledged == [1]
        release.set()
        await bench.quiet()
        assert bench.acknowledged == [1, 2]
        assert blocked.done()


async def test_nothing_is_cleared_before_the_mailbox_is_read(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver(MODE, "ACTIVE")
        await bench.quiet()
        bench.connect()
        bench.handlers.hold.set()
        await bench.outcomes(1)
        await bench.quiet()
        assert bench.wire.on(MODE) == []
        bench.mailbox_read()
        await bench.quiet()
        assert bench.wire.on(MODE) == [b""]


async def test_a_clear_that_was_lost_with_the_line_is_sent_again_though_nothing_is_retained(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.wire.is_up = False
        first.deliver(MODE, "ACTIVE")
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        await second.quiet()
        assert second.wire.on(MODE) == [b""]


async def test_a_second_clear_does_not_come_back_as_a_press(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect()
        for packet_id in (1, 2):
            bench.deliver("bot/request/flatten", f"PRESS{' ' * packet_id}", retained=True, packet_id=packet_id)
        bench.mailbox_read()
        await bench.outcomes(2)
        bench.deliver("bot/request/flatten", "PRESS ", retained=True)
        await bench.outcomes(3)
        await bench.quiet()
        for clear in bench.wire.on("bot/request/flatten"):
            bench.deliver("bot/request/flatten", clear)
        await bench.quiet()
        assert Flatten() not in bench.handlers.ran


# what waited


async def test_a_standby_that_ran_before_a_crash_is_still_weighed_against_an_unseen_retained_active(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.connect()
        first.deliver(MODE, "STANDBY")
        await first.outcomes(1)
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        assert (await second.outcomes(1))[-1] == "AMBIGUOUS_ORDER"
        assert second.mode() is Mode.STANDBY


async def test_what_lost_against_another_has_lost_after_a_crash_too(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(tmp_path, clock) as first:
        first.connect()
        first.deliver(MODE, "STANDBY")
        first.deliver(MODE, "ACTIVE", retained=True)
        await first.outcomes(1)
        monkeypatch.setattr(first.dispatcher, "submit", lambda _accepted: None)
        first.mailbox_read()
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.online()
        assert await second.outcomes(1) == ["AMBIGUOUS_ORDER"]
        await second.quiet()
        assert second.mode() is Mode.STANDBY
        assert SetMode(value=Mode.ACTIVE) not in second.handlers.ran


async def test_a_command_sent_after_the_mailbox_was_read_is_not_weighed_against_what_came_before(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.deliver(MODE, "STANDBY")
        await first.outcomes(1)
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "ACTIVE", retained=True)
        second.mailbox_read()
        await second.outcomes(1)
        assert second.mode() is Mode.ACTIVE


async def test_the_end_of_an_earlier_connections_mailbox_is_not_that_of_this_one(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.connect()
        release = threading.Event()
        blocked = bench.database.submit(lambda _connection: release.wait(5))
        bench.deliver(PING, "")
        bench.mailbox_read()
        bench.connect()
        bench.deliver(MODE, "ACTIVE")
        release.set()
        await bench.quiet()
        assert bench.mode() is Mode.STANDBY
        bench.deliver(MODE, "STANDBY", retained=True)
        bench.mailbox_read()
        await bench.outcomes(3)
        assert blocked.done()
        assert SetMode(value=Mode.ACTIVE) not in bench.handlers.ran


# identifiers


async def test_a_packet_of_a_session_lost_two_lives_ago_is_not_mistaken_for_a_new_one(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as first:
        first.online()
        first.wire.acknowledges = False
        first.deliver(PING, "", packet_id=1)
        await first.outcomes(1)
    async with life(tmp_path, clock) as second:
        second.connect(resumed=False)
        await second.quiet()
    async with life(tmp_path, clock) as third:
        third.connect()
        third.deliver(PING, "", packet_id=1)
        third.mailbox_read()
        assert await third.outcomes(1) == ["EXECUTED"]


async def test_a_duplicate_that_came_before_the_first_had_ended_says_how_that_ended(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        bench.handlers.hold = asyncio.Event()
        bench.deliver(PING, {"id": "a"})
        bench.deliver(PING, {"id": "a"})
        await bench.quiet()
        bench.handlers.hold.set()
        assert await bench.outcomes(2) == ["EXECUTED", "DUPLICATE"]
        assert bench.responses()[1]["data"]["first"]["status"] == "EXECUTED"


async def test_a_setting_issued_before_a_newer_one_does_not_undo_it_whatever_its_risk(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock, default_mode=DefaultMode.STANDBY) as bench:
        bench.online()
        early = rfc3339(clock())
        clock.advance(60)
        bench.deliver("bot/config/tp_ratio/set", {"value": "1.5", "issued_at": rfc3339(clock())})
        await bench.outcomes(1)
        bench.deliver("bot/config/tp_ratio/set", {"value": "0.8", "issued_at": early})
        assert (await bench.outcomes(2))[1] == "SUPERSEDED"
        assert str(bench.dispatcher.desired.settings.tp_ratio) == "1.5"


async def test_a_whole_set_that_says_no_time_does_not_make_older_ones_newer(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        now = clock()
        bench.deliver("bot/cryptos/set", {"value": [], "issued_at": rfc3339(now + timedelta(seconds=30))})
        bench.deliver("bot/cryptos/set", "NONE")
        bench.deliver("bot/cryptos/BTC/set", {"value": "ON", "issued_at": rfc3339(now)})
        assert await bench.outcomes(3) == ["EXECUTED", "EXECUTED", "SUPERSEDED"]


async def test_a_mode_that_a_newer_one_has_overtaken_is_not_said_to_be_in_force(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as first:
        first.connect()
        first.deliver(MODE, "STOPPED", retained=True)
        await first.quiet()
    async with life(tmp_path, clock) as second:
        second.connect()
        second.deliver(MODE, "STANDBY")
        await second.outcomes(1)
        second.mailbox_read()
        await second.outcomes(2)
        assert {response["data"].get("mode"): response["status"] for response in second.responses()} == {
            "STANDBY": "EXECUTED",
            None: "SUPERSEDED",
        }
        assert second.mode() is Mode.STANDBY
