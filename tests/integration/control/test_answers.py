"""Answers, on the real inbox, dispatcher and journal."""

import asyncio
from pathlib import Path

import pytest

from allora_mqtt.protocol.commands import Ping
from allora_mqtt.protocol.errors import BotError, ErrorCode
from tests.integration.control.bench import MODE, Clock, life

pytestmark = pytest.mark.usefixtures("engine")


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
