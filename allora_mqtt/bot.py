"""Puts the bot together, runs it, and takes it apart in order."""

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from pydantic import JsonValue

from allora_mqtt import __version__, logs
from allora_mqtt.configuration import Loaded, SettingsError, load
from allora_mqtt.control import desired as rules
from allora_mqtt.control.discovery import Discovery, as_shown
from allora_mqtt.control.dispatcher import Dispatcher
from allora_mqtt.control.handlers import BotHandlers
from allora_mqtt.control.inbox import Inbox
from allora_mqtt.control.key_watch import KeyWatch
from allora_mqtt.control.log_topics import LogTopics
from allora_mqtt.control.lookout import Lookout
from allora_mqtt.control.ordering import WaitingPolicy
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.control.reporter import Identity, Reporter, new_instance_id
from allora_mqtt.control.spool import Spool
from allora_mqtt.control.state_guard import StateGuard
from allora_mqtt.control.switchboard import Switchboard
from allora_mqtt.control.trust import Trust
from allora_mqtt.dealing import build_engine, build_hyperliquid
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.protocol import spool as spooled
from allora_mqtt.protocol.commands import ACTIONS, Mode
from allora_mqtt.protocol.errors import BotError, ErrorCode, Rejected
from allora_mqtt.protocol.messages import PROTOCOL_VERSION, Availability, Info
from allora_mqtt.protocol.runtime import HardLimits
from allora_mqtt.protocol.topics import LogLevel, Topics
from allora_mqtt.service_manager import Condition, ServiceManager
from allora_mqtt.settings import Network, Settings, parse_bind
from allora_mqtt.simulator_process import SimulatorFailed, SimulatorProcess
from allora_mqtt.store.books import Books
from allora_mqtt.store.database import Database
from allora_mqtt.store.entries import Changes, Saved
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.lease import Lease, LeaseLost
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.retention import Retention
from allora_mqtt.surroundings import (
    CannotStart,
    Exchange,
    broker,
    find_exchange,
    keep_books_apart,
    lease_of,
    only_bot_in,
    only_bot_on,
    open_database,
    outlast_another_key,
    simulator,
    user_locks,
)
from allora_mqtt.thoughts import build_signals
from allora_mqtt.trading.engine import Engine, Orders
from allora_mqtt.trading.records import order_view
from allora_mqtt.trading.strategy import Strategies
from allora_mqtt.transport.connection import Endpoint, Subscription, Will
from allora_mqtt.transport.embedded_broker import BrokerUnusable
from allora_mqtt.transport.mqtt import MqttLink
from allora_mqtt.transport.spool import SpoolFolder
from allora_mqtt.welcome import greeting, program_name

log = logging.getLogger(__name__)

_EXIT_CANNOT_START: Final = 2
_STORE_RETRY_S: Final = 1.0
_REMOVED_COINS: Final = "discovery_removed"
"""In the store: coins that Home Assistant may not know to be gone."""
_LIVES_REMEMBERED: Final = 50
"""The broker may have kept what one of them has published."""


def run(loaded: Loaded) -> int:
    """Run the bot until it is told to end.

    Returns:
        The process's exit code: 0 after an orderly end, 2 when it could not start.
    """
    # What the bot writes is for its own user: books, backups, and what it obeys in the spool.
    os.umask(0o077)
    logs.configure(loaded.settings.bot.log_format, loaded.settings.bot.log_level)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    try:
        asyncio.run(_run(loaded))
    except (CannotStart, BrokerUnusable, SimulatorFailed) as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_CANNOT_START
    return 0


def run_broker(loaded: Loaded) -> int:
    """Run the embedded broker alone until interrupted.

    Returns:
        The process's exit code.
    """
    logs.configure(loaded.settings.bot.log_format, loaded.settings.bot.log_level)

    async def serve() -> None:
        async with broker(loaded.settings) as endpoint:
            sys.stdout.write(f"MQTT 3.1.1 broker on {endpoint}; Ctrl-C ends it, and what it holds with it.\n")
            sys.stdout.flush()
            await _until_told_to_end(asyncio.Event())

    try:
        asyncio.run(serve())
    except BrokerUnusable as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_CANNOT_START
    return 0


async def _run(loaded: Loaded) -> None:
    settings, manager = loaded.settings, ServiceManager.of(os.environ, os.getpid())
    async with AsyncExitStack() as stack:
        stack.callback(asyncio.create_task(manager.run(), name="service manager").cancel)
        stack.enter_context(only_bot_in(settings.bot.data_dir))
        while await _live(loaded, manager):
            if not settings.bot.pair:
                raise CannotStart(
                    "Another bot has taken over this one's database, which must not be; stop one of them."
                )
            log.warning("The other bot of the pair has taken over; this one stands by")


async def _live(loaded: Loaded, manager: ServiceManager) -> bool:
    """Run until the bot is told to end, or another bot takes its place; tell whether one has."""
    settings = loaded.settings
    async with AsyncExitStack() as stack:
        # The simulator comes up while the rest does.
        process = await stack.enter_async_context(simulator(settings))
        endpoint = await stack.enter_async_context(broker(settings))
        if settings.bot.pair:
            manager.look = _stands_by
        taking = asyncio.create_task(stack.enter_async_context(lease_of(settings)), name="taking the lease")
        if not await _unless_told_to_end(taking):
            return False
        lease = taking.result()
        trading = _trade(loaded, process, endpoint, lease, manager)
        if lease is None:
            await trading
            return False
        return await _as_long_as(lease, trading)


async def _as_long_as(lease: Lease, trading: Coroutine[Any, Any, None]) -> bool:
    """Keep the lease while the bot trades; tell whether another bot has taken it, which ends the trading."""
    keeping = asyncio.create_task(lease.keep(), name="lease")
    working = asyncio.create_task(trading, name="bot")
    is_replaced = False
    try:
        await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
        # A write may have learned of it before.
        await (working if working.done() else keeping)
    except* LeaseLost:
        is_replaced = True
    finally:
        for task in (working, keeping):
            task.cancel()
            await asyncio.wait({task})
    return is_replaced


async def _trade(
    loaded: Loaded,
    process: SimulatorProcess | None,
    endpoint: Endpoint,
    lease: Lease | None,
    manager: ServiceManager,
) -> None:
    """Run as the only bot on its database, its data folder and its account."""
    settings = loaded.settings
    async with AsyncExitStack() as stack:
        database = await open_database(settings, lease)
        stack.push_async_callback(database.close)
        exchange = await find_exchange(settings, process)
        await keep_books_apart(settings, exchange.traded_account, database)
        if lease is not None:
            await outlast_another_key(exchange.wallet.address, database)
        stack.enter_context(
            only_bot_on(exchange.traded_account, exchange.hyperliquid_url, user_locks(), is_pair=settings.bot.pair)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        bot = await _build(loaded, exchange, endpoint, database, session, lease)
        stack.push_async_callback(bot.hyperliquid.close)
        if bot.log_topics is not None:
            stack.enter_context(logs.also(bot.log_topics))
        if settings.bot.metrics_bind is not None:
            await stack.enter_async_context(_metrics(settings, settings.bot.metrics_bind, bot))
        await bot.run(manager)


async def _unless_told_to_end(waiting: asyncio.Task[Any]) -> bool:
    """Wait for something; give it up and return False when the bot is told to end before."""
    told = asyncio.create_task(_until_told_to_end(asyncio.Event()))
    try:
        await asyncio.wait({waiting, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_done = waiting.done()
        for task in (told, waiting):
            task.cancel()
        await asyncio.wait({told, waiting})
    return is_done


def _stands_by() -> Condition:
    """Return how a bot of a pair is that has not got the lease yet: as it should be."""
    return Condition(is_ready=True, is_alive=True, said="standing by for the other bot of the pair")


@dataclass(slots=True)
class _Bot:
    """The parts that run."""

    hyperliquid: Hyperliquid
    engine: Engine
    inbox: Inbox
    spool: Spool
    dispatcher: Dispatcher
    reporter: Reporter
    link: MqttLink
    outbox: Outbox
    log_topics: LogTopics | None
    key_watch: KeyWatch | None
    database: Database
    end: asyncio.Event

    async def run(self, manager: ServiceManager) -> None:
        """Run every part until the bot is told to end or one of them fails.

        Args:
            manager: told when the bot is online, that it is alive, and that it ends.
        """
        await self.spool.load()
        await self.inbox.load()
        manager.look = self._condition
        async with asyncio.TaskGroup() as tasks:
            link = tasks.create_task(self.link.run(), name="mqtt")
            running = [
                tasks.create_task(self.inbox.run(), name="inbox"),
                tasks.create_task(self.spool.run(), name="spool"),
                tasks.create_task(self.dispatcher.run(), name="dispatcher"),
                tasks.create_task(self.reporter.run(), name="reporter"),
                tasks.create_task(self.engine.run(), name="engine"),
            ]
            if self.log_topics is not None:
                running.append(tasks.create_task(self.log_topics.run(), name="log topics"))
            if self.key_watch is not None:
                running.append(tasks.create_task(self.key_watch.run(), name="key"))
            await _until_told_to_end(self.end)
            log.info("Ending")
            manager.stopping()
            await self.engine.block_entries()
            # Answers and the goodbye leave before the line is closed.
            await self.spool.finish()
            await self.reporter.offline()
            for task in [*running, link]:
                task.cancel()

    def _condition(self) -> Condition:
        broker = (
            "online" if self.link.is_up else f"offline: the MQTT broker {self.link.last_error or 'does not answer'}"
        )
        store = "" if self.database.is_writing else "; nothing is stored any more"
        return Condition(self.link.is_up, self.database.is_writing, f"{self.dispatcher.desired.mode}, {broker}{store}")


async def _build(
    loaded: Loaded,
    exchange: Exchange,
    endpoint: Endpoint,
    database: Database,
    session: aiohttp.ClientSession,
    lease: Lease | None,
) -> _Bot:
    settings = loaded.settings
    journal, ledger = Journal(database), Ledger(database, _retention(settings))
    topics, outbox = Topics(settings.mqtt.base_topic), Outbox()
    saved = await journal.saved()
    desired = rules.at_start(
        saved, settings.bot.default_mode, settings.default.active_cryptos, settings.trade.runtime, _now()
    )
    desired = await _within_hard_limits(desired, settings.trade.hard_limits, journal)
    identity = Identity(__version__, settings.bot.network.value, new_instance_id(), _now())
    lookout = await _lookout(identity, saved, journal, settings.bot.heartbeat_interval_s)
    reporter = Reporter(
        outbox,
        topics,
        ledger,
        database,
        identity,
        settings.trade.hard_limits,
        settings.bot.heartbeat_interval_s,
        _now,
    )
    if (newest := await ledger.newest_order()) is not None:
        reporter.last_order = order_view(newest)
    is_in_charge = None if lease is None else lease.is_held
    hyperliquid = build_hyperliquid(settings, exchange, is_in_charge)
    thoughts = build_signals(settings, desired.settings.strategy, database, hyperliquid, session, _new_id, _now)
    orders = Orders(desired.mode, desired.active, desired.settings)
    engine = await build_engine(
        settings, exchange, hyperliquid, ledger, session, orders, saved.state, reporter, thoughts, _new_id, _now
    )
    reporter.attach(engine)
    end = asyncio.Event()

    def reload() -> list[str]:
        return _reload(handlers)

    handlers = BotHandlers(
        engine,
        reporter,
        lookout,
        journal,
        Books(database),
        settings.trade.hard_limits,
        settings.bot.crypto_sets,
        reload,
        end.set,
        _now,
        on_stop_flatten=settings.bot.on_stop == "flatten",
    )
    policy = WaitingPolicy(settings.bot.waiting_activation, settings.bot.command_max_age_s)
    dispatcher = Dispatcher(journal, handlers, outbox, topics, desired, policy, _now)
    trust = _trust(settings, reporter)
    inbox = Inbox(
        topics,
        journal,
        dispatcher,
        outbox,
        trust,
        _now,
        clear_mailbox=settings.mqtt.clear_retained_commands,
        restored_at=saved.restored_at,
    )
    dispatcher.on_finished = inbox.finished
    dispatcher.on_answered = inbox.answered
    spool = Spool(
        SpoolFolder(settings.bot.data_dir / spooled.FOLDER), journal, inbox, _now, needs_ids=settings.bot.pair
    )
    dispatcher.on_ended = spool.ended
    reporter.on_tripped = _Trip(engine, dispatcher)
    hello = greeting(settings, endpoint.host, endpoint.port, desired.mode, program_name(), own_broker=endpoint.embedded)
    guard = StateGuard(topics, outbox, reporter, _now)
    discovery = _discovery(settings, identity, desired, engine.strategies, outbox, saved, journal)
    if discovery is not None:
        reporter.on_cryptos = discovery.show
    switchboard = Switchboard(
        topics,
        lookout,
        inbox,
        dispatcher,
        outbox,
        reporter,
        guard,
        discovery,
        _now,
        _write_once(hello),
        lambda aside: engine.stand_aside(aside=aside),
    )
    subscriptions = [
        *(Subscription(topic_filter) for topic_filter in topics.command_filters()),
        Subscription(topics.request_filter, keep_retain_flag=True),
        Subscription(topics.heartbeat),
        *(Subscription(topic, is_essential=False) for topic in topics.state_topics()),
        *(Subscription(topic, is_essential=False) for topic in (() if discovery is None else discovery.topics)),
    ]
    will = Will(topics.availability, Availability.OFFLINE.value.encode())
    # The other bot of a pair has the same session, and must not lose it to one that knows nothing of it yet.
    may_connect = is_in_charge if settings.bot.pair else None
    link = MqttLink(settings.mqtt, endpoint, subscriptions, will, switchboard, may_connect=may_connect)
    outbox.attach(link)

    def look_at(symbols: list[str]) -> None:
        link.subscribe([Subscription(topics.crypto(symbol), is_essential=False) for symbol in symbols])

    reporter.on_tradable = look_at
    info = _info(loaded, identity, hyperliquid, engine.strategies)
    reporter.publish_info(info)
    key_watch = _key_watch(settings, exchange, hyperliquid, reporter, info)
    if desired.mode is Mode.ACTIVE:
        log.info("ACTIVE from the start: entries wait until the commands that wait at the broker have been read")
    handlers.apply(desired, desired, may_trade=False)
    log_topics = _log_topics(settings, outbox, topics, link)
    return _Bot(
        hyperliquid, engine, inbox, spool, dispatcher, reporter, link, outbox, log_topics, key_watch, database, end
    )


def _trust(settings: Settings, reporter: Reporter) -> Trust:
    mqtt = settings.mqtt
    trust = Trust(mqtt.command_keys, mqtt.unsigned_commands, timedelta(seconds=mqtt.command_window_s))
    reporter.refused = lambda: trust.counts
    return trust


def _key_watch(
    settings: Settings, exchange: Exchange, hyperliquid: Hyperliquid, reporter: Reporter, info: Info
) -> KeyWatch | None:
    if settings.bot.network not in {Network.TESTNET, Network.MAINNET}:
        return None
    return KeyWatch(hyperliquid, exchange.wallet.address, exchange.vault_address, reporter, info, _now)


def _log_topics(settings: Settings, outbox: Outbox, topics: Topics, link: MqttLink) -> LogTopics | None:
    if settings.bot.log_mqtt == "off":
        return None
    return LogTopics(outbox, topics, LogLevel(settings.bot.log_mqtt), lambda: link.is_up, time.monotonic)


def _metrics(settings: Settings, bind: str, bot: _Bot) -> AbstractAsyncContextManager[None]:
    """Return what serves metrics; without the setting nothing of it is even imported."""
    from allora_mqtt.monitoring.listener import Listener, Watched  # noqa: PLC0415 - as said above

    host, port = parse_bind(bind)
    watched = Watched(
        bot.reporter,
        bot.engine,
        bot.inbox,
        bot.dispatcher,
        bot.outbox,
        bot.database,
        settings.bot.effective_database_url,
        settings.bot.data_dir,
        bot.link,
        _now,
    )
    return Listener(watched).serving(host, port)


def _discovery(
    settings: Settings,
    identity: Identity,
    desired: rules.Desired,
    strategies: Strategies,
    outbox: Outbox,
    saved: Saved,
    journal: Journal,
) -> Discovery | None:
    if not settings.mqtt.discovery:
        return None
    removed: list[str] = saved.state.get(_REMOVED_COINS, [])

    async def store(symbols: list[str]) -> None:
        await journal.save(Changes(state={_REMOVED_COINS: [*symbols]}), _now())

    subject = as_shown(settings, identity.version, desired.settings, strategies)
    return Discovery(subject, settings.mqtt.discovery_prefix, outbox, removed, store)


async def _within_hard_limits(desired: rules.Desired, limits: HardLimits, journal: Journal) -> rules.Desired:
    """Bring what was stored before a hard limit was set within it, for good."""
    settings, notes = limits.clamp(desired.settings)
    if not notes:
        return desired
    for note in notes:
        log.warning("A setting from an earlier run crosses a hard limit: %s", note)
    clamped = replace(desired, settings=settings)
    await journal.save(rules.changes(desired, clamped), _now())
    return clamped


def _retention(settings: Settings) -> Retention:
    bot = settings.bot
    return Retention(
        questions=timedelta(hours=bot.retention_questions_hours),
        commands=timedelta(days=bot.retention_commands_days),
        signals=timedelta(days=bot.retention_signals_days),
        equity=timedelta(days=bot.retention_equity_days),
        events=timedelta(days=bot.retention_events_days),
        predictions=timedelta(days=bot.retention_predictions_days),
    )


async def _lookout(identity: Identity, saved: Saved, journal: Journal, heartbeat_interval_s: float) -> Lookout:
    former: list[str] = saved.state.get("instances", [])
    lives = [*former, identity.instance_id][-_LIVES_REMEMBERED:]
    await journal.save(Changes(state={"instances": [*lives]}), identity.started_at)
    return Lookout(identity.instance_id, identity.started_at, former, heartbeat_interval_s)


async def _until_told_to_end(end: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    try:
        await end.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class _Trip:
    """What happens when a limit on losses is reached: no entries any more, and STANDBY."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, name: str, reason: str) -> None:
        task = asyncio.create_task(self._stand_by(f"{name}: {reason}"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stand_by(self, reason: str) -> None:
        await self._engine.block_entries()
        now = _now()

        def change(present: rules.Desired) -> rules.Desired:
            mode = Mode.STOPPED if present.mode is Mode.STOPPED else Mode.STANDBY
            return rules.with_mode(present, mode, reason=reason, seq=present.mode_seq, now=now)

        while True:
            try:
                await self._dispatcher.change(change, now)
            except BotError as error:
                log.error("Entries are blocked, but STANDBY could not be stored: %s", error.message)  # noqa: TRY400 - the sentence says it all
                await asyncio.sleep(_STORE_RETRY_S)
            else:
                return


def _write_once(text: str) -> Callable[[], None]:
    unwritten = [text]

    def write() -> None:
        while unwritten:
            sys.stdout.write(unwritten.pop())
            sys.stdout.flush()

    return write


def _info(loaded: Loaded, identity: Identity, hyperliquid: Hyperliquid, strategies: Strategies) -> Info:
    settings = loaded.settings
    # Whoever comes to the broker with this bot's client id is given its session, commands that wait in it included.
    shown: dict[str, JsonValue] = {name: value for name, value, _ in loaded.rows() if name != "MQTT_CLIENT_ID"}
    return Info(
        version=identity.version,
        protocol_version=PROTOCOL_VERSION,
        network=identity.network,
        account_address=hyperliquid.account_address,
        capabilities=sorted(ACTIONS),
        crypto_sets=settings.bot.crypto_sets,
        strategies=list(strategies),
        settings=shown,
        instance_id=identity.instance_id,
        started_at=identity.started_at,
    )


def _reload(handlers: BotHandlers) -> list[str]:
    """Read the configuration again and take over what may change while the bot runs."""
    try:
        bot = load().settings.bot
    except SettingsError as error:
        raise Rejected(ErrorCode.BAD_VALUE, " ".join(error.problems)) from error
    changed = []
    if bot.crypto_sets != handlers.crypto_sets:
        handlers.crypto_sets = bot.crypto_sets
        changed.append("BOT_CRYPTO_SETS")
    if logs.level() != bot.log_level:
        logs.configure(bot.log_format, bot.log_level)
        changed.append("BOT_LOG_LEVEL")
    return changed


def _new_id() -> str:
    return secrets.token_hex(16)


def _now() -> datetime:
    return datetime.now(UTC)
