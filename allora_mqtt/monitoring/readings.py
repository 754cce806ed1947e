"""What the gauges say, made of what the bot publishes. Values in, values out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from allora_mqtt.protocol.commands import Mode, Switch
from allora_mqtt.protocol.errors import WarningCode
from allora_mqtt.protocol.messages import (
    Account,
    BotStatus,
    ConfigState,
    CryptoState,
    Health,
    HealthState,
    Position,
    Requests,
    Side,
)

Reading = tuple[str, tuple[str, ...], float]
"""A metric's name without the prefix, the values of its labels, and its value."""


@dataclass(frozen=True, slots=True)
class View:
    """The bot at one moment.

    Attributes:
        predicted_at: by symbol, when the newest prediction was made, unix seconds.
        limits: names of the limits on losses.
        queues: how much waits in each.
        sizes: of what is on the disk, in bytes, by metric.
        connections: how often the broker was connected to.
        dropped: commands with QoS 0 that were lost to a full queue.
    """

    status: BotStatus
    health: Health
    account: Account | None
    positions: list[Position]
    coins: Mapping[str, CryptoState]
    config: ConfigState | None
    predicted_at: Mapping[str, float]
    limits: tuple[str, ...]
    queues: Mapping[str, int]
    sizes: Mapping[str, int]
    connections: int
    dropped: int
    is_connected: bool


def readings(view: View) -> Iterator[Reading]:
    """Return every gauge that has a value now; what is not known is left out rather than called 0."""
    yield from _bot(view)
    yield from _dependencies(view)
    yield from _account(view)
    yield from _coins(view)
    yield from _requests(view.status.requests)
    for name, size in view.sizes.items():
        yield name, (), size


def _bot(view: View) -> Iterator[Reading]:
    status = view.status
    yield "build_info", (status.version, status.network, status.instance_id), 1
    for mode in Mode:
        yield "mode", (mode.value,), status.mode is mode
    yield "mode_since_timestamp_seconds", (), status.since.timestamp()
    for state in HealthState:
        yield "health", (state.value,), status.health is state
    warned = {warning.code for warning in status.warnings}
    for code in WarningCode:
        yield "warning", (code.value,), code in warned
    yield "revision", (), status.revision
    yield "mqtt_connected", (), view.is_connected
    yield "mqtt_connections_total", (), view.connections
    yield "commands_dropped_total", (), view.dropped
    for queue, length in view.queues.items():
        yield "queue_length", (queue,), length
    for key, setting in ({} if view.config is None else view.config.root).items():
        if isinstance(setting.value, int | float | Decimal):
            yield "setting", (key,), float(setting.value)


def _dependencies(view: View) -> Iterator[Reading]:
    opened = {breaker.name for breaker in view.status.breakers}
    for name in Health.model_fields:
        known = getattr(view.health, name)
        yield "dependency_up", (name,), known.state is HealthState.OK
        yield "breaker_open", (name,), known.breaker != "closed"
        if known.last_success_at is not None:
            yield "dependency_last_success_timestamp_seconds", (name,), known.last_success_at.timestamp()
        for percentile, latency_ms in (("50", known.latency_p50_ms), ("99", known.latency_p99_ms)):
            if latency_ms is not None:
                yield "dependency_latency_seconds", (name, percentile), latency_ms / 1000
    for name in view.limits:
        yield "breaker_open", (name,), name in opened


def _account(view: View) -> Iterator[Reading]:
    if view.account is None:
        return
    account = view.account
    for name in (
        "equity_usd",
        "withdrawable_usd",
        "margin_used_usd",
        "exposure_usd",
        "unrealized_pnl_usd",
        "daily_pnl_usd",
    ):
        yield name, (), float(getattr(account, name))
    yield "daily_pnl_ratio", (), float(account.daily_pnl_pct) / 100
    yield "drawdown_ratio", (), float(account.drawdown_pct) / 100
    for side in Side:
        yield "positions", (side.value,), sum(position.side is side for position in view.positions)
    for position in view.positions:
        sign = 1 if position.side is Side.LONG else -1
        yield "position_notional_usd", (position.symbol,), sign * float(position.notional_usd)
        yield "position_unrealized_pnl_usd", (position.symbol,), float(position.unrealized_pnl_usd)
        yield "position_protected", (position.symbol,), position.stop_price is not None


def _coins(view: View) -> Iterator[Reading]:
    for symbol, coin in sorted(view.coins.items()):
        yield "coin_active", (symbol,), coin.state is Switch.ON
        if symbol in view.predicted_at:
            yield "coin_prediction_timestamp_seconds", (symbol,), view.predicted_at[symbol]
        for name, value, scale in (
            ("coin_price_usd", coin.price, 1),
            ("coin_prediction_usd", coin.prediction, 1),
            ("coin_gap_ratio", coin.gap_pct, 100),
            ("coin_skill_ratio", coin.skill_pct, 100),
        ):
            if value is not None:
                yield name, (symbol,), float(value) / scale


def _requests(requests: Requests | None) -> Iterator[Reading]:
    if requests is None:
        return
    yield "request_weight", (), requests.weight_used
    yield "request_weight_limit", (), requests.weight_limit
    yield "requests_paused_seconds", (), requests.paused_s
    if requests.actions_used is not None:
        yield "account_actions", (), requests.actions_used
    if requests.actions_limit is not None:
        yield "account_actions_limit", (), requests.actions_limit
