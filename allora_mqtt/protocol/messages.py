"""Everything the bot publishes: responses, retained state, heartbeat and events."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue, RootModel, StringConstraints

from allora_mqtt.protocol.commands import Mode, Switch
from allora_mqtt.protocol.errors import ErrorCode, WarningCode
from allora_mqtt.protocol.model import Amount, Model, Timestamp
from allora_mqtt.protocol.runtime import SettingState
from allora_mqtt.protocol.topics import LogLevel

PROTOCOL_VERSION = 1


class Status(StrEnum):
    """How a command ended."""

    EXECUTED = "EXECUTED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    DUPLICATE = "DUPLICATE"
    SUPERSEDED = "SUPERSEDED"


class ErrorInfo(Model):
    """Why a command did not succeed."""

    code: ErrorCode
    """One of the contract's error codes."""
    message: str
    """What happened, in what, and what to do next."""


class Warn(Model):
    """Something worth knowing that stopped nothing."""

    code: WarningCode
    """One of the contract's warning codes."""
    message: str
    """What is so, and what to do about it."""


class Response(Model):
    """`<base>/response/<name>` and `<base>/last_command`."""

    id: str | None
    """The command's own id, or null where it had none."""
    name: str
    """`mode`, `cryptos`, `config`, or the action."""
    status: Status
    """How the command ended."""
    data: dict[str, JsonValue] = Field(default_factory=dict)
    """What the command brought: the new state, or what was asked for."""
    warnings: list[Warn] = Field(default_factory=list)
    """What should be known although the command was executed."""
    error: ErrorInfo | None = None
    """Null when the command was executed."""
    transaction: JsonValue = None
    """As the command had it."""
    source: str | None = None
    """As the command had it."""
    received_at: Timestamp
    """When the bot took it from the broker."""
    executed_at: Timestamp
    """When it ended."""
    duration_ms: float
    """How long running it took."""
    revision: int
    """The revision after it."""
    signed_by: str | None = None
    """The key id of who has signed the command, where the bot demands that."""


class Availability(StrEnum):
    """`<base>/availability`."""

    ONLINE = "online"
    OFFLINE = "offline"


class HealthState(StrEnum):
    """How well the bot, or one thing it depends on, is doing."""

    OK = "ok"
    DEGRADED = "degraded"
    TRIPPED = "tripped"


class Direction(StrEnum):
    """What a signal says."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"


class Side(StrEnum):
    """Which way a position goes."""

    LONG = "LONG"
    SHORT = "SHORT"


class Position(Model):
    """An open position, as the exchange has it, with the stop and target that rest there."""

    symbol: str
    side: Side
    size: Amount
    entry_price: Amount
    """Average of its entries."""
    mark_price: Amount | None
    notional_usd: Amount
    """Size times mark price."""
    unrealized_pnl_usd: Amount
    margin_usd: Amount
    leverage: int
    liquidation_price: Amount | None
    """Null where the exchange tells none."""
    stop_price: Amount | None
    """Null while it has none."""
    target_price: Amount | None
    """Null while it has none."""
    opened_at: Timestamp | None
    ours: bool
    """Whether the bot opened it; others are reported and left alone."""


class Positions(RootModel[list[Position]]):
    """`<base>/positions`."""


class Account(Model):
    """`<base>/account`, in USD."""

    equity_usd: Amount
    """What the account is worth, open profit and loss included."""
    withdrawable_usd: Amount
    """What is not bound as margin."""
    margin_used_usd: Amount
    exposure_usd: Amount
    """Notional of all positions."""
    unrealized_pnl_usd: Amount
    daily_pnl_usd: Amount
    """Since the first equity of the UTC day; money paid in or out does not count."""
    daily_pnl_pct: Amount
    """The same in percent."""
    drawdown_pct: Amount
    """Loss from the highest equity seen."""
    updated_at: Timestamp


class SignalView(Model):
    """What the strategy said of a symbol, and why; `<base>/event/signal`."""

    signal_id: str
    symbol: str
    direction: Direction
    gap_pct: Amount | None
    """How far the prediction lies from the mark price."""
    prediction: Amount | None
    mark_price: Amount | None
    topic_id: int
    prediction_at: Timestamp | None
    """When Allora made the prediction."""
    acted: bool
    """Whether an entry followed."""
    reasons: list[str]
    """What spoke for it or against it; docs/signals.md explains each."""
    at: Timestamp


class OrderView(Model):
    """An order the bot sent, and what became of it; `<base>/event/order`."""

    order_id: str
    """The bot's own id of the order."""
    symbol: str
    side: Literal["BUY", "SELL"]
    purpose: Literal["entry", "exit", "stop", "target"]
    size: Amount
    limit_price: Amount
    """The worst price it may fill at."""
    trigger_price: Amount | None
    """For a stop or a target: the mark price at which it runs."""
    reduce_only: bool
    status: str
    filled_size: Amount
    average_price: Amount | None
    error: str | None
    signal_id: str | None
    """The signal that led to it; null for exits and stops."""
    reason: str
    at: Timestamp
    oid: int | None = None
    """The exchange's own id; null until it has given one."""


class FillView(Model):
    """A fill reported by the exchange; `<base>/event/fill` and the rows of `trades`."""

    fill_id: str
    symbol: str
    side: Literal["BUY", "SELL"]
    direction: str
    """As HyperLiquid says it: `Open Long`, `Close Short`, …"""
    size: Amount
    price: Amount
    fee_usd: Amount
    closed_pnl_usd: Amount
    """As the exchange says, before fees and funding."""
    order_id: str | None
    """The bot's order; null for a fill of somebody else's."""
    at: Timestamp


class PositionClosed(Model):
    """`<base>/event/position_closed`."""

    symbol: str
    side: Side
    size: Amount
    closed_pnl_usd: Amount
    """Before fees and funding."""
    fees_usd: Amount | None
    """Of entry and exit; null, as the next two, when the fills are not known."""
    funding_usd: Amount | None
    """As far as it is known: the last hour may still follow, and is in the answer to `trades` then."""
    pnl_usd: Amount | None
    """Closed PnL less fees plus funding."""
    reason: str
    at: Timestamp
    position_id: str | None = None
    """The id of the order that opened it."""
    trade_id: str | None = None
    """The round trip in the answer to `trades`; None while its fills are not known."""


class ModeChanged(Model):
    """`<base>/event/mode_changed`."""

    mode: Mode
    previous: Mode
    reason: str
    """Who or what changed it."""
    revision: int
    at: Timestamp
    command_seq: int | None = None
    """The command that did it, by its number in the journal; None where it was none."""


class CryptoChanged(Model):
    """`<base>/event/crypto_changed`: the active set as it is now, and what was switched."""

    active: dict[str, int]
    switched_on: list[str]
    switched_off: list[str]
    revision: int
    at: Timestamp
    command_seq: int | None = None
    """The command that did it, by its number in the journal."""


class BreakerChanged(Model):
    """`<base>/event/breaker_opened` and `breaker_closed`."""

    name: str
    reason: str
    at: Timestamp


class CommandEvent(Model):
    """`<base>/event/command`: the outcome of a command, or a note about something that is none."""

    status: Status | None = None
    name: str
    id: str | None = None
    source: str | None = None
    error: ErrorInfo | None = None
    at: Timestamp
    seq: int | None = None
    """Its number in the journal."""
    asked: str | None = None
    """What it asked for, in a few words."""


class LogLine(Model):
    """`<base>/log/<level>`: a line of the bot's log; not retained."""

    at: Timestamp
    level: LogLevel
    logger: str
    """The part of the bot, or the library, that says it."""
    message: str
    context: dict[str, str]
    """Ids, as they stand behind the message in the log: `command`, `signal`, `order`, `fill`, …"""


class CryptoState(Model):
    """`<base>/cryptos/<SYMBOL>`, for active symbols and those with a position."""

    state: Switch
    topic_id: int | None
    price: Amount | None
    """Mark price."""
    volume_24h: Amount | None
    """Traded in the last 24 hours, USD."""
    prediction: Amount | None
    """The newest prediction of the topic, as a price."""
    gap_pct: Amount | None
    """How far the prediction lies from the mark price."""
    signal: Direction | None
    """What the strategy said last."""
    confidence: Amount | None
    """Half width of the network's 68 % interval, percent of the prediction."""
    skill_pct: Amount | None = None
    """How many of the topic's newest resolved predictions had the direction right, percent, as the bot measured it."""
    skill_samples: int = 0
    """How many predictions that is measured on; `skill_window` is the most."""
    position: Position | None
    """Null while there is none."""
    updated_at: Timestamp


class ActiveSet(RootModel[dict[str, int]]):
    """`<base>/cryptos`: the active symbols with their topics."""


class TopicView(Model):
    """One Allora topic in the catalog."""

    id: int
    kind: Literal["price", "log_return"]
    horizon: str
    """`20m`, `8h`, `1d`."""


class CatalogEntry(Model):
    """One symbol of the catalog."""

    availability: Literal["both", "hyperliquid", "allora"]
    topics: list[TopicView]
    max_leverage: int | None


class CatalogView(RootModel[dict[str, CatalogEntry]]):
    """`<base>/catalog`: every symbol that can be traded or is predicted."""


class CatalogMatch(CatalogEntry):
    """One row of the answer to the action `catalog`."""

    symbol: str
    active: bool
    price: Amount | None
    volume_24h: Amount | None


class ConfigState(RootModel[dict[str, SettingState]]):
    """`<base>/config`: the runtime settings in force."""


class DependencyHealth(Model):
    """How one dependency is doing."""

    state: HealthState
    breaker: Literal["closed", "open", "half_open"]
    last_success_at: Timestamp | None
    latency_p50_ms: float | None
    """Half of the calls were quicker."""
    latency_p99_ms: float | None
    """99 of 100 were quicker."""
    last_error: str | None
    """The newest failure in words; null after a success."""


class Health(Model):
    """`<base>/health`."""

    mqtt: DependencyHealth
    hyperliquid: DependencyHealth
    """Reading: prices, the account, orders and fills."""
    hyperliquid_exchange: DependencyHealth
    """Orders."""
    allora: DependencyHealth
    store: DependencyHealth


class BreakerView(Model):
    """A breaker that is open."""

    name: str
    reason: str
    since: Timestamp


class Requests(Model):
    """How much of HyperLiquid's request limits is used."""

    weight_used: int
    """By this bot, in the last minute."""
    weight_limit: int
    """What the exchange allows one IP address in a minute."""
    quote_interval_s: float | None
    """The pause between two looks at all prices; longer than `BOT_QUOTE_INTERVAL_S` where the limit asks for that."""
    paused_s: float
    """Above 0 while the exchange has said that it was too much: nothing is read for so long."""
    actions_used: int | None
    """Orders, cancels and settings of the account in its life; null until the exchange has said."""
    actions_limit: int | None
    """10,000, and one more for each USD traded. No entries when nearly all are used."""


class SignedCommands(Model):
    """How many commands were refused since the start, where the bot takes signed ones only."""

    unsigned: int
    forged: int
    """Signed by nobody known, for another topic, or changed since."""
    stale: int
    """Signed too long ago to be told from a replay."""
    replayed: int
    """Signed commands that had come before, a sender's own second attempts among them."""
    dropped: int
    """Of all these, those that came too fast to be answered and written down."""


class BotStatus(Model):
    """`<base>/status`: the one JSON for dashboards."""

    mode: Mode
    since: Timestamp
    """Since when the mode is in force."""
    reason: str
    """Who or what set the mode."""
    health: HealthState
    """`tripped` after a limit on losses was reached; `degraded` while something it depends on is in trouble."""
    warnings: list[Warn]
    network: str
    """`sim`, `paper`, `testnet` or `mainnet`."""
    active_cryptos: dict[str, int]
    """The active coins with their Allora topics."""
    equity_usd: Amount | None
    """Null until the account has been read."""
    daily_pnl_usd: Amount | None
    exposure_usd: Amount | None
    """Notional of all positions."""
    open_positions: int
    last_signal: SignalView | None
    last_order: OrderView | None
    breakers: list[BreakerView]
    """Those that are open."""
    requests: Requests | None = None
    """How much of HyperLiquid's request limits is used."""
    signed_commands: SignedCommands | None = None
    """None where anybody may command."""
    uptime_s: float
    version: str
    instance_id: str
    """New at each start."""
    revision: int
    """Rises with each change of mode, active set or settings."""


class Info(Model):
    """`<base>/info`."""

    version: str
    protocol_version: int
    network: str
    account_address: str | None
    """The account that is traded on."""
    capabilities: list[str]
    """What this version can do beside the contract's first form."""
    crypto_sets: dict[str, list[str]]
    """Named sets for `activate_set`."""
    strategies: list[str]
    """The names that `config/strategy/set` takes."""
    settings: dict[str, JsonValue]
    """What is in force, without secrets."""
    instance_id: str
    started_at: Timestamp
    account_mode: str | None = None
    """How the account keeps its balances (`unifiedAccount`, `disabled`, …); null until the exchange has said so."""


class Heartbeat(Model):
    """`<base>/heartbeat`: QoS 0, not retained."""

    seq: int
    """Counts from the start; a gap is a heartbeat that was missed."""
    at: Timestamp
    uptime_s: float
    mode: Mode
    revision: int
    instance_id: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
    loop_lag_ms: float
    """How late the bot's own clockwork is; hundreds mean an overloaded machine."""
