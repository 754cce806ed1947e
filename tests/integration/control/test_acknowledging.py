"""Acknowledged when on disk, and what a full or slow disk changes, on the real inbox, dispatcher and journal."""

import asyncio
import threading
from pathlib import Path

import pytest

from allora_mqtt.protocol.commands import Mode, SetConfig, SetMode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.entries import Incoming, Recorded
from tests.integration.control.bench import MODE, Clock, life
from tests.support.refusing import allow, forbid

pytestmark = pytest.mark.usefixtures("engine")


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
        await forbid(bench.database, "INSERT", "bot_commands")
        bench.deliver(MODE, "STANDBY")
        await bench.quiet()
        bench.handlers.hold.set()
        assert await bench.outcomes(1) == ["EXECUTED"]
        assert (bench.mode(), bench.handlers.trading[-1]) == (Mode.ACTIVE, False)
        await allow(bench.database, "bot_commands")
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
        await forbid(bench.database, "INSERT", "bot_commands")
        for _ in range(2):
            bench.deliver(MODE, {"value": "STANDBY", "id": "a"})
        await bench.quiet()
        await allow(bench.database, "bot_commands")
        assert sorted(await bench.outcomes(2)) == ["DUPLICATE", "EXECUTED"]
        bench.deliver(MODE, "ACTIVE")
        await bench.outcomes(3)
        assert bench.handlers.trading[-1] is True


async def test_a_command_whose_end_cannot_be_stored_waits_and_runs_once(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock) as bench:
        bench.online()
        await forbid(bench.database, "UPDATE", "bot_commands")
        bench.deliver("bot/config/tp_ratio/set", "2")
        bench.deliver("bot/config/tp_ratio/set", "3")
        await bench.quiet()
        assert bench.responses() == []
        assert bench.dispatcher.desired.settings.tp_ratio != 2
        await allow(bench.database, "bot_commands")
        assert await bench.outcomes(2) == ["EXECUTED", "EXECUTED"]
        assert [body.value for body in bench.handlers.ran if isinstance(body, SetConfig)] == [
            {"tp_ratio": "2"},
            {"tp_ratio": "3"},
        ]
        assert bench.dispatcher.desired.settings.tp_ratio == 3
        assert await bench.journal.unfinished() == []
