"""Signed commands on the real inbox, dispatcher and journal."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from allora_mqtt.control.trust import Trust, Unsigned
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.protocol.signed import Keys
from allora_mqtt.store import retention
from allora_mqtt.store.schema import bot_commands
from tests.integration.control.bench import MODE, Bench, Clock, life

pytestmark = pytest.mark.usefixtures("engine")

ALICE = Keys({"alice": "a" * 32})
STRANGER = Keys({"alice": "b" * 32})
_DAY_S = 86_400


def trust(unsigned: Unsigned = "refuse") -> Trust:
    return Trust(ALICE, unsigned, timedelta(days=7))


def signed(clock: Clock, value: str, command_id: str, keys: Keys = ALICE, topic: str = MODE, **more: Any) -> bytes:
    fields = {"value": value, "id": command_id, "issued_at": rfc3339(clock()), "source": "me", **more}
    return keys.sign(topic, json.dumps(fields).encode())


async def rows(bench: Bench) -> int:
    return await bench.database.read(
        lambda connection: connection.execute(select(func.count()).select_from(bot_commands)).scalar_one()
    )


async def test_who_signed_is_in_the_answer_and_in_the_history(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, trust=trust()) as bench:
        bench.online()
        bench.deliver(MODE, signed(clock, "ACTIVE", "a"))
        assert await bench.outcomes(1) == ["EXECUTED"]
        assert bench.responses()[0]["signed_by"] == "alice"
        (row,) = await bench.journal.history(1)
        assert (row["signed_by"], row["source"], row["id"]) == ("alice", "me", "a")


async def test_forged_unsigned_and_diverted_commands_change_nothing_and_are_in_the_history(
    tmp_path: Path, clock: Clock
) -> None:
    guard = trust()
    async with life(tmp_path, clock, trust=guard) as bench:
        bench.online()
        bench.deliver(MODE, signed(clock, "ACTIVE", "a", STRANGER))
        bench.deliver(MODE, {"value": "ACTIVE", "id": "b"})
        bench.deliver(MODE, signed(clock, "ACTIVE", "c", topic="elsewhere/mode/set"))
        bench.deliver("bot/request/flatten", b"")
        assert await bench.outcomes(4) == ["BAD_SIGNATURE", "NOT_SIGNED", "BAD_SIGNATURE", "NOT_SIGNED"]
        assert [response["id"] for response in bench.responses()] == ["a", "b", "c", None]
        assert bench.mode() is Mode.STANDBY
        assert bench.handlers.prepared == []
        history = await bench.journal.history(9)
        assert [row["id"] for row in history] == [None] * 4
        assert guard.counts is not None
        assert (guard.counts.forged, guard.counts.unsigned) == (2, 2)


async def test_a_stranger_cannot_use_up_the_id_of_a_command_that_is_on_its_way(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, trust=trust("reduce_risk")) as bench:
        bench.online()
        bench.deliver(MODE, signed(clock, "STANDBY", "a", STRANGER))
        bench.deliver("bot/cryptos/BTC/set", {"value": "OFF", "id": "a", "issued_at": "2099-01-01T00:00:00Z"})
        bench.deliver(MODE, signed(clock, "ACTIVE", "a"))
        assert await bench.outcomes(3) == ["BAD_SIGNATURE", "EXECUTED", "EXECUTED"]
        assert bench.mode() is Mode.ACTIVE


async def test_a_replay_is_a_duplicate_for_ever_and_too_old_to_be_believed_without_the_journal(
    tmp_path: Path, clock: Clock
) -> None:
    guard = trust()
    active = signed(clock, "ACTIVE", "a")
    async with life(tmp_path / "kept", clock, trust=guard) as bench:
        bench.online()
        bench.deliver(MODE, active)
        bench.deliver(MODE, signed(clock, "STANDBY", "b"))
        await bench.outcomes(2)
    async with life(tmp_path / "kept", clock, trust=guard) as bench:
        bench.online()
        bench.deliver(MODE, active, packet_id=77)
        assert await bench.outcomes(1) == ["DUPLICATE"]
        assert bench.mode() is Mode.STANDBY
    clock.advance(8 * _DAY_S)
    async with life(tmp_path / "lost", clock, trust=guard) as bench:
        bench.online()
        bench.deliver(MODE, active)
        assert await bench.outcomes(1) == ["STALE_SIGNATURE"]
        assert bench.mode() is Mode.STANDBY
    assert guard.counts is not None
    assert (guard.counts.replayed, guard.counts.stale) == (1, 1)


async def test_a_standby_that_waited_for_a_month_still_runs(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, trust=trust()) as bench:
        bench.online()
        bench.deliver(MODE, signed(clock, "ACTIVE", "a"))
        await bench.outcomes(1)
    standby, active = signed(clock, "STANDBY", "b"), signed(clock, "ACTIVE", "c")
    clock.advance(30 * _DAY_S)
    async with life(tmp_path, clock, trust=trust()) as bench:
        bench.connect()
        bench.deliver(MODE, standby)
        bench.deliver(MODE, active, retained=True)
        bench.mailbox_read()
        assert sorted(await bench.outcomes(2)) == ["EXECUTED", "STALE_SIGNATURE"]
        assert bench.mode() is Mode.STANDBY


async def test_what_was_accepted_and_not_run_is_resumed_though_the_secret_has_changed(
    tmp_path: Path, clock: Clock
) -> None:
    async with life(tmp_path, clock, trust=trust()) as bench:
        bench.connect()
        bench.deliver(MODE, signed(clock, "ACTIVE", "a"))
        bench.deliver(MODE, signed(clock, "ACTIVE", "f", STRANGER))
        await bench.quiet()
    async with life(tmp_path, clock, trust=Trust(STRANGER)) as bench:
        bench.online()
        assert sorted(await bench.outcomes(1)) == ["EXECUTED"]
        assert bench.responses()[0]["signed_by"] is None
        assert bench.mode() is Mode.ACTIVE


async def test_what_mqtt_5_says_beside_a_signed_command_is_not_believed(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, trust=trust()) as bench:
        bench.online()
        properties = (("issued_at", "2020-01-01T00:00:00Z"), ("source", "root"))
        fields = {"value": "ACTIVE", "id": "a", "issued_at": rfc3339(clock())}
        payload = ALICE.sign(MODE, json.dumps(fields).encode())
        bench.deliver(MODE, payload, correlation=b"other", expires_in_s=0, properties=properties)
        assert await bench.outcomes(1) == ["EXECUTED"]
        assert (bench.responses()[0]["id"], bench.responses()[0]["source"]) == ("a", None)


async def test_a_flood_of_forgeries_is_acknowledged_and_not_written_down(tmp_path: Path, clock: Clock) -> None:
    guard = trust()
    async with life(tmp_path, clock, trust=guard) as bench:
        bench.online()
        sent = [bench.deliver(MODE, signed(clock, "ACTIVE", f"f{n}", STRANGER, pad="x" * 9000)) for n in range(300)]
        replay = signed(clock, "ACTIVE", "a")
        sent += [bench.deliver(MODE, replay) for _ in range(300)]
        sent.append(bench.deliver(MODE, signed(clock, "STANDBY", "b")))
        await bench.quiet()
        assert sorted(bench.acknowledged) == sorted(sent), "each is acknowledged, and once"
        assert bench.mode() is Mode.STANDBY
        assert await rows(bench) <= 20 + 2
        longest = await bench.database.read(
            lambda connection: connection.execute(select(func.max(func.length(bot_commands.c.payload)))).scalar_one()
        )
        assert longest <= 512
        assert guard.counts is not None
        assert (guard.counts.forged, guard.counts.replayed) == (300, 299)
        assert guard.counts.dropped >= 579


async def test_of_what_strangers_sent_the_newest_stay(tmp_path: Path, clock: Clock) -> None:
    async with life(tmp_path, clock, trust=trust()) as bench:
        bench.online()
        bench.deliver(MODE, signed(clock, "ACTIVE", "a"))
        for _ in range(12):
            clock.advance(60)
            bench.deliver(MODE, signed(clock, "ACTIVE", "f", STRANGER))
        bench.deliver(MODE, signed(clock, "ACTIVE", "a", source="again"))
        await bench.outcomes(14)
        await bench.quiet()
        removed = await retention.tidy(bench.database, retention.Retention(), clock(), strangers_kept=5)
        assert removed == 13 - 5
        history = await bench.journal.history(99)
        assert [row["status"] for row in history] == ["DUPLICATE", *["REJECTED"] * 4, "EXECUTED"]
