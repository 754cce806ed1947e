"""The end of what waited, and a second bot on the same base topic."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt.control.lookout import Lookout
from allora_mqtt.control.reporter import Identity, Reporter
from allora_mqtt.control.state_guard import StateGuard
from allora_mqtt.control.switchboard import Switchboard
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.messages import Heartbeat
from allora_mqtt.protocol.runtime import HardLimits
from allora_mqtt.store.ledger import Ledger
from tests.integration.control.bench import Bench, Clock, life


class Board:
    """A switchboard on a bench."""

    def __init__(self, bench: Bench, clock: Clock) -> None:
        self.bench = bench
        self.identity = Identity("1", "sim", "mine", clock())
        self.lookout = Lookout("mine", clock(), ["mine-before"], 5)
        self.aside: list[bool] = []
        self.reporter = Reporter(
            bench.outbox, bench.topics, Ledger(bench.database), bench.database, self.identity, HardLimits(), 5, clock
        )
        self.online = 0
        self.switchboard = Switchboard(
            bench.topics,
            self.lookout,
            bench.inbox,
            bench.dispatcher,
            bench.outbox,
            self.reporter,
            StateGuard(bench.topics, bench.outbox, self.reporter, clock),
            None,
            clock,
            self._count,
            self.aside.append,
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
        board = Board(bench, ticking)
        board.switchboard.on_session(resumed=True)
        board.switchboard.on_subscribed()
        board.deliver("bot/heartbeat", beat("waited-in-the-queue"))
        board.deliver("bot/heartbeat", board.marker())
        for payload in (beat("mine-before"), beat("mine"), b"not a heartbeat"):
            board.deliver("bot/heartbeat", payload)
        assert board.foreign() is None
        board.deliver("bot/heartbeat", beat("theirs"))
        assert board.foreign() == "theirs"
        assert [warning.code for warning in board.reporter.warnings()] == ["DUPLICATE_INSTANCE"]
        # They have run for a second, we for less: they were here first.
        assert board.aside == [True]
        ticking.advance(31)
        board.deliver("bot/heartbeat", beat("mine"))
        assert board.foreign() is None
        assert board.aside == [True, False]


def notes(bench: Bench) -> list[dict[str, Any]]:
    """What people were told about messages that went to the wrong topic."""
    return [json.loads(payload) for payload in bench.wire.on("bot/event/command")]


@asynccontextmanager
async def settled(folder: Path, clock: Clock) -> AsyncIterator[tuple[Bench, Board]]:
    """A bot that is online and has published its mode, which the broker has delivered back."""
    async with life(folder, clock) as bench:
        board = Board(bench, clock)
        board.switchboard.on_session(resumed=True)
        board.switchboard.on_subscribed()
        board.deliver("bot/heartbeat", board.marker())
        bench.outbox.state("bot/mode", "STANDBY")
        board.deliver("bot/mode", b"STANDBY")
        await bench.quiet()
        yield bench, board


@pytest.mark.parametrize(
    ("topic", "advice"),
    [
        ("bot/mode", "publish to bot/mode/set"),
        ("bot/cryptos/BTC", "publish to bot/cryptos/BTC/set"),
        ("bot/status", "/set and /request topics"),
    ],
)
async def test_who_publishes_to_a_state_topic_is_told_where_to_and_the_truth_is_back(
    tmp_path: Path, ticking: Clock, topic: str, advice: str
) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        bench.outbox.state(topic, "the truth")
        await bench.quiet()
        board.deliver(topic, b"the truth")
        board.deliver(topic, b"ACTIVE")
        assert bench.wire.on(topic)[-2:] == [b"the truth", b"the truth"]
        (note,) = notes(bench)
        assert note["error"]["code"] == "USE_SET_TOPIC"
        assert advice in note["error"]["message"]
        assert bench.mode() is Mode.STANDBY


async def test_the_very_value_that_is_there_is_noticed_too_when_somebody_else_publishes_it(
    tmp_path: Path, ticking: Clock
) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        board.deliver("bot/mode", b"STANDBY")
        assert len(notes(bench)) == 1


async def test_the_state_of_a_symbol_that_the_bot_does_not_show_is_taken_away(tmp_path: Path, ticking: Clock) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        board.deliver("bot/cryptos/DOGE", b"ON")
        assert bench.wire.on("bot/cryptos/DOGE") == [b""]
        board.deliver("bot/cryptos/DOGE", b"")
        assert len(notes(bench)) == 1


async def test_what_the_broker_leaves_out_of_our_own_messages_makes_nobody_a_stranger(
    tmp_path: Path, ticking: Clock
) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        for value in ("1", "2", "3"):
            bench.outbox.state("bot/health", value)
            await asyncio.sleep(0)
        board.deliver("bot/health", b"3")
        assert notes(bench) == []
        board.deliver("bot/health", b"2")
        assert len(notes(bench)) == 1


async def test_until_everything_that_waited_is_read_and_while_another_bot_is_there_nothing_is_put_right(
    tmp_path: Path, ticking: Clock
) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        board.switchboard.on_session(resumed=True)
        board.deliver("bot/mode", b"ACTIVE")
        board.switchboard.on_subscribed()
        board.deliver("bot/heartbeat", board.marker())
        board.reporter.foreign_instance = "theirs"
        board.deliver("bot/mode", b"ACTIVE")
        assert notes(bench) == []


async def test_two_who_do_not_agree_do_not_answer_each_other_without_end(
    tmp_path: Path, ticking: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.control.state_guard._PAUSE_S", 0.05)
    async with settled(tmp_path, ticking) as (bench, board):
        published = len(bench.wire.on("bot/mode"))
        for _ in range(50):
            board.deliver("bot/mode", b"ACTIVE")
        assert len(bench.wire.on("bot/mode")) == published + 1
        await asyncio.sleep(0.2)
        assert len(bench.wire.on("bot/mode")) == published + 2
        assert bench.wire.on("bot/mode")[-1] == b"STANDBY"
        assert len(notes(bench)) == 1


async def test_the_last_will_of_a_connection_that_was_given_up_is_put_right_in_silence(
    tmp_path: Path, ticking: Clock
) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        board.deliver("bot/availability", b"online")
        board.deliver("bot/availability", b"offline")
        assert bench.wire.on("bot/availability")[-1] == b"online"
        assert notes(bench) == []


async def test_the_bot_s_own_goodbye_is_not_put_right(tmp_path: Path, ticking: Clock) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        board.deliver("bot/availability", b"online")
        goodbye = asyncio.create_task(board.reporter.offline())
        await asyncio.sleep(0)
        board.deliver("bot/availability", b"offline")
        await goodbye
        assert bench.wire.on("bot/availability")[-1] == b"offline"


async def test_a_last_will_that_comes_while_the_mailbox_is_read_is_put_right_too(
    tmp_path: Path, ticking: Clock
) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        board.switchboard.on_session(resumed=True)
        board.switchboard.on_subscribed()
        await bench.quiet()
        published = len(bench.wire.on("bot/availability"))
        board.deliver("bot/availability", b"online")
        board.deliver("bot/availability", b"offline")
        await bench.quiet()
        assert bench.wire.on("bot/availability")[published:] == [b"online"]
        assert notes(bench) == []


async def test_what_is_no_state_topic_is_left_alone(tmp_path: Path, ticking: Clock) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        board.deliver("bot/response/mode", b"{}")
        assert bench.wire.on("bot/response/mode") == []
        assert notes(bench) == []


async def test_what_an_earlier_life_has_left_of_a_symbol_is_remembered(tmp_path: Path, ticking: Clock) -> None:
    async with settled(tmp_path, ticking) as (_, board):
        board.deliver("bot/cryptos/SOL", b"{}", retained=True)
        assert board.reporter._shown == {"SOL"}


async def test_what_was_taken_away_while_the_line_was_down_is_taken_away_at_the_next_connect(
    tmp_path: Path, ticking: Clock
) -> None:
    async with settled(tmp_path, ticking) as (bench, board):
        bench.wire.is_up = False
        board.switchboard.on_lost("cut")
        bench.outbox.clear("bot/cryptos/DOGE")
        bench.outbox.clear("bot/cryptos/SOL")
        bench.wire.is_up = True
        board.switchboard.on_session(resumed=True)
        board.switchboard.on_subscribed()
        await bench.quiet()
        assert bench.wire.on("bot/cryptos/DOGE") == bench.wire.on("bot/cryptos/SOL") == [b""]
        assert bench.wire.on("bot/mode")[-1] == b"STANDBY"


async def test_the_mark_of_an_earlier_connection_ends_nothing_on_this_one(tmp_path: Path, ticking: Clock) -> None:
    async with life(tmp_path, ticking) as bench:
        board = Board(bench, ticking)
        board.switchboard.on_session(resumed=True)
        board.switchboard.on_subscribed()
        board.switchboard.on_lost("cut")
        board.switchboard.on_session(resumed=True)
        board.deliver("bot/heartbeat", board.marker())
        board.deliver("bot/mode/set", b"ACTIVE")
        await bench.quiet()
        assert bench.mode() is Mode.STANDBY


async def test_what_still_comes_holds_the_end_of_what_waited_up(
    tmp_path: Path, ticking: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.control.switchboard._MAILBOX_TIMEOUT_S", 0.3)
    async with life(tmp_path, ticking) as bench:
        board = Board(bench, ticking)
        board.switchboard.on_session(resumed=True)
        board.switchboard.on_subscribed()
        release = threading.Event()
        blocked = bench.database.submit(lambda _connection: release.wait(5))
        board.deliver("bot/mode/set", b"ACTIVE")
        await asyncio.sleep(0.7)
        board.deliver("bot/mode/set", b"STANDBY", retained=True)
        release.set()
        assert sorted(await bench.outcomes(2)) == ["AMBIGUOUS_ORDER", "EXECUTED"]
        assert bench.mode() is Mode.STANDBY
        assert blocked.done()


async def test_a_session_that_was_taken_is_said_in_the_status(tmp_path: Path, ticking: Clock) -> None:
    async with life(tmp_path, ticking) as bench:
        board = Board(bench, ticking)
        board.switchboard.on_taken_over()
        assert [warning.code for warning in board.reporter.warnings()] == ["DUPLICATE_INSTANCE"]
        assert board.aside == [True]


async def test_our_own_state_coming_back_does_not_hold_the_end_of_what_waited_up(
    tmp_path: Path, ticking: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.control.switchboard._MAILBOX_TIMEOUT_S", 0.1)
    async with life(tmp_path, ticking) as bench:
        board = Board(bench, ticking)
        board.switchboard.on_session(resumed=True)
        board.deliver("bot/mode/set", b"ACTIVE")
        board.switchboard.on_subscribed()
        for _ in range(10):
            await asyncio.sleep(0.05)
            board.deliver("bot/health", b"{}")
        assert await bench.outcomes(1) == ["EXECUTED"]
