"""The end of what waited, and a second bot on the same base topic."""

import asyncio
from pathlib import Path

import pytest

from allora_mqtt.control.reporter import Identity, Reporter
from allora_mqtt.control.switchboard import Switchboard
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.messages import Heartbeat
from allora_mqtt.protocol.runtime import HardLimits
from allora_mqtt.store.ledger import Ledger
from tests.unit.control.bench import Bench, Clock, life


class Board:
    """A switchboard on a bench."""

    def __init__(self, bench: Bench, clock: Clock) -> None:
        self.bench = bench
        self.identity = Identity("1", "sim", "mine", clock())
        self.reporter = Reporter(
            bench.outbox, bench.topics, Ledger(bench.database), bench.database, self.identity, HardLimits(), 5, clock
        )
        self.online = 0
        self.switchboard = Switchboard(
            bench.topics,
            self.identity,
            bench.inbox,
            bench.dispatcher,
            bench.outbox,
            self.reporter,
            clock,
            self._count,
        )

    def _count(self) -> None:
        self.online += 1

    def deliver(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        packet = Packet(topic, payload, retained, None, lambda: None)
        self.switchboard.on_packet(packet)

    def foreign(self) -> str | None:
        return self.reporter.foreign_instance

    def marker(self) -> bytes:
        return self.bench.wire.on("bot/heartbeat")[-1]


@pytest.fixture
def ticking() -> Clock:
    return Clock()


async def test_what_waited_ends_with_the_marker_and_not_before(tmp_path: Path, ticking: Clock) -> None:
    async with life(tmp_path, ticking) as bench:
        board = Board(bench, ticking)
        board.switchboard.on_session(resumed=True)
        board.deliver("bot/mode/set", b"ACTIVE")
        board.switchboard.on_subscribed()
        await bench.quiet()
        assert bench.mode() is Mode.STANDBY
        board.deliver("bot/heartbeat", board.marker())
        await bench.outcomes(1)
        assert bench.mode() is Mode.ACTIVE
        assert board.online == 1


async def test_a_line_that_was_cut_before_the_marker_leaves_what_waited_for_the_next_one(
    tmp_path: Path, ticking: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.control.switchboard._MAILBOX_TIMEOUT_S", 0.05)
    async with life(tmp_path, ticking) as bench:
        board = Board(bench, ticking)
        board.switchboard.on_session(resumed=True)
        board.deliver("bot/mode/set", b"ACTIVE")
        board.switchboard.on_subscribed()
        board.switchboard.on_lost("cut")
        await asyncio.sleep(0.15)
        assert bench.mode() is Mode.STANDBY
        board.switchboard.on_session(resumed=True)
        board.deliver("bot/mode/set", b"STANDBY", retained=True)
        board.switchboard.on_subscribed()
        board.deliver("bot/heartbeat", board.marker())
        assert sorted(await bench.outcomes(2)) == ["AMBIGUOUS_ORDER", "EXECUTED"]
        assert bench.mode() is Mode.STANDBY


async def test_a_broker_that_never_shows_the_marker_holds_nothing_up_for_long(
    tmp_path: Path, ticking: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.control.switchboard._MAILBOX_TIMEOUT_S", 0.05)
    async with life(tmp_path, ticking) as bench:
        board = Board(bench, ticking)
        board.switchboard.on_session(resumed=True)
        board.deliver("bot/mode/set", b"ACTIVE")
        board.switchboard.on_subscribed()
        assert await bench.outcomes(1) == ["EXECUTED"]


async def test_a_heartbeat_of_another_bot_is_noticed_and_forgotten_when_it_stops(
    tmp_path: Path, ticking: Clock
) -> None:
    def beat(instance_id: str) -> bytes:
        at = ticking()
        beat = Heartbeat(seq=1, at=at, uptime_s=1, mode=Mode.ACTIVE, revision=1, instance_id=instance_id, loop_lag_ms=0)
        return beat.model_dump_json().encode()

    async with life(tmp_path, ticking) as bench:
        from_an_earlier_life = beat("earlier")
        board = Board(bench, ticking)
        for payload in (from_an_earlier_life, beat("mine"), b"not a heartbeat"):
            board.deliver("bot/heartbeat", payload)
        assert board.foreign() is None
        board.deliver("bot/heartbeat", beat("theirs"))
        assert board.foreign() == "theirs"
        assert [warning.code for warning in board.reporter.warnings()] == ["DUPLICATE_INSTANCE"]
        ticking.advance(31)
        board.deliver("bot/heartbeat", beat("mine"))
        assert board.foreign() is None
