"""What the answers to `trades`, `events` and `performance` hold; docs/books.md has the formula of each figure."""

from typing import Final

from pydantic import JsonValue

from allora_mqtt.protocol.messages import FillView, Side
from allora_mqtt.protocol.model import Amount, Model, Timestamp
from allora_mqtt.protocol.topics import Event

ADOPTED: Final = "adopted"
"""Why a position is the bot's own that somebody else opened."""


class TradeView(Model):
    """A round trip: from the fill that began a position to the one that ended it, or to now."""

    trade_id: str
    symbol: str
    side: Side
    ours: bool
    """Whether the bot opened or adopted it."""
    size: Amount
    """Coins that were entered in all."""
    open_size: Amount
    entry_price: Amount | None
    """Average; null where the beginning is not in the books."""
    exit_price: Amount | None
    """Average of what has been closed."""
    closed_pnl_usd: Amount
    """As the exchange says, before fees and funding."""
    fees_usd: Amount
    funding_usd: Amount
    """Received; below zero: paid."""
    pnl_usd: Amount
    """Closed PnL less fees plus funding."""
    pnl_pct: Amount | None
    """Of what was entered, without leverage."""
    reason: str | None
    """Why it ended; null while it is open."""
    opened_at: Timestamp
    closed_at: Timestamp | None
    holding_s: float | None
    topic_id: int | None
    signal_id: str | None
    fills: int


class TradesPage(Model):
    """The answer to `trades`: one of the two lists, newest first."""

    trades: list[TradeView] | None = None
    fills: list[FillView] | None = None
    next: str | None
    """What `before` is to be for the rows that follow; null at the end."""


class LoggedEvent(Model):
    """One row of the answer to `events`."""

    type: Event
    at: Timestamp
    """When it happened; for a command when it came in, so that it stands before what it brought about."""
    content: dict[str, JsonValue]
    """As it was published on `event/<type>`."""


class EventsPage(Model):
    """The answer to `events`, newest first."""

    events: list[LoggedEvent]
    next: str | None
    """What `before` is to be for the rows that follow; None at the end."""


class Result(Model):
    """What one UTC day, or one coin, brought."""

    key: str
    closed_pnl_usd: Amount
    fees_usd: Amount
    funding_usd: Amount
    pnl_usd: Amount
    fills: int
    trades: int
    """Of the bot, that ended in it."""
    wins: int
    losses: int


class TopicResult(Model):
    """How trades on one Allora topic went, and how often its predictions foresaw the direction."""

    topic_id: int
    trades: int
    wins: int
    losses: int
    trade_hit_rate_pct: Amount | None
    pnl_usd: Amount
    predictions: int = 0
    """Those made in this time whose outcome is known, traded on or not."""
    prediction_hit_rate_pct: Amount | None = None


class Foreign(Model):
    """Trades that the bot did not open."""

    trades: int
    pnl_usd: Amount


class EquityPoint(Model):
    """A point of the equity curve."""

    at: Timestamp
    equity_usd: Amount


class Performance(Model):
    """The answer to `performance`. Sums and days are of the whole account, trades are those of the bot that ended."""

    since: Timestamp
    until: Timestamp
    closed_pnl_usd: Amount
    fees_usd: Amount
    funding_usd: Amount
    pnl_usd: Amount
    trades: int
    wins: int
    losses: int
    win_rate_pct: Amount | None
    profit_factor: Amount | None
    expectancy_usd: Amount | None
    average_holding_s: float | None
    best: TradeView | None
    worst: TradeView | None
    max_drawdown_usd: Amount
    max_drawdown_pct: Amount
    days: list[Result]
    coins: list[Result]
    topics: list[TopicResult]
    foreign: Foreign
    equity: list[EquityPoint]
