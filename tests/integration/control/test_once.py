"""None runs twice and none is forgotten by a crash, on the real inbox, dispatcher and journal."""

import asyncio
from pathlib import Path

import pytest

from allora_mqtt.control.accepted import Accepted
from allora_mqtt.protocol.commands import Mode
from tests.integration.control.bench import MODE, Clock, life

pytestmark = pytest.mark.usefixtures("engine")


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
