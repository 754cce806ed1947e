"""Every metric with its kind, labels and meaning; docs/observe.md has the same table, which a test compares."""

from typing import Final, Literal, NamedTuple

PREFIX: Final = "allora_mqtt_"

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms' buckets."""


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: without the prefix; a counter's ends in `_total`.
        labels: what its samples are told apart by.
    """

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


COUNTED: Final = (
    Family("commands_total", "counter", "Commands that have ended.", ("name", "status")),
    Family("command_duration_seconds", "histogram", "From the arrival of a command to its answer.", ("name",)),
    Family("signals_total", "counter", "Signals, and whether an entry followed.", ("direction", "outcome")),
    Family("orders_total", "counter", "What became of orders; an order may have more than one state.", (
        "purpose",
        "status",
    )),
    Family("fills_total", "counter", "Fills of the account.", ("side",)),
    Family("fill_volume_usd_total", "counter", "What was filled, in USD.", ("side",)),
    Family("positions_closed_total", "counter", "Positions of the bot that have ended.", ("reason",)),
    Family("breaker_changes_total", "counter", "Breakers that have opened or closed.", ("breaker", "state")),
    Family("store_commit_duration_seconds", "histogram", "Time that a commit of the database took, fsync included."),
    Family("event_loop_lag_seconds", "histogram", "How late the event loop was, measured four times a second."),
)  # fmt: skip
"""Counted as it happens."""

READ: Final = (
    Family("build_info", "gauge", "1; which bot this is.", ("version", "network", "instance_id")),
    Family("mode", "gauge", "1 for the mode that holds, 0 for the others.", ("mode",)),
    Family("mode_since_timestamp_seconds", "gauge", "Since when the mode holds, unix time."),
    Family("health", "gauge", "1 for the state of the bot as a whole, 0 for the others.", ("state",)),
    Family("warning", "gauge", "1 for what `status` warns of, 0 for what it does not.", ("code",)),
    Family("revision", "gauge", "Raised with each change of mode, active set or settings."),
    Family("dependency_up", "gauge", "1 while a dependency answers, 0 while it does not.", ("dependency",)),
    Family("dependency_last_success_timestamp_seconds", "gauge", "Its newest answer, unix time.", ("dependency",)),
    Family(
        "dependency_latency_seconds",
        "gauge",
        "Of its newest answers; percentile 50 or 99.",
        ("dependency", "percentile"),
    ),
    Family("breaker_open", "gauge", "1 while a breaker or a limit on losses stops entries.", ("breaker",)),
    Family("mqtt_connected", "gauge", "1 while the bot is connected to its broker and subscribed."),
    Family("mqtt_connections_total", "counter", "How often it has connected."),
    Family("commands_dropped_total", "counter", "QoS 0 commands that came faster than they could be stored."),
    Family("queue_length", "gauge", "What waits: for the journal, its turn, the broker, the disk.", ("queue",)),
    Family("equity_usd", "gauge", "Equity of the account."),
    Family("withdrawable_usd", "gauge", "What could be withdrawn."),
    Family("margin_used_usd", "gauge", "Margin of open positions."),
    Family("exposure_usd", "gauge", "Notional of open positions and of entries on their way."),
    Family("unrealized_pnl_usd", "gauge", "Profit of open positions, below zero for a loss."),
    Family("daily_pnl_usd", "gauge", "Profit of the UTC day, below zero for a loss."),
    Family("daily_pnl_ratio", "gauge", "The same as a part of the day's first equity."),
    Family("drawdown_ratio", "gauge", "How far the equity is below its peak, as a part of it."),
    Family("positions", "gauge", "Open positions of the account.", ("side",)),
    Family("position_notional_usd", "gauge", "Value of a position; below zero for a short one.", ("symbol",)),
    Family("position_unrealized_pnl_usd", "gauge", "Profit of a position.", ("symbol",)),
    Family("position_protected", "gauge", "1 when a position has a stop on the exchange.", ("symbol",)),
    Family("coin_active", "gauge", "1 for an active coin, 0 for one that only has a position.", ("symbol",)),
    Family("coin_price_usd", "gauge", "Mark price.", ("symbol",)),
    Family("coin_prediction_usd", "gauge", "Newest prediction.", ("symbol",)),
    Family("coin_prediction_timestamp_seconds", "gauge", "When that was made, unix time.", ("symbol",)),
    Family("coin_gap_ratio", "gauge", "How far the prediction is above the price, as a part of it.", ("symbol",)),
    Family("coin_skill_ratio", "gauge", "Part of the newest predictions that had the direction right.", ("symbol",)),
    Family("request_weight", "gauge", "Weight of the requests to HyperLiquid in the last minute."),
    Family("request_weight_limit", "gauge", "The most that it may be."),
    Family("requests_paused_seconds", "gauge", "For how long nothing is read, because the exchange asked for that."),
    Family("account_actions", "gauge", "Actions that the account has sent in its life."),
    Family("account_actions_limit", "gauge", "How many it may have sent."),
    Family("setting", "gauge", "Runtime settings that are numbers, in the unit of their names.", ("key",)),
    Family("database_bytes", "gauge", "Size of the database with its write-ahead log."),
    Family("data_free_bytes", "gauge", "Free space where the data folder is."),
)
"""Read off the bot when it is asked."""

FAMILIES: Final = (*COUNTED, *READ)
