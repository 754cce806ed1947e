"""What expires, what starts again and what overtakes, on the real inbox, dispatcher and journal."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.protocol.commands import Mode, SetConfig, SetMode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.messages import Response
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.entries import Changes
from tests.integration.control.bench import MODE, Clock, life

pytestmark = pytest.mark.usefixtures("engine")


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
        async with asyncio.timeout(60):
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

        async def finish(seq: int, response: Response, changes: Changes, place: int) -> None:
            await store(seq, response, changes, place)
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
