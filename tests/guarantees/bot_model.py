"""The bot's command path as it is, on a wire, a disk and a clock that move only when they are told to."""

import asyncio
import itertools
import json
import queue
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from allora_mqtt.control import desired as rules
from allora_mqtt.control.accepted import Outcome
from allora_mqtt.control.desired import Desired
from allora_mqtt.control.dispatcher import Dispatcher
from allora_mqtt.control.inbox import Inbox
from allora_mqtt.control.lookout import Lookout
from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.reporter import Identity, Reporter
from allora_mqtt.control.state_guard import StateGuard
from allora_mqtt.control.switchboard import Switchboard
from allora_mqtt.control.trust import Trust
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.commands import Body, Flatten, Mode, SetConfig, SetCrypto, SetCryptos, SetMode, Switch
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.protocol.messages import Response
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings
from allora_mqtt.protocol.topics import Topics
from allora_mqtt.settings import DefaultMode
from allora_mqtt.store.database import Database
from allora_mqtt.store.entries import Changes
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.ledger import Ledger
from tests.guarantees.broker_model import Broker, Connack, Delivery, Line, Message, Puback, Publish, Suback, Subscribe

T = TypeVar("T")


class PlayedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__()

    def time(self) -> float:
        return self.now_s


class BotClock:
    """The machine's clock as the bot reads it: the true time, and what it is wrong by."""

    def __init__(self) -> None:
        self.true_now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        self.wrong_by = timedelta(0)

    def __call__(self) -> datetime:
        self.true_now += timedelta(milliseconds=1)
        return self.true_now + self.wrong_by


class SteppedDatabase(Database):
    """The database without its thread: it writes when it is told to, and fails as often as it is told to."""

    def __init__(self, url: str, on_commit: Callable[[], None]) -> None:
        super().__init__(url)
        self._on_commit = on_commit
        self.failures = 0

    def _write_loop(self) -> None:
        pass

    async def read(self, work: Callable[[Connection], T]) -> T:
        return self._read(work)

    def step(self, count: int) -> int:
        """Write at most so many of what waits, in one transaction, and return how many those were."""
        batch: list[Any] = []
        while len(batch) < count:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None and job.done.set_running_or_notify_cancel():
                batch.append(job)
        if batch:
            try:
                results = self._commit(batch)
            except Exception as error:  # noqa: BLE001 - as the writer's thread does it
                self._commit_each(batch, error)
            else:
                for job, result in zip(batch, results, strict=True):
                    job.done.set_result(result)
            self._on_commit()
        return len(batch)

    def _commit(self, jobs: list[Any]) -> list[Any]:
        if self.failures:
            self.failures -= 1
            raise sqlite3.OperationalError("database or disk is full")
        return super()._commit(jobs)

    def die(self) -> None:
        """Leave everything that is not committed."""
        self._disconnect()
        self._readers.shutdown()
        self._engine.dispose()


class NotingJournal(Journal):
    """Notes in which order ends are stored."""

    def __init__(self, database: Database, on_finish: Callable[[int], None], on_new: Callable[[], None]) -> None:
        super().__init__(database)
        self._on_finish = on_finish
        self._on_new = on_new

    def connected(self, place: int | None = None, *, resumed: bool) -> asyncio.Future[None]:
        stored = super().connected(place, resumed=resumed)
        if not resumed:
            stored.add_done_callback(self._noted)
        return stored

    def _noted(self, stored: asyncio.Future[None]) -> None:
        if not stored.cancelled() and stored.exception() is None:
            self._on_new()

    async def finish(self, seq: int, response: Response, changes: Changes) -> None:
        self._on_finish(seq)
        await super().finish(seq, response, changes)


class ModelHandlers:
    """Does what commands ask for, to nothing but the desired state and a gate."""

    def __init__(self, clock: Callable[[], datetime], on_run: Callable[[int], None]) -> None:
        self._clock = clock
        self._on_run = on_run
        self.free = asyncio.Event()
        self.free.set()
        self.gate_is_open = False
        self.on_opened: Callable[[Desired], None] = lambda _desired: None
        self.on_applied: Callable[[Desired | None, Desired], None] = lambda _old, _new: None

    async def run(self, body: Body, seq: int, desired: Desired) -> Outcome:
        self._on_run(seq)
        if not body.is_urgent:
            await self.free.wait()
        match body:
            case SetMode(value=mode):
                return Outcome({"mode": mode.value}, change=self._mode(mode, seq))
            case Flatten():
                return Outcome({}, change=self._mode(Mode.STANDBY, seq))
            case SetCryptos(value=wanted):
                return Outcome({}, change=lambda present: rules.with_active(present, dict.fromkeys(wanted, 14)))
            case SetCrypto(symbol=symbol, value=switch):
                active = {name: 14 for name in desired.active if name != symbol}
                if switch is Switch.ON:
                    active[symbol] = 14
                return Outcome({}, change=lambda present: rules.with_active(present, active))
            case SetConfig(value=values):
                settings = desired.settings.changed(values, HardLimits())
                return Outcome({}, change=lambda present: replace(present, settings=settings))
        return Outcome({})

    def _mode(self, mode: Mode, seq: int) -> Callable[[Desired], Desired]:
        return lambda present: rules.with_mode(present, mode, reason="command", seq=seq, now=self._clock())

    async def prepare(self, body: Body) -> BotError | None:
        if isinstance(body, Flatten) or (isinstance(body, SetMode) and body.value is not Mode.ACTIVE):
            self.gate_is_open = False
        return None

    def apply(self, old: Desired | None, new: Desired, *, may_trade: bool, command_seq: int | None = None) -> None:
        del command_seq
        if may_trade and not self.gate_is_open:
            self.on_opened(new)
        self.gate_is_open = may_trade
        self.on_applied(old, new)


class ModelWire:
    """The link's side of a line: what it hands to the switchboard, and what it sends."""

    def __init__(self, broker: Broker, on_response: Callable[[Response], None]) -> None:
        self._broker = broker
        self._on_response = on_response
        self._line: Line | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._packet_ids = itertools.count(1)
        self.is_up = False
        self.switchboard: Switchboard | None = None
        self.on_read: Callable[[Delivery], None] = lambda _delivery: None

    def connect(self) -> None:
        self._line = self._broker.connect()

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes | None = None
    ) -> asyncio.Future[None]:
        del correlation
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if topic.startswith("bot/response/"):
            self._on_response(Response.model_validate_json(payload))
        if not self.is_up or self._line is None:
            future.cancel()
            return future
        packet = Publish(Message(topic, payload, qos, retain), next(self._packet_ids))
        self._line.to_broker.append(packet)
        if qos == 0:
            future.set_result(None)
        else:
            self._waiting[packet.packet_id] = future
        return future

    def on_announced(self) -> None:
        """The bot has on disk that its session is a new one."""
        self._broker.announced()

    def read(self, count: int) -> int:
        """Take so many packets off the line, and return how many there were."""
        done = 0
        while done < count and self._line is not None and self._line.to_bot:
            done += 1
            match self._line.to_bot.popleft():
                case Connack(resumed):
                    self._listener().on_session(resumed=resumed)
                    self._line.to_broker.append(Subscribe())
                case Suback():
                    # The link learns of it in a task of its own.
                    asyncio.get_running_loop().call_soon(self._stand, self._line)
                case Puback(packet_id):
                    future = self._waiting.pop(packet_id, None)
                    if future is not None and not future.done():
                        future.set_result(None)
                case Delivery() as delivery:
                    self._hand_over(self._line, delivery)
        return done

    def lose(self) -> None:
        """Notice that the line is cut."""
        self._line = None
        was_up, self.is_up = self.is_up, False
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.cancel()
        if was_up:
            self._listener().on_lost("cut")

    def _stand(self, line: Line) -> None:
        if line is self._line:
            self.is_up = True
            self._listener().on_subscribed()

    def _hand_over(self, line: Line, delivery: Delivery) -> None:
        copy = delivery.copy

        def acknowledge() -> None:
            if copy.packet_id is not None and line is self._line:
                line.to_broker.append(Puback(copy.packet_id))

        self.on_read(delivery)
        number = copy.message.number
        packet = Packet(
            topic=copy.message.topic,
            payload=copy.message.payload,
            retained=copy.retained,
            packet_id=copy.packet_id,
            acknowledge=acknowledge,
            again=delivery.again,
            properties=() if number is None else (("source", f"n{number}"),),
        )
        self._listener().on_packet(packet)

    def _listener(self) -> Switchboard:
        if self.switchboard is None:
            raise RuntimeError("the wire has no switchboard yet")
        return self.switchboard


class Life:
    """One life of the bot's command path, from its start to its crash."""

    def __init__(
        self,
        folder: Path,
        clock: BotClock,
        broker: Broker,
        watcher: "Watcher",
        default_mode: DefaultMode,
        policy: WaitingPolicy,
        *,
        clear: bool,
    ) -> None:
        self.database = SteppedDatabase(f"sqlite:///{folder / 'journal.sqlite3'}", watcher.on_commit)
        self.handlers = ModelHandlers(clock, watcher.on_run)
        self.wire = ModelWire(broker, watcher.on_response)
        self.wire.on_read = watcher.on_read
        self.default_mode = default_mode
        self._clock = clock
        self._watcher = watcher
        self._policy = policy
        self._clear = clear
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        topics, outbox, clock = Topics("bot"), Outbox(), self._clock
        outbox.attach(self.wire)
        journal = NotingJournal(self.database, self._watcher.on_finish, self.wire.on_announced)
        self.saved = await journal.saved()
        desired = rules.at_start(self.saved, self.default_mode, {}, RuntimeSettings(), clock())
        self.dispatcher = Dispatcher(journal, self.handlers, outbox, topics, desired, self._policy, clock)
        self.inbox = Inbox(topics, journal, self.dispatcher, outbox, Trust(None), clock, clear_mailbox=self._clear)
        self.dispatcher.on_finished = self.inbox.finished
        self.dispatcher.on_answered = self.inbox.answered
        identity = Identity("1", "sim", uuid.uuid4().hex, clock())
        ledger = Ledger(self.database)
        reporter = Reporter(outbox, topics, ledger, self.database, identity, HardLimits(), 5, clock)
        guard = StateGuard(topics, outbox, reporter, clock)
        self.wire.switchboard = Switchboard(
            topics,
            Lookout(identity.instance_id, identity.started_at, [], 5),
            self.inbox,
            self.dispatcher,
            outbox,
            reporter,
            guard,
            None,
            clock,
            lambda: None,
            lambda _aside: None,
        )
        self._watcher.on_start(desired, self.default_mode)
        self.handlers.apply(desired, desired, may_trade=desired.mode is Mode.ACTIVE)
        self.handlers.on_opened = self._watcher.on_opened
        self.handlers.on_applied = reporter.follow
        reporter.follow(None, desired)
        await self.inbox.load()
        self._tasks = [asyncio.create_task(self.inbox.run()), asyncio.create_task(self.dispatcher.run())]

    def check_alive(self) -> None:
        """Fail with the fault of a task that has ended."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def crash(self) -> None:
        """End as SIGKILL ends it: nothing is said and nothing is finished."""
        self.wire.is_up = False
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.database.die()

    def leftovers(self) -> dict[str, Any]:
        """Return what is still in memory and should not be when everything is quiet."""
        inbox, dispatcher = self.inbox, self.dispatcher
        found: dict[str, Any] = {
            "unconfirmed": inbox._unconfirmed,
            "pending": inbox._pending_by_topic,
            "held": inbox._held,
            "candidates": inbox._candidates._known,
            "arrivals": inbox._arrivals,
            "waiting": dispatcher._waiting,
            "urgent": dispatcher._urgent,
        }
        return {name: content for name, content in found.items() if content}


class Watcher:
    """Who is told what the bot does."""

    def on_finish(self, seq: int) -> None:
        raise NotImplementedError

    def on_commit(self) -> None:
        raise NotImplementedError

    def on_run(self, seq: int) -> None:
        raise NotImplementedError

    def on_response(self, response: Response) -> None:
        raise NotImplementedError

    def on_read(self, delivery: Delivery) -> None:
        raise NotImplementedError

    def on_start(self, desired: Desired, default_mode: DefaultMode) -> None:
        raise NotImplementedError

    def on_opened(self, desired: Desired) -> None:
        raise NotImplementedError


def stored_rows(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the journal of commands as it is on disk."""
    cursor = connection.execute(
        "SELECT seq, source, command_id, duplicate_of, topic, payload, retained, status, error_code, response, answered"
        " FROM bot_commands ORDER BY seq"
    )
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    for row in rows:
        row["response"] = json.loads(row["response"]) if row["response"] else None
    return rows
