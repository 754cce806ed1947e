"""The real inbox, dispatcher and journal between a wire that is played by hand and handlers that only take notes."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from allora_mqtt.control import desired as rules
from allora_mqtt.control.accepted import Outcome
from allora_mqtt.control.desired import Desired
from allora_mqtt.control.dispatcher import Dispatcher
from allora_mqtt.control.inbox import Inbox
from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.spool import Spool
from allora_mqtt.control.trust import Trust
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.commands import Body, Flatten, Mode, SetConfig, SetCrypto, SetMode, Switch
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings
from allora_mqtt.protocol.spool import FOLDER
from allora_mqtt.protocol.topics import Topics
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.database import Database
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.migrate import migrate
from allora_mqtt.transport.spool import SpoolFolder

MODE = "bot/mode/set"


@dataclass
class Sent:
    """A message that the bot published."""

    topic: str
    payload: bytes
    retain: bool
    future: asyncio.Future[None]


class HandWire:
    """A wire whose other end is the test: it keeps what is sent, and acknowledges it unless told not to."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.is_up = True
        self.acknowledges = True

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes | None = None
    ) -> asyncio.Future[None]:
        del qos, correlation
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self.is_up:
            future.cancel()
            return future
        self.sent.append(Sent(topic, payload, retain, future))
        if self.acknowledges:
            future.set_result(None)
        return future

    def on(self, topic: str) -> list[bytes]:
        return [message.payload for message in self.sent if message.topic == topic]


@dataclass
class NotingHandlers:
    """Handlers that note what was run, and can be made to hang or to fail."""

    clock: Callable[[], datetime]
    ran: list[Body] = field(default_factory=list)
    prepared: list[Body] = field(default_factory=list)
    trading: list[bool] = field(default_factory=list)
    hold: asyncio.Event | None = None
    fail: Exception | None = None

    async def run(self, body: Body, seq: int, desired: Desired) -> Outcome:
        if self.hold is not None and not body.is_urgent:
            await self.hold.wait()
        if self.fail is not None and not isinstance(body, Flatten):
            raise self.fail
        self.ran.append(body)
        match body:
            case SetMode(value=mode):
                return Outcome({"mode": mode.value}, change=self._mode(mode, seq))
            case Flatten():
                failure = self.fail if isinstance(self.fail, BotError) else None
                return Outcome({}, change=self._mode(Mode.STANDBY, seq), failure=failure)
            case SetCrypto(symbol=symbol, value=switch):
                active = dict(desired.active)
                active.pop(symbol, None)
                if switch is Switch.ON:
                    active[symbol] = 14
                return Outcome({}, change=lambda present: rules.with_active(present, active))
            case SetConfig(value=values):
                settings = desired.settings.changed(values, HardLimits())
                return Outcome({}, change=lambda present: replace(present, settings=settings))
        return Outcome({})

    def _mode(self, mode: Mode, seq: int) -> Callable[[Desired], Desired]:
        return lambda present: rules.with_mode(present, mode, reason="test", seq=seq, now=self.clock())

    async def prepare(self, body: Body) -> BotError | None:
        self.prepared.append(body)
        return None

    def apply(self, old: Desired, new: Desired, *, may_trade: bool, command_seq: int | None = None) -> None:
        del old, new, command_seq
        self.trading.append(may_trade)


class Bench:
    """One life of the bot's command path."""

    def __init__(
        self,
        database: Database,
        desired: Desired,
        clock: "Clock",
        policy: WaitingPolicy,
        folder: Path,
        *,
        clear: bool,
        trust: Trust,
    ) -> None:
        self.database = database
        self.folder = folder / FOLDER
        self.clock = clock
        self.topics = Topics("bot")
        self.wire = HandWire()
        self.outbox = Outbox()
        self.outbox.attach(self.wire)
        self.journal = Journal(database)
        self.handlers = NotingHandlers(clock)
        self.dispatcher = Dispatcher(self.journal, self.handlers, self.outbox, self.topics, desired, policy, clock)
        self.inbox = Inbox(self.topics, self.journal, self.dispatcher, self.outbox, trust, clock, clear_mailbox=clear)
        self.spool = Spool(SpoolFolder(self.folder), self.journal, self.inbox, clock)
        self.dispatcher.on_ended = self.spool.ended
        self.dispatcher.on_finished = self.inbox.finished
        self.dispatcher.on_answered = self.inbox.answered
        self.acknowledged: list[int] = []
        self._packet_ids = itertools.count(1)

    def mode(self) -> Mode:
        return self.dispatcher.desired.mode

    def connect(self, *, resumed: bool = True) -> None:
        self.inbox.on_session(resumed=resumed)

    def mailbox_read(self) -> None:
        self.inbox.on_mailbox_read()

    def online(self, *, resumed: bool = True) -> None:
        self.connect(resumed=resumed)
        self.mailbox_read()

    def deliver(
        self,
        topic: str,
        payload: str | bytes | dict[str, Any],
        *,
        retained: bool = False,
        packet_id: int | None = None,
        again: bool = False,
        qos: int = 1,
        **extra: Any,
    ) -> int:
        identifier = next(self._packet_ids) if packet_id is None else packet_id
        if isinstance(payload, dict):
            payload = json.dumps(payload)
        content = payload.encode() if isinstance(payload, str) else payload
        address = self.topics.address(topic)
        assert address is not None, topic
        packet = Packet(
            topic=topic,
            payload=content,
            retained=retained,
            packet_id=identifier if qos else None,
            acknowledge=lambda: self.acknowledged.append(identifier),
            again=again,
            **extra,
        )
        self.inbox.on_packet(packet, address)
        return identifier

    def responses(self) -> list[dict[str, Any]]:
        found = [json.loads(sent.payload) for sent in self.wire.sent if sent.topic.startswith("bot/response/")]
        return sorted(found, key=lambda response: response["received_at"])

    async def outcomes(self, count: int) -> list[str]:
        """Wait for so many responses and return their statuses (or error codes, where there is one)."""
        async with asyncio.timeout(60):
            while len(self.responses()) < count:
                await asyncio.sleep(0.002)
        return [
            response["error"]["code"] if response["status"] == "REJECTED" else response["status"]
            for response in self.responses()
        ]

    async def quiet(self) -> None:
        """Wait until nothing moves any more."""
        for _ in range(3):
            await self.database.write(lambda _connection: None)
            for _ in range(20):
                await asyncio.sleep(0)


@dataclass
class Clock:
    """A clock that goes on by a millisecond each time somebody looks."""

    now: datetime = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def database_url(folder: Path) -> str:
    """Return where the journal of a folder is."""
    return f"sqlite:///{folder / 'journal.sqlite3'}"


@asynccontextmanager
async def life(
    folder: Path,
    clock: Clock,
    *,
    default_mode: DefaultMode = DefaultMode.STANDBY,
    policy: WaitingPolicy | None = None,
    clear: bool = True,
    before_load: Callable[[Bench], None] | None = None,
    spooling: bool = False,
    trust: Trust | None = None,
) -> AsyncIterator[Bench]:
    """Live once on the journal in a folder; leaving is a crash: nothing is said, nothing is finished."""
    url = database_url(folder)
    migrate(url, folder, clock())
    database = Database(url)
    saved = await Journal(database).saved()
    desired = rules.at_start(saved, default_mode, {}, RuntimeSettings(), clock())
    bench = Bench(
        database, desired, clock, policy or WaitingPolicy("run", 60), folder, clear=clear, trust=trust or Trust(None)
    )
    if before_load is not None:
        before_load(bench)
    await bench.spool.load()
    await bench.inbox.load()
    tasks = [asyncio.create_task(bench.inbox.run()), asyncio.create_task(bench.dispatcher.run())]
    if spooling:
        tasks.append(asyncio.create_task(bench.spool.run()))
    try:
        yield bench
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()
