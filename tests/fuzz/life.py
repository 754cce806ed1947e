"""The whole way of a command, from the wire to the real handlers, on a journal of its own and a broker in hand."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

from allora_mqtt.control.desired import Desired
from allora_mqtt.control.dispatcher import Dispatcher
from allora_mqtt.control.handlers import BotHandlers
from allora_mqtt.control.inbox import Inbox
from allora_mqtt.control.lookout import Lookout
from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.reporter import Identity, Reporter
from allora_mqtt.control.state_guard import StateGuard
from allora_mqtt.control.switchboard import Switchboard
from allora_mqtt.control.trust import Trust
from allora_mqtt.control.wire import Packet
from allora_mqtt.market.gate import SendGate
from allora_mqtt.market.nonces import NonceSource
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings
from allora_mqtt.protocol.topics import Event, Topics
from allora_mqtt.store.books import Books
from allora_mqtt.store.database import Database
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.migrate import migrate
from allora_mqtt.store.predictions import PredictionBook
from allora_mqtt.trading.engine import Engine, Orders
from allora_mqtt.trading.execution import Executor
from allora_mqtt.trading.feed import Feed
from allora_mqtt.trading.portfolio import Portfolio
from allora_mqtt.trading.reconciler import Reconciler
from allora_mqtt.trading.signals import Signals
from allora_mqtt.trading.skill_keeper import SkillKeeper
from allora_mqtt.trading.strategy import BUILT_IN
from tests.fuzz.canned import CannedAllora, CannedExchange, allora, gateway
from tests.integration.control.bench import Clock

_EXCHANGE: Final = {
    "metaAndAssetCtxs": b'[{"universe":[{"name":"BTC","szDecimals":5,"maxLeverage":40},{"name":"ETH","szDecimals":4,'
    b'"maxLeverage":25}]},[{"markPx":"64000"},{"markPx":"3000"}]]',
    "clearinghouseState": b'{"marginSummary":{"accountValue":"500","totalMarginUsed":"0"},"withdrawable":"500",'
    b'"assetPositions":[]}',
    "frontendOpenOrders": b"[]",
    "userFillsByTime": b"[]",
    "userAbstraction": b'"default"',
}
_ALLORA: Final = (
    b'{"status":true,"data":{"topics":[{"topic_id":14,"topic_name":"BTC 8h Price Prediction","epoch_length":60,'
    b'"is_active":true},{"topic_id":9,"topic_name":"ETH 8h Price Prediction","epoch_length":60,"is_active":true}]}}'
)
_LONGEST_TOPIC: Final = 65_535


class EchoWire:
    """A broker in hand: keeps what is sent, refuses what paho refuses, and returns what the bot itself listens to."""

    def __init__(self, topics: Topics) -> None:
        self.is_up = True
        self.sent: list[tuple[str, bytes]] = []
        self.answered = asyncio.Event()
        self.deliver: Callable[[Packet], None] = lambda _packet: None
        self._topics = topics

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes | None = None
    ) -> asyncio.Future[None]:
        del retain, qos, correlation
        if not topic or set("#+\0") & set(topic) or len(topic.encode()) > _LONGEST_TOPIC:
            raise ValueError(f"Invalid topic {topic[:80]!r}.")
        self.sent.append((topic, payload))
        loop = asyncio.get_running_loop()
        if self._topics.address(topic) is not None or topic == self._topics.heartbeat:
            loop.call_soon(self.deliver, Packet(topic, payload, retained=False, packet_id=None, acknowledge=_nothing))
        if topic == self._topics.event(Event.COMMAND):
            self.answered.set()
        future: asyncio.Future[None] = loop.create_future()
        future.set_result(None)
        return future


class Faults(logging.Handler):
    """Collects what must not be: exceptions in the log, and those that nobody took."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None:
            self.seen.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    def on_loop(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.seen.append(f"{context.get('message')}: {context.get('exception')!r}")


class Life:
    """One life of everything between the wire and the exchange's door; use `begin` and `end`."""

    def __init__(self, folder: TemporaryDirectory[str], trust: Trust) -> None:
        self._folder = folder
        self.trust = trust
        self.clock = clock = Clock()
        self.topics = topics = Topics("bot")
        self.wire = EchoWire(topics)
        self.faults = Faults()
        url = f"sqlite:///{Path(folder.name) / 'journal.sqlite3'}"
        migrate(url, Path(folder.name), clock())
        self.database = database = Database(url)
        self.journal, ledger, outbox = Journal(database), Ledger(database), Outbox()
        outbox.attach(self.wire)
        identity = Identity("1", "sim", "mine", clock())
        self.reporter = Reporter(outbox, topics, ledger, database, identity, HardLimits(), 5, clock)
        self._gateway = gateway(CannedExchange(_EXCHANGE))
        desired = Desired(Mode.STANDBY, clock(), "start", 0, {}, RuntimeSettings())
        self.engine = self._engine(ledger, desired)
        self.reporter.attach(self.engine)
        lookout = Lookout(identity.instance_id, identity.started_at, [], 5)
        handlers = BotHandlers(
            self.engine,
            self.reporter,
            lookout,
            self.journal,
            Books(database),
            HardLimits(),
            {"popular": ["BTC", "ETH"]},
            list,
            _nothing,
            clock,
            on_stop_flatten=False,
        )
        policy = WaitingPolicy("run", 60)
        self.dispatcher = Dispatcher(self.journal, handlers, outbox, topics, desired, policy, clock)
        self.inbox = Inbox(topics, self.journal, self.dispatcher, outbox, trust, clock, clear_mailbox=True)
        self.dispatcher.on_finished = self.inbox.finished
        self.dispatcher.on_answered = self.inbox.answered
        self.switchboard = Switchboard(
            topics,
            lookout,
            self.inbox,
            self.dispatcher,
            outbox,
            self.reporter,
            StateGuard(topics, outbox, self.reporter, clock),
            None,
            clock,
            _nothing,
            lambda aside: self.engine.stand_aside(aside=aside),
        )
        self.wire.deliver = self.switchboard.on_packet
        handlers.apply(desired, desired, may_trade=False)
        self.tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def begin(cls, trust: Trust | None = None) -> Self:
        """Start to live, and let the broker tell the end of what waited."""
        life = cls(TemporaryDirectory(prefix="fuzz-"), trust or Trust(None))
        logging.getLogger().addHandler(life.faults)
        asyncio.get_running_loop().set_exception_handler(life.faults.on_loop)
        await life.engine.feed.refresh_catalog()
        life.tasks = [asyncio.create_task(life.inbox.run()), asyncio.create_task(life.dispatcher.run())]
        life.switchboard.on_session(resumed=False)
        life.switchboard.on_subscribed()
        # Until it has looked for answers that may have been lost, it may give one twice.
        while life.switchboard._answering is None or not life.switchboard._answering.done():
            await asyncio.sleep(0.001)
        await life.quiet()
        return life

    async def end(self) -> None:
        """Stop living, and leave nothing behind."""
        self.switchboard.on_lost("the end")
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._gateway.close()
        await self.database.close()
        asyncio.get_running_loop().set_exception_handler(None)
        logging.getLogger().removeHandler(self.faults)
        self._folder.cleanup()

    async def quiet(self) -> None:
        """Wait until everything that a message has set going has ended."""
        await self.database.write(lambda _connection: None)
        while self.inbox.waits_for_disk:
            await asyncio.sleep(0)
        while self.engine._tasks:
            await asyncio.wait(set(self.engine._tasks))
        for _ in range(3):
            await asyncio.sleep(0)

    def _engine(self, ledger: Ledger, desired: Desired) -> Engine:
        now_s = self._now_s
        client = allora(CannedAllora(_ALLORA))
        feed = Feed(self._gateway, client, [], 1, now_s)
        gate, portfolio = SendGate(), Portfolio()
        nonces = NonceSource(lambda: int(now_s() * 1000))
        executor = Executor(self._gateway, ledger, gate, nonces, _new_id, self.clock, self.reporter)
        reconciler = Reconciler(
            self._gateway, ledger, portfolio, executor, desired.settings, 60, self.clock, self.reporter
        )
        orders = Orders(desired.mode, desired.active, desired.settings)
        skill = SkillKeeper(PredictionBook(self.database, "sim"), self._gateway.minute_closes, now_s)
        thoughts = Signals(ledger, BUILT_IN, skill, None, 1800, _new_id, self.clock)
        return Engine(feed, executor, portfolio, reconciler, thoughts, gate, orders, "hold", self.clock, self.reporter)

    def _now_s(self) -> float:
        return self.clock().timestamp()


def _new_id() -> str:
    return secrets.token_hex(16)


def _nothing() -> None:
    pass
