"""The delivery rules against all that can come between: a machine plays senders, broker, disk, clock and death.

Short by default; `TORTURE=long` makes it long, with a seed of its own that is printed (`--hypothesis-seed` plays it
again), and `TORTURE_REPORT_DIR` says where the figures go.
"""

import asyncio
import json
import os
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Coroutine
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from allora_mqtt.control.desired import Desired
from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.protocol.messages import Response
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.migrate import migrate
from tests.guarantees.bot_model import BotClock, Life, PlayedLoop, Watcher, stored_rows
from tests.guarantees.broker_model import Broker, Delivery, Habits, Message
from tests.guarantees.delivery_oracle import Command, Oracle

T = TypeVar("T")

LONG: Final = os.environ.get("TORTURE") == "long"
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it

Way = Literal["queued", "both", "kept", "fleeting"]
"""QoS 1; QoS 1 and retained; QoS 0 and retained; QoS 0."""

MODES = st.sampled_from(["ACTIVE", "ACTIVE", "STANDBY", "STOPPED"]).map(lambda mode: ("mode", mode))
CRYPTOS = st.tuples(st.sampled_from(["BTC", "ETH"]), st.sampled_from(["ON", "OFF"])).map(
    lambda value: ("crypto", value)
)
SETS = st.sampled_from([("cryptos", ()), ("cryptos", ("BTC",)), ("cryptos", ("BTC", "ETH"))])
CONFIGS = st.sampled_from(
    [
        ("config", {key: value})
        for key, values in {"price_gap_pct": ("0.2", "0.5"), "max_leverage": (1, 4), "tp_ratio": ("0.8", "1.5")}.items()
        for value in values
    ]
)
ACTIONS = st.sampled_from(["ping", "flatten", "close", "publish_state", "reset_breaker"]).map(lambda name: (name, None))
WHATS = st.one_of(MODES, MODES, MODES, CRYPTOS, SETS, CONFIGS, ACTIONS, st.just(("bad", None)))
WAYS = st.sampled_from(["queued", "queued", "both", "kept", "kept", "fleeting"])
SKEWS_S = st.sampled_from([None, None, None, 0, 0, -30, 30])
HABITS = st.builds(
    Habits,
    keeps_retain_flag=st.booleans(),
    sets_dup=st.sampled_from([True, True, True, False]),
    suback_first=st.booleans(),
    shows_heartbeat=st.sampled_from([True, True, True, False]),
    max_in_flight=st.sampled_from([20, 20, 3]),
    first_packet_id=st.sampled_from([1, 1, 65_530]),
)
POLICIES = st.sampled_from(["run", "run", "run", "fresh", "reject"])
STARTS = st.sampled_from([DefaultMode.STANDBY, DefaultMode.STANDBY, DefaultMode.LAST, DefaultMode.ACTIVE])
FEW = st.integers(0, 4)


class DeliveryMachine(RuleBasedStateMachine, Watcher):
    """One bot, one broker, any number of senders, and all that can go wrong."""

    steps: ClassVar[int] = 0
    examples: ClassVar[int] = 0
    commands: ClassVar[int] = 0
    executed: ClassVar[int] = 0
    faults: ClassVar[Counter[str]] = Counter()
    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        self.folder = Path(tempfile.mkdtemp(prefix="g3-", dir=MEMORY if MEMORY.is_dir() else None))
        shutil.copy(self.template, self.folder / "journal.sqlite3")
        self.looker = sqlite3.connect(self.folder / "journal.sqlite3")
        self.runner = asyncio.Runner(loop_factory=PlayedLoop)
        self.clock = BotClock()
        self.oracle = Oracle()
        self.life: Life | None = None
        self.marker: bytes | None = None
        self.clears = True
        self.rested_at = 0
        self.policy = WaitingPolicy("run", 60)

    @initialize(habits=HABITS, rule=POLICIES, clear=st.sampled_from([True, True, True, True, False]))
    def set_up(self, habits: Habits, rule: Literal["run", "fresh", "reject"], *, clear: bool) -> None:
        self.habits = habits
        self.policy = WaitingPolicy(rule, 60)
        self.clears = clear
        self.broker = Broker(habits, self.oracle.freed, self.oracle.unannounced, self.on_bot_published, self.on_wiped)
        self.start_bot(DefaultMode.STANDBY)
        self.connect()
        self.everything_flows()

    def teardown(self) -> None:
        try:
            if hasattr(self, "broker") and not self.oracle.details:
                self.make_quiet()
                self.check_quiet()
        finally:
            oracle = self.oracle
            type(self).commands += len(oracle.commands)
            type(self).executed += oracle.executed
            self.faults.update(oracle.faults)
            if self.life is not None:
                self.run(self.life.crash())
            self.looker.close()
            self.runner.close()
            shutil.rmtree(self.folder)

    @invariant()
    def no_promise_is_broken(self) -> None:
        type(self).steps += 1
        if self.life is not None:
            self.life.check_alive()
        assert not self.oracle.details, self.oracle.details

    # what the bot does

    def on_commit(self) -> None:
        self.oracle.journal(stored_rows(self.looker))

    def on_finish(self, seq: int) -> None:
        self.oracle.finishing(seq)

    def on_run(self, seq: int) -> None:
        self.oracle.ran(seq)

    def on_response(self, response: Response) -> None:
        self.oracle.responded(response, gate_is_open=self.life is not None and self.life.handlers.gate_is_open)

    def on_read(self, delivery: Delivery) -> None:
        self.oracle.read(delivery)
        if self.marker is not None and delivery.copy.message.payload == self.marker:
            self.oracle.settled_at.append(self.oracle.tick())

    def on_start(self, desired: Desired, default_mode: DefaultMode) -> None:
        self.oracle.started(desired, default_mode)

    def on_opened(self, desired: Desired) -> None:
        self.oracle.gate_opened(desired)

    def on_bot_published(self, message: Message) -> None:
        if message.topic == "bot/heartbeat" and self.broker.line is not None and self.broker.line.subscribed:
            self.marker = message.payload

    def on_wiped(self, message: Message, by_bot: bool) -> None:  # noqa: FBT001 - the broker's callback
        session = self.broker.session
        copies = [] if session is None else [*session.waiting, *session.in_flight.values()]
        queued = {copy.message.number for copy in copies if not copy.from_mailbox}
        self.oracle.wiped(message, by_bot=by_bot, queued=queued)

    # senders

    @rule(
        what=WHATS, way=WAYS, skew_s=SKEWS_S, lasts_s=st.sampled_from([None, None, None, -1, 20]), named=st.booleans()
    )
    def send(self, what: tuple[str, Any], way: Way, skew_s: int | None, lasts_s: int | None, *, named: bool) -> None:
        number = len(self.oracle.commands) + 1
        self.clock.true_now += timedelta(milliseconds=10)
        now = self.clock.true_now
        issued_at = None if skew_s is None else now + timedelta(seconds=skew_s)
        expires_at = None if lasts_s is None else now + timedelta(seconds=lasts_s)
        command_id = f"id-{number}" if named else None
        said = {"id": command_id, "issued_at": _time(issued_at), "expires_at": _time(expires_at)}
        topic, payload = _write(*what, {key: value for key, value in said.items() if value is not None})
        self._publish(Command(number, *what, topic, payload, command_id, issued_at, expires_at, *_flags(way)))

    @rule(what=MODES, way=WAYS, named=st.booleans())
    def send_a_mode(self, what: tuple[str, Any], way: Way, *, named: bool) -> None:
        self.send(what, way, None, None, named=named)

    @precondition(lambda self: self.oracle.commands)
    @rule(back=st.integers(0, 5), way=WAYS)
    def send_the_same_again(self, back: int, way: Way) -> None:
        earlier = self.oracle.commands[max(1, len(self.oracle.commands) - back)]
        number = len(self.oracle.commands) + 1
        self._publish(
            Command(
                number,
                earlier.kind,
                earlier.value,
                earlier.topic,
                earlier.payload,
                earlier.id,
                earlier.issued_at,
                earlier.expires_at,
                *_flags(way),
            )
        )

    def _publish(self, command: Command) -> None:
        session = self.broker.session
        away = self.broker.line is None
        self.oracle.sent(
            command, away=away, session=session.epoch if session is not None and session.subscribed else None
        )
        self.broker.publish(Message(command.topic, command.payload, command.qos, command.retain, command.number))

    @rule(
        first=MODES,
        second=MODES,
        ways=st.permutations(["queued", "kept"]),
        moves=st.lists(st.tuples(FEW, FEW, FEW, FEW), min_size=1, max_size=4),
        dies=st.booleans(),
    )
    def connect_only_for_a_moment(
        self,
        first: tuple[str, Any],
        second: tuple[str, Any],
        ways: list[Way],
        moves: list[tuple[int, int, int, int]],
        *,
        dies: bool,
    ) -> None:
        """Two senders contradict each other while the bot is away, and its connection breaks before all is there."""
        if self.life is None:
            self.start_bot(DefaultMode.STANDBY)
        if self.broker.line is not None:
            self.line_is_cut()
        self.send_a_mode(first, ways[0], named=False)
        self.connect()
        for broker, bot, disk, ticks in moves:
            self.flow(broker, bot, disk, ticks)
        if dies:
            self.bot_dies()
            self.start_bot(DefaultMode.STANDBY)
        else:
            self.line_is_cut()
        self.send_a_mode(second, ways[1], named=False)
        self.connect()

    # how things move

    @rule(broker=FEW, bot=FEW, disk=FEW, ticks=FEW)
    def flow(self, broker: int, bot: int, disk: int, ticks: int) -> None:
        self.broker.read(broker)
        self.run(self._move(bot, disk, ticks))

    @rule(broker=FEW, bot=FEW, disk=st.integers(0, 1), ticks=FEW)
    def flow_on(self, broker: int, bot: int, disk: int, ticks: int) -> None:
        self.flow(broker, bot, disk, ticks)

    @rule()
    def everything_flows(self) -> None:
        for _ in range(200):
            moved = self.broker.read(1000) + self.run(self._move(1000, 1000, 12))
            if not moved:
                return
        raise AssertionError("it never comes to rest")

    async def _move(self, bot: int, disk: int, ticks: int) -> int:
        moved = 0
        if self.life is not None:
            moved += self.life.wire.read(bot)
            for _ in range(ticks):
                await asyncio.sleep(0)
            moved += self.life.database.step(disk) if disk else 0
        for _ in range(ticks):
            await asyncio.sleep(0)
        return moved

    @precondition(lambda self: self.broker.line is None or not (self.broker.line.to_bot or self.broker.line.to_broker))
    @rule(seconds=st.sampled_from([0.5, 1.1, 2.5]))
    def time_passes(self, seconds: float) -> None:
        self.clock.true_now += timedelta(seconds=seconds)
        self.run(self._wait(seconds))

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PlayedLoop)
        loop.now_s += seconds
        for _ in range(5):
            await asyncio.sleep(0)

    # what goes wrong

    @precondition(lambda self: self.life is not None)
    @rule()
    def bot_dies(self) -> None:
        assert self.life is not None
        self.broker.cut()
        self.run(self.life.crash())
        self.life = None
        self.oracle.crashed()

    @precondition(lambda self: self.life is None)
    @rule(default_mode=STARTS)
    def start_bot(self, default_mode: DefaultMode) -> None:
        self.life = Life(self.folder, self.clock, self.broker, self, default_mode, self.policy, clear=self.clears)
        self.run(self.life.begin())

    @precondition(lambda self: self.life is not None and self.broker.line is not None)
    @rule()
    def line_is_cut(self) -> None:
        assert self.life is not None
        self.broker.cut()
        self.run(self._lose())

    async def _lose(self) -> None:
        assert self.life is not None
        self.life.wire.lose()

    @precondition(lambda self: self.life is not None and self.broker.line is None)
    @rule()
    def connect(self) -> None:
        assert self.life is not None
        self.marker = None
        self.life.wire.connect()

    @rule(
        trouble=st.sampled_from(["session", "acl", "disk", "disk", "clock", "hang", "hang"]), amount=st.integers(0, 3)
    )
    def trouble(self, trouble: str, amount: int) -> None:
        match trouble:
            case "session":
                self.broker_loses_the_session()
            case "acl":
                self.broker.forbids_clear = amount > 1
            case "disk" if self.life is not None:
                self.life.database.failures = (0, 1, 3, 1000)[amount]
            case "clock":
                self.clock.wrong_by = timedelta(seconds=(0, 20, -20, 0)[amount])
            case "hang" if self.life is not None:
                if amount:
                    self.life.handlers.free.clear()
                else:
                    self.life.handlers.free.set()

    def broker_loses_the_session(self) -> None:
        session = self.broker.session
        copies = [] if session is None else [*session.waiting, *session.in_flight.values()]
        self.broker.lose_session()
        self.oracle.session_lost(copies, self.broker.retained)
        if self.life is not None:
            self.run(self._lose())

    # and in the end

    @precondition(lambda self: len(self.oracle.commands) >= self.rested_at + 6)
    @rule()
    def comes_to_rest(self) -> None:
        self.rested_at = len(self.oracle.commands)
        self.make_quiet()
        self.check_quiet()
        self.broker.let_ids_roll()

    def make_quiet(self) -> None:
        """Mend everything, and wait until nothing moves any more."""
        if self.life is None:
            self.start_bot(DefaultMode.STANDBY)
        assert self.life is not None
        self.life.database.failures = 0
        self.life.handlers.free.set()
        self.broker.forbids_clear = False
        # The second connection empties mailboxes whose clear was lost with an earlier one.
        for _ in range(2):
            if self.broker.line is not None:
                self.line_is_cut()
            self.connect()
            for _ in range(4):
                self.everything_flows()
                self.run(self._wait(2.5))
            self.everything_flows()

    def check_quiet(self) -> None:
        """Everything has ended, and what is stored, in memory and published is what the commands add up to."""
        assert self.life is not None
        self.oracle.check_quiet()
        assert not self.oracle.details, self.oracle.details
        desired, expected = self.life.dispatcher.desired, self.oracle.expected
        assert desired.mode == expected.mode
        assert frozenset(desired.active) == expected.active
        assert {key: Decimal(str(getattr(desired.settings, key))) for key in expected.settings} == expected.settings
        assert self.broker.retained["bot/mode"].payload.decode() == expected.mode
        assert desired.mode == "ACTIVE" or not self.life.handlers.gate_is_open
        assert self.life.leftovers() == {}
        if self.clears:
            assert [topic for topic in self.broker.retained if topic.endswith("/set")] == []
            assert {topic: seen for topic, seen in self.life.inbox._handled.items() if seen} == {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.get_loop().run_until_complete(work)


def _flags(way: Way) -> tuple[int, bool]:
    return {"queued": (1, False), "both": (1, True), "kept": (0, True), "fleeting": (0, False)}[way]


def _time(at: Any) -> str | None:
    return None if at is None else rfc3339(at)


def _write(kind: str, value: Any, said: dict[str, Any]) -> tuple[str, bytes]:
    """Return the topic of a command and its payload, bare where its sender says nothing besides."""
    match kind:
        case "mode":
            topic, content = "bot/mode/set", value
        case "bad":
            topic, content = "bot/mode/set", "FASTER"
        case "crypto":
            topic, content = f"bot/cryptos/{value[0]}/set", value[1]
        case "cryptos":
            topic, content = "bot/cryptos/set", list(value)
        case "config":
            ((key, content),) = value.items()
            topic = f"bot/config/{key}/set"
        case _:
            argument = {"symbol": "BTC"} if kind == "close" else {}
            fields = argument | said
            return f"bot/request/{kind}", json.dumps(fields).encode() if fields else b"PRESS"
    if said:
        return topic, json.dumps({"value": content, **said}).encode()
    return topic, content.encode() if isinstance(content, str) else json.dumps(content).encode()


@pytest.fixture
def machine(tmp_path: Path) -> type[DeliveryMachine]:
    url = f"sqlite:///{tmp_path / 'template.sqlite3'}"
    migrate(url, tmp_path, BotClock()())
    connection = sqlite3.connect(tmp_path / "template.sqlite3")
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()

    return type("Machine", (DeliveryMachine,), {"template": tmp_path / "template.sqlite3", "faults": Counter()})


@pytest.mark.timeout(3600 if LONG else 120)
def test_nothing_is_lost_run_twice_or_run_backwards(
    machine: type[DeliveryMachine], request: pytest.FixtureRequest
) -> None:
    chosen = request.config.getoption("hypothesis_seed", None)
    number = int(chosen) if chosen is not None else random.SystemRandom().getrandbits(32) if LONG else 0
    print(f"--hypothesis-seed={number}")  # noqa: T201 - so that a failure can be played again
    profile = settings(
        max_examples=300 if LONG else 40,
        stateful_step_count=60,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
    )
    try:
        run_state_machine_as_test(seed(number)(machine), settings=profile)
    finally:
        _report(machine, number)


def _report(machine: type[DeliveryMachine], number: int) -> None:
    folder = os.environ.get("TORTURE_REPORT_DIR")
    if folder:
        figures: dict[str, int | str] = {
            "promise": "G3",
            "where": "state machine",
            "steps": machine.steps,
            "examples": machine.examples,
            "commands": machine.commands,
            "executed": machine.executed,
            "lost": machine.faults["lost"],
            "doubled": machine.faults["doubled"],
            "backwards": machine.faults["backwards"],
            "seed": number,
        }
        (Path(folder) / "g3_machine.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
