"""Retained commands, on the real inbox, dispatcher and journal."""

import asyncio
from pathlib import Path

import pytest

from allora_mqtt.protocol.commands import Flatten, Mode, SetMode
from tests.integration.control.bench import MODE, Clock, life

pytestmark = pytest.mark.usefixtures("engine")


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
