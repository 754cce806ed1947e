"""Puts the parts of the bot together, and runs them."""

import asyncio
import logging
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

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
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import PROTOCOL_VERSION, Availability, Info
from allora_mqtt.protocol.runtime import HardLimits
from allora_mqtt.protocol.topics import LogLevel, Topics
from allora_mqtt.service_manager import Condition, ServiceManager
from allora_mqtt.settings import Network, Settings
from allora_mqtt.store.books import Books
from allora_mqtt.store.database import Database
from allora_mqtt.store.entries import Changes, Saved
from allora_mqtt.store.journal import Journal
from allora_mqtt.store.lease import Lease
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.retention import Retention
from allora_mqtt.surroundings import (
    Exchange,
)
from allora_mqtt.thoughts import build_signals
from allora_mqtt.trading.engine import Engine, Orders
from allora_mqtt.trading.records import order_view
from allora_mqtt.trading.strategy import Strategies
from allora_mqtt.transport.connection import Endpoint, Subscription, Will
from allora_mqtt.transport.mqtt import MqttLink
from allora_mqtt.transport.spool import SpoolFolder
from allora_mqtt.welcome import greeting, program_name

log = logging.getLogger(__name__)

_REMOVED_COINS: Final = "discovery_removed"
"""In the store: coins that Home Assistant may not know to be gone."""
_LIVES_REMEMBERED: Final = 50
"""The broker may have kept what one of them has published."""


@dataclass(slots=True)
class Bot:
    """The parts that run, put together by `assemble`."""

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
            await until_told_to_end(self.end)
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


async def assemble(
    loaded: Loaded,
    exchange: Exchange,
    endpoint: Endpoint,
    database: Database,
    session: aiohttp.ClientSession,
    lease: Lease | None,
) -> Bot:
    """Put the parts together.

    Args:
        loaded: the configuration.
        exchange: where to trade.
        endpoint: the broker.
        database: up to date.
        session: for HTTP.
        lease: that this bot is the one that acts, where another could.
    """
    settings = loaded.settings
    journal, ledger = Journal(database), Ledger(database, _retention(settings))
    topics, outbox = Topics(settings.mqtt.base_topic), Outbox()
    saved = await journal.saved()
    desired = await _within_hard_limits(
        rules.at_start(
            saved, settings.bot.default_mode, settings.default.active_cryptos, settings.trade.runtime, utc_now()
        ),
        settings.trade.hard_limits,
        journal,
    )
    identity = Identity(__version__, settings.bot.network.value, new_instance_id(), utc_now())
    lookout = await _lookout(identity, saved, journal, settings.bot.heartbeat_interval_s)
    reporter = Reporter(
        outbox,
        topics,
        ledger,
        database,
        identity,
        settings.trade.hard_limits,
        settings.bot.heartbeat_interval_s,
        utc_now,
    )
    if (newest := await ledger.newest_order()) is not None:
        reporter.last_order = order_view(newest)
    is_in_charge = None if lease is None else lease.is_held
    hyperliquid = build_hyperliquid(settings, exchange, is_in_charge)
    thoughts = build_signals(settings, desired.settings.strategy, database, hyperliquid, session, _new_id, utc_now)
    orders = Orders(desired.mode, desired.active, desired.settings)
    engine = await build_engine(
        settings, exchange, hyperliquid, ledger, session, orders, saved.state, reporter, thoughts, _new_id, utc_now
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
        utc_now,
        on_stop_flatten=settings.bot.on_stop == "flatten",
    )
    policy = WaitingPolicy(settings.bot.waiting_activation, settings.bot.command_max_age_s)
    dispatcher = Dispatcher(journal, handlers, outbox, topics, desired, policy, utc_now)
    trust = _trust(settings, reporter)
    inbox = Inbox(
        topics,
        journal,
        dispatcher,
        outbox,
        trust,
        utc_now,
        clear_mailbox=settings.mqtt.clear_retained_commands,
        restored_at=saved.restored_at,
    )
    dispatcher.on_finished = inbox.finished
    dispatcher.on_answered = inbox.answered
    spool = Spool(
        SpoolFolder(settings.bot.data_dir / spooled.FOLDER), journal, inbox, utc_now, needs_ids=settings.bot.pair
    )
    dispatcher.on_ended = spool.ended
    reporter.on_tripped = _Trip(engine, dispatcher)
    hello = greeting(settings, endpoint.host, endpoint.port, desired.mode, program_name(), own_broker=endpoint.embedded)
    guard = StateGuard(topics, outbox, reporter, utc_now)
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
        utc_now,
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
    return Bot(
        hyperliquid, engine, inbox, spool, dispatcher, reporter, link, outbox, log_topics, key_watch, database, end
    )


async def until_told_to_end(end: asyncio.Event) -> None:
    """Wait for SIGINT, SIGTERM or an event."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    try:
        await end.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


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
    return KeyWatch(hyperliquid, exchange.wallet.address, exchange.vault_address, reporter, info, utc_now)


def _log_topics(settings: Settings, outbox: Outbox, topics: Topics, link: MqttLink) -> LogTopics | None:
    if settings.bot.log_mqtt == "off":
        return None
    return LogTopics(outbox, topics, LogLevel(settings.bot.log_mqtt), lambda: link.is_up, time.monotonic)


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
        await journal.save(Changes(state={_REMOVED_COINS: [*symbols]}), utc_now())

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
    await journal.save(rules.changes(desired, clamped), utc_now())
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
        now = utc_now()

        def change(present: rules.Desired) -> rules.Desired:
            mode = Mode.STOPPED if present.mode is Mode.STOPPED else Mode.STANDBY
            return rules.with_mode(present, mode, reason=reason, seq=present.mode_seq, now=now)

        await self._dispatcher.change(change, now)


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


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)
