"""Everything the bot tells: retained state when it changes, events when they happen, a heartbeat all the time."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, JsonValue

from allora_mqtt.control import views
from allora_mqtt.control.desired import Desired
from allora_mqtt.control.outbox import Outbox, encode
from allora_mqtt.market.dependency import Dependency, quantile
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.errors import WarningCode
from allora_mqtt.protocol.messages import (
    Account,
    ActiveSet,
    Availability,
    BotStatus,
    BreakerChanged,
    BreakerView,
    CatalogView,
    CommandEvent,
    ConfigState,
    CryptoChanged,
    CryptoState,
    DependencyHealth,
    FillView,
    Health,
    HealthState,
    Heartbeat,
    Info,
    ModeChanged,
    OrderView,
    Position,
    PositionClosed,
    Positions,
    SignalView,
    SignedCommands,
    Warn,
)
from allora_mqtt.protocol.runtime import HardLimits, describe
from allora_mqtt.protocol.topics import Event, Topics
from allora_mqtt.store.database import Database
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.engine import Engine

log = logging.getLogger(__name__)

_PUBLISH_INTERVAL_S: Final = 1.0
"""A dashboard needs no more than one value a second."""
_LAG_SAMPLE_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this bot is, for as long as the process lives."""

    version: str
    network: str
    instance_id: str
    started_at: datetime


def new_instance_id() -> str:
    """Return an id for this process, unlike any other's."""
    return secrets.token_hex(8)


class Reporter:
    """Publishes state, events and heartbeat; an `Observer` of trading.

    Args:
        outbox: the way out.
        topics: the topic tree.
        ledger: keeps the audit trail of events.
        database: for the health of the store.
        identity: who this bot is.
        hard_limits: bound what `config` offers.
        heartbeat_interval_s: pause between two heartbeats.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        outbox: Outbox,
        topics: Topics,
        ledger: Ledger,
        database: Database,
        identity: Identity,
        hard_limits: HardLimits,
        heartbeat_interval_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._outbox = outbox
        self._topics = topics
        self._ledger = ledger
        self._database = database
        self._identity = identity
        self._hard_limits = hard_limits
        self._interval_s = heartbeat_interval_s
        self._clock = clock
        self._started = time.monotonic()
        self._seq = 0
        self._lags_ms: list[float] = []
        self._market_changed = asyncio.Event()
        self._shown: set[str] = set()
        self._engine: Engine | None = None
        self._desired: Desired | None = None
        self.mqtt = Dependency("mqtt")
        self.last_order: OrderView | None = None
        self.last_signal: SignalView | None = None
        self.foreign_instance: str | None = None
        """Another bot that was seen on this base topic."""
        self.key_warnings: list[Warn] = []
        """What is odd about the key that signs orders."""
        self.refused: Callable[[], SignedCommands | None] = _nobody_is_refused
        """Tells how many commands were not believed."""
        self.on_tripped: Callable[[str, str], None] = _no_trip
        self.on_tradable: Callable[[list[str]], None] = _no_symbols
        """Told which symbols can be switched on, each time that may have changed."""
        self.on_cryptos: Callable[[Collection[str]], None] = _no_symbols
        """Told which symbols the bot trades or holds, each time that may have changed."""
        self.on_event: Callable[[Event, BaseModel], None] = _nobody_counts
        """Told of each event of trading and of what holds."""
        self.on_lag: Callable[[float], None] = _nobody_measures
        """Told, four times a second, how many seconds late the event loop was."""
        outbox.on_acknowledged = lambda latency_ms: self.mqtt.succeeded(clock().timestamp(), latency_ms)

    def attach(self, engine: Engine) -> None:
        """Take the engine that is reported on."""
        self._engine = engine

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beat())
            tasks.create_task(self._measure_lag())
            tasks.create_task(self._publish_market())

    def online(self) -> None:
        """Say that the bot is there, whatever the broker believes."""
        self._outbox.state(self._topics.availability, Availability.ONLINE.value, even_if_same=True)

    async def offline(self) -> None:
        """Say goodbye, and wait until the broker has heard it."""
        # Its echo must not be taken for somebody else's message and be put right.
        sent = self._outbox.send_last(self._topics.availability, Availability.OFFLINE.value.encode())
        await asyncio.wait([sent], timeout=1)

    def publish_info(self, info: Info) -> None:
        """Publish what does not change while the bot runs."""
        self._outbox.state(self._topics.info, info)

    def follow(self, old: Desired | None, new: Desired, command_seq: int | None = None) -> None:
        """Publish mode, active set and settings, and events for what has changed, by the command of this number."""
        self._desired = new
        now = self._clock()
        self._outbox.state(self._topics.mode, new.mode.value)
        self._outbox.state(self._topics.cryptos, ActiveSet(dict(new.active)))
        config = self.config()
        if config is not None:
            self._outbox.state(self._topics.config, config)
        if old is not None and old.mode is not new.mode:
            changed = ModeChanged(
                mode=new.mode,
                previous=old.mode,
                reason=new.reason,
                revision=new.revision,
                at=now,
                command_seq=command_seq,
            )
            log.info("Mode %s, was %s (%s)", new.mode, old.mode, new.reason, extra={"command": command_seq})
            self._event(Event.MODE_CHANGED, changed)
        if old is not None and dict(old.active) != dict(new.active):
            switched = CryptoChanged(
                active=dict(new.active),
                switched_on=sorted(set(new.active) - set(old.active)),
                switched_off=sorted(set(old.active) - set(new.active)),
                revision=new.revision,
                at=now,
                command_seq=command_seq,
            )
            log.info("Active: %s", ", ".join(new.active) or "no coin", extra={"command": command_seq})
            self._event(Event.CRYPTO_CHANGED, switched)
        self._publish_status()
        self._market_changed.set()

    def publish_everything(self) -> None:
        """Send every retained topic again."""
        self.online()
        self._publish_status()
        self._outbox.publish_everything()

    def heartbeat(self) -> bytes:
        """Return the next sign of life."""
        self._seq += 1
        lag_ms, self._lags_ms = views.worst(self._lags_ms), []
        return encode(
            Heartbeat(
                seq=self._seq,
                at=self._clock(),
                uptime_s=self._uptime_s(),
                mode=Mode.STANDBY if self._desired is None else self._desired.mode,
                revision=0 if self._desired is None else self._desired.revision,
                instance_id=self._identity.instance_id,
                loop_lag_ms=lag_ms,
            )
        )

    def warnings(self) -> list[Warn]:
        """Return what `status` points out."""
        found = []
        if self._desired is not None and self._desired.mode is Mode.ACTIVE and not self._desired.active:
            message = "The bot is ACTIVE and no crypto is; activate one."
            found.append(Warn(code=WarningCode.NO_CRYPTOS, message=message))
        if self.foreign_instance is not None:
            message = f"Another bot ({self.foreign_instance}) is on {self._topics.base}; stop one of the two."
            found.append(Warn(code=WarningCode.DUPLICATE_INSTANCE, message=message))
        if self._engine is not None and (wrong_s := self._engine.clock_wrong_by_s()) is not None:
            off = f"{abs(wrong_s):.0f} s {'ahead of' if wrong_s > 0 else 'behind'}"
            message = f"The clock of this machine is {off} the exchange's: no entries until it is set right."
            found.append(Warn(code=WarningCode.WRONG_CLOCK, message=message))
        if self._engine is not None:
            adoption = self._engine.adoption
            found += views.position_warnings(self._engine.portfolio, {} if adoption is None else adoption.refused)
            found += views.cash_warning(self._engine.reconciler.losses.cash.unclear.values())
        return found + self.key_warnings

    # Observer

    def on_signal(self, signal: SignalView) -> None:
        """The strategy has said something new."""
        self.last_signal = signal
        self._outbox.event(self._topics.event(Event.SIGNAL), signal)
        self.on_event(Event.SIGNAL, signal)
        self._market_changed.set()

    def on_order(self, order: OrderView) -> None:
        """An order was sent, or something became of it."""
        if order.purpose in {"entry", "exit"}:
            self.last_order = order
        self._event(Event.ORDER, order)

    def on_fill(self, fill: FillView) -> None:
        """The exchange has filled an order."""
        log.info(
            "Fill: %s %s %s at %s, fee %s USD",
            fill.side,
            fill.size,
            fill.symbol,
            fill.price,
            fill.fee_usd,
            extra={"order": fill.order_id, "fill": fill.fill_id},
        )
        self._event(Event.FILL, fill)

    def on_position_closed(self, closed: PositionClosed) -> None:
        """A position of ours has ended."""
        self._event(Event.POSITION_CLOSED, closed)

    def on_market(self) -> None:
        """Prices, predictions or signals have changed."""
        self._market_changed.set()

    def on_account(self) -> None:
        """The account, the positions or their stops have changed."""
        self._publish_account()
        self._market_changed.set()

    def on_catalog(self) -> None:
        """What can be traded has changed."""
        if self._engine is not None and self._engine.feed.catalog is not None:
            view = self._engine.feed.catalog.view()
            self._outbox.state(self._topics.catalog, CatalogView(view))
            self.on_tradable([symbol for symbol, entry in view.items() if entry.availability == "both"])

    def on_trip(self, name: str, reason: str) -> None:
        """A limit on losses was reached."""
        self._event(Event.BREAKER_OPENED, BreakerChanged(name=name, reason=reason, at=self._clock()))
        self.on_tripped(name, reason)

    def on_misdirected(self, note: CommandEvent) -> None:
        """Somebody has published to a state topic."""
        self._event(Event.COMMAND, note)

    def was_shown(self, symbol: str) -> None:
        """The broker still holds the state of a symbol, from an earlier life; it goes when there is no more reason."""
        self._shown.add(symbol)
        self._market_changed.set()

    def on_breaker(self, name: str, reason: str, *, opened: bool) -> None:
        """A dependency's breaker has opened or closed."""
        kind = Event.BREAKER_OPENED if opened else Event.BREAKER_CLOSED
        log.log(
            logging.WARNING if opened else logging.INFO,
            "Breaker %s %s: %s",
            name,
            "opened" if opened else "closed",
            reason,
        )
        self._event(kind, BreakerChanged(name=name, reason=reason, at=self._clock()))
        self._market_changed.set()

    # what there is to show

    def positions(self) -> list[Position]:
        """Return the open positions, as far as they are known."""
        engine = self._engine
        if engine is None or engine.portfolio.account is None:
            return []
        quotes = engine.feed.quotes
        return [
            views.position(state, engine.portfolio, quotes.get(symbol))
            for symbol, state in engine.portfolio.account.positions.items()
        ]

    def account(self) -> Account | None:
        """Return how the account is doing, or None while it is not known."""
        return None if self._engine is None else views.account(self._engine.portfolio, self._clock())

    def coins(self) -> dict[str, CryptoState]:
        """Return what is known of each coin that is active or has a position."""
        engine, desired = self._engine, self._desired
        if engine is None or desired is None:
            return {}
        held = {position.symbol: position for position in self.positions()}
        now = self._clock()
        return {
            symbol: views.crypto(
                topic_id := desired.active.get(symbol),
                engine.feed.quotes.get(symbol),
                engine.feed.predictions.get(symbol),
                engine.signals.get(symbol),
                held.get(symbol),
                now,
                None if topic_id is None else engine.skill(topic_id),
            )
            for symbol in desired.active.keys() | held.keys()
        }

    def config(self) -> ConfigState | None:
        """Return the runtime settings in force, or None before they are known."""
        desired = self._desired
        return None if desired is None else ConfigState(describe(desired.settings, self._hard_limits))

    def status(self) -> BotStatus | None:
        """Return the one message for dashboards, or None before there is anything to say."""
        engine, desired = self._engine, self._desired
        if engine is None or desired is None:
            return None
        account, state = self.account(), engine.portfolio.account
        return BotStatus(
            mode=desired.mode,
            since=desired.since,
            reason=desired.reason,
            health=self._overall(),
            warnings=self.warnings(),
            network=self._identity.network,
            active_cryptos=dict(desired.active),
            equity_usd=None if account is None else account.equity_usd,
            daily_pnl_usd=None if account is None else account.daily_pnl_usd,
            exposure_usd=None if account is None else account.exposure_usd,
            open_positions=0 if state is None else len(state.positions),
            last_signal=self.last_signal,
            last_order=self.last_order,
            breakers=self._breakers(),
            requests=views.requests(engine.feed.hyperliquid.figures()),
            signed_commands=self.refused(),
            uptime_s=self._uptime_s(),
            version=self._identity.version,
            instance_id=self._identity.instance_id,
            revision=desired.revision,
        )

    # the rest

    def _event(self, kind: Event, content: BaseModel) -> None:
        self._outbox.event(self._topics.event(kind), content)
        stored: dict[str, JsonValue] = content.model_dump(mode="json")
        self._ledger.note(kind.value, stored, self._clock())
        self.on_event(kind, content)

    def _uptime_s(self) -> float:
        return round(time.monotonic() - self._started, 1)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            self._outbox.send(self._topics.heartbeat, self.heartbeat(), qos=0)

    async def _measure_lag(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_LAG_SAMPLE_S)
            lag_s = max(0.0, time.perf_counter() - before - _LAG_SAMPLE_S)
            self._lags_ms.append(lag_s * 1000)
            self.on_lag(lag_s)

    async def _publish_market(self) -> None:
        while True:
            await self._market_changed.wait()
            self._market_changed.clear()
            self._publish_cryptos()
            self._publish_status()
            self._outbox.state(self._topics.health, self.health())
            await asyncio.sleep(_PUBLISH_INTERVAL_S)

    def _publish_account(self) -> None:
        if self._engine is None or self._engine.portfolio.account is None:
            return
        self._outbox.state(self._topics.positions, Positions(self.positions()))
        account = self.account()
        if account is not None:
            self._outbox.state(self._topics.account, account)

    def _publish_cryptos(self) -> None:
        engine, desired = self._engine, self._desired
        if engine is None or desired is None:
            return
        coins = self.coins()
        for symbol, state in coins.items():
            self._outbox.state(self._topics.crypto(symbol), state)
        for symbol in self._shown - coins.keys():
            self._outbox.clear(self._topics.crypto(symbol))
        self._shown = set(coins)
        # What the bot holds is known from its books before the account has been read.
        self.on_cryptos(desired.active.keys() | engine.portfolio.holdings.keys())

    def _publish_status(self) -> None:
        status = self.status()
        if status is not None:
            self._outbox.state(self._topics.status, status)

    def _dependencies(self) -> list[Dependency]:
        return [self.mqtt, *([] if self._engine is None else self._engine.feed.dependencies())]

    def _breakers(self) -> list[BreakerView]:
        opened = [
            BreakerView(
                name=dependency.name,
                reason=dependency.last_error or "",
                since=datetime.fromtimestamp(dependency.opened_at, UTC),
            )
            for dependency in self._dependencies()
            if dependency.opened_at is not None
        ]
        trips = {} if self._engine is None else self._engine.reconciler.losses.trips
        return opened + [BreakerView(name=name, reason=trip.reason, since=trip.since) for name, trip in trips.items()]

    def _overall(self) -> HealthState:
        if self._engine is not None and self._engine.reconciler.losses.trips:
            return HealthState.TRIPPED
        now = self._clock().timestamp()
        degraded = self._database.last_error is not None or any(one.is_troubled(now) for one in self._dependencies())
        return HealthState.DEGRADED if degraded else HealthState.OK

    def health(self) -> Health:
        """Return how each dependency is doing."""
        now = self._clock().timestamp()
        unknown = Dependency("unknown").health(now)
        feed = None if self._engine is None else self._engine.feed
        return Health(
            mqtt=self.mqtt.health(now),
            hyperliquid=unknown if feed is None else feed.hyperliquid_health.health(now),
            hyperliquid_exchange=unknown if feed is None else feed.hyperliquid.exchange_health.health(now),
            allora=unknown if feed is None else feed.allora_health.health(now),
            store=self._store_health(),
        )

    def _store_health(self) -> DependencyHealth:
        database = self._database
        commits = list(database.commit_ms)
        return DependencyHealth(
            state=HealthState.OK if database.last_error is None else HealthState.DEGRADED,
            breaker="closed" if database.last_error is None else "open",
            last_success_at=None
            if database.last_commit_at is None
            else datetime.fromtimestamp(database.last_commit_at, UTC),
            latency_p50_ms=quantile(commits, 0.5),
            latency_p99_ms=quantile(commits, 0.99),
            last_error=database.last_error,
        )


def _no_symbols(_symbols: Collection[str]) -> None:
    pass


def _nobody_counts(_kind: Event, _content: BaseModel) -> None:
    pass


def _nobody_measures(_lag_s: float) -> None:
    pass


def _no_trip(_name: str, _reason: str) -> None:
    pass


def _nobody_is_refused() -> SignedCommands | None:
    return None
