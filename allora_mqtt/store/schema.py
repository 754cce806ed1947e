"""The tables, as SQLAlchemy Core sees them; `migrations/` brings a database here."""

from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)

_NANO: Final = 9
_WIDE: Final = Context(prec=100)


class Moment(TypeDecorator[datetime]):
    """A time with its zone, as RFC 3339 UTC text: sorts, compares and reads well on every engine."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Write a time in UTC with microseconds."""
        del dialect
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ANN401 - SQLAlchemy's signature
        """Read it back."""
        del dialect
        return None if value is None else datetime.fromisoformat(value)


class Money(TypeDecorator[Decimal]):
    """An exact decimal, as text: SQLite has none of its own."""

    impl = String(48)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        """Write all its digits."""
        del dialect
        return None if value is None else format(value, "f")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:  # noqa: ANN401 - SQLAlchemy's signature
        """Read it back."""
        del dialect
        return None if value is None else Decimal(value)


class NanoUsd(TypeDecorator[Decimal]):
    """An amount of USD as a whole number of 1e-9 USD, so that the database sums it exactly.

    The exchange books in 1e-6 USD. What is finer than 1e-9 is rounded to even; that is what `Money` is for.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """Write the number of units."""
        del dialect
        return None if value is None else int(value.scaleb(_NANO, _WIDE).to_integral_value(context=_WIDE))

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:  # noqa: ANN401 - SQLAlchemy's signature
        """Read it back as USD."""
        del dialect
        return None if value is None else Decimal(value).scaleb(-_NANO, _WIDE)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

bot_commands = Table(
    "bot_commands",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("command_id", String(128)),
    Column("duplicate_of", Integer),
    Column("name", String(64), nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("payload_hash", String(64), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("packet_id", Integer),
    Column("retained", Boolean, nullable=False),
    Column("source", String(128)),
    Column("issued_at", Moment),
    Column("expires_at", Moment),
    Column("received_at", Moment, nullable=False),
    Column("status", String(16), nullable=False),
    Column("error_code", String(32)),
    Column("error_message", Text),
    Column("response", JSON),
    Column("executed_at", Moment),
    Column("answered", Boolean, nullable=False, server_default=false()),
    sqlite_autoincrement=True,
)
"""The journal. `status` is PENDING, RUNNING, or how the command ended; `answered` once the broker has the
response, or the command's file has left the spool."""

Index(
    "uq_bot_commands_command_id",
    bot_commands.c.command_id,
    unique=True,
    sqlite_where=bot_commands.c.duplicate_of.is_(None),
    postgresql_where=bot_commands.c.duplicate_of.is_(None),
)
Index(
    "ix_bot_commands_answered",
    bot_commands.c.answered,
    sqlite_where=text("answered = 0"),
    postgresql_where=text("NOT answered"),
)

mailbox = Table(
    "mailbox",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("payload_hash", String(64), primary_key=True),
)
"""What was handled on each `/set` topic since the broker last confirmed that it holds nothing retained there."""

state = Table("state", metadata, Column("key", String(64), primary_key=True), Column("value", JSON, nullable=False))

settings = Table(
    "settings",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", String(64), nullable=False),
    Column("changed_at", Moment, nullable=False),
)

crypto_configs = Table(
    "crypto_configs",
    metadata,
    Column("symbol", String(20), primary_key=True),
    Column("topic_id", Integer, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

signals = Table(
    "signals",
    metadata,
    Column("signal_id", String(32), primary_key=True),
    Column("symbol", String(20), nullable=False, index=True),
    Column("topic_id", Integer, nullable=False),
    Column("direction", String(8), nullable=False),
    Column("prediction", Money),
    Column("prediction_at", Moment),
    Column("mark_price", Money),
    Column("gap_pct", Money),
    Column("acted", Boolean, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("at", Moment, nullable=False, index=True),
)

orders = Table(
    "orders",
    metadata,
    Column("order_id", String(34), primary_key=True),
    Column("parent_id", String(34), index=True),
    Column("signal_id", String(32)),
    Column("symbol", String(20), nullable=False, index=True),
    Column("side", String(4), nullable=False),
    Column("purpose", String(8), nullable=False),
    Column("size", Money, nullable=False),
    Column("limit_price", Money, nullable=False),
    Column("trigger_price", Money),
    Column("reduce_only", Boolean, nullable=False),
    Column("status", String(24), nullable=False, index=True),
    Column("oid", BigInteger, index=True),
    Column("filled_size", Money, nullable=False),
    Column("average_price", Money),
    Column("error", Text),
    Column("reason", Text, nullable=False),
    Column("envelope", JSON),
    Column("nonce", BigInteger),
    Column("at", Moment, nullable=False, index=True),
    Column("updated_at", Moment, nullable=False),
)
"""Orders sent; `order_id` is the cloid. `envelope` is the signed action as it was stored before it left."""

fills = Table(
    "fills",
    metadata,
    Column("fill_id", String(64), primary_key=True),
    Column("oid", BigInteger, nullable=False),
    Column("order_id", String(34), index=True),
    Column("symbol", String(20), nullable=False),
    Column("side", String(4), nullable=False),
    Column("direction", String(24), nullable=False),
    Column("size", Money, nullable=False),
    Column("price", Money, nullable=False),
    Column("fee_usd", Money, nullable=False),
    Column("closed_pnl_usd", Money, nullable=False),
    Column("at", Moment, nullable=False, index=True),
    Column("start_position", Money),
    Column("trade_id", String(64)),
)
"""`start_position` is what was held before the fill, in coins; `trade_id` the round trip it belongs to (one that turns
a position round belongs to the one it ends), empty until it is booked."""

Index("ix_fills_symbol_at", fills.c.symbol, fills.c.at)
Index("ix_fills_trade_id_symbol", fills.c.trade_id, fills.c.symbol)

funding = Table(
    "funding",
    metadata,
    Column("funding_id", String(64), primary_key=True),
    Column("symbol", String(20), nullable=False),
    Column("amount_usd", Money, nullable=False),
    Column("rate", Money, nullable=False),
    Column("size", Money, nullable=False),
    Column("at", Moment, nullable=False, index=True),
    Column("trade_id", String(64)),
)
"""What positions paid (below zero) or were paid each hour; `trade_id` is empty while no round trip is known that was
open then."""

Index("ix_funding_symbol_at", funding.c.symbol, funding.c.at)
Index("ix_funding_trade_id_symbol", funding.c.trade_id, funding.c.symbol)

trades = Table(
    "trades",
    metadata,
    Column("trade_id", String(64), primary_key=True),
    Column("position_id", String(34), index=True),
    Column("symbol", String(20), nullable=False),
    Column("side", String(5), nullable=False),
    Column("topic_id", Integer),
    Column("signal_id", String(32)),
    Column("opened_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False, index=True),
    Column("closed_at", Moment, index=True),
    Column("reason", Text),
    Column("holding_ms", BigInteger),
    Column("is_whole", Boolean, nullable=False),
    Column("is_liquidated", Boolean, nullable=False),
    Column("open_size", Money, nullable=False),
    Column("entry_size", Money, nullable=False),
    Column("entry_value_usd", Money, nullable=False),
    Column("exit_size", Money, nullable=False),
    Column("exit_value_usd", Money, nullable=False),
    Column("fills", Integer, nullable=False),
    Column("closed_pnl_nano_usd", NanoUsd, nullable=False),
    Column("fees_nano_usd", NanoUsd, nullable=False),
    Column("funding_nano_usd", NanoUsd, nullable=False),
    Column("pnl_nano_usd", NanoUsd, nullable=False),
)
"""Round trips, made of fills and funding: `trade_id` is the fill that began it, `position_id` the bot's own position,
if it was one. `is_whole` is false when some of its fills are not in the books."""

Index("ix_trades_symbol_opened_at", trades.c.symbol, trades.c.opened_at)
Index("ix_trades_symbol_last_at", trades.c.symbol, trades.c.last_at)

day_results = Table(
    "day_results",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("symbol", String(20), primary_key=True),
    Column("fills", Integer, nullable=False),
    Column("closed_pnl_nano_usd", NanoUsd, nullable=False),
    Column("fees_nano_usd", NanoUsd, nullable=False),
    Column("funding_nano_usd", NanoUsd, nullable=False),
)
"""What the fills and the funding of a UTC day brought in one coin, whether or not a position ended."""

positions = Table(
    "positions",
    metadata,
    Column("position_id", String(34), primary_key=True),
    Column("symbol", String(20), nullable=False, index=True),
    Column("side", String(5), nullable=False),
    Column("size", Money, nullable=False),
    Column("entry_price", Money, nullable=False),
    Column("stop_price", Money, nullable=False),
    Column("target_price", Money, nullable=False),
    Column("topic_id", Integer, nullable=False),
    Column("signal_id", String(32), nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("closed_at", Moment, index=True),
    Column("close_reason", Text),
    Column("closed_pnl_usd", Money),
    Column("open_reason", String(16)),
)
"""Positions the bot opened or adopted; `position_id` is the entry order's id, `expires_at` when the prediction's
horizon ends; `open_reason` is `adopted` where somebody else opened it."""

Index("ix_positions_close_reason_symbol_closed_at", positions.c.close_reason, positions.c.symbol, positions.c.closed_at)

equity = Table(
    "equity",
    metadata,
    Column("at", Moment, primary_key=True),
    Column("equity_usd", Money, nullable=False),
    Column("exposure_usd", Money, nullable=False),
    Column("steady_usd", Money),
)
"""`steady_usd` is what the equity would be without deposits and withdrawals, in proportion: results show in it alone.
Empty for points from before it was kept."""

cash_flows = Table(
    "cash_flows",
    metadata,
    Column("flow_id", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("amount_usd", Money),
    Column("at", Moment, nullable=False, index=True),
)
"""Money that came into the account (above zero) or left it; `amount_usd` is empty where that cannot be told."""

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("type", String(32), nullable=False, index=True),
    Column("content", JSON, nullable=False),
    Column("at", Moment, nullable=False, index=True),
)
"""The audit trail: append-only."""

predictions = Table(
    "predictions",
    metadata,
    Column("network", String(24), primary_key=True),
    Column("topic_id", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, primary_key=True),
    Column("symbol", String(20), nullable=False, index=True),
    Column("price", Money, nullable=False),
    Column("mark_price", Money, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("horizon_s", Integer, nullable=False),
    Column("due", Moment, nullable=False, index=True),
    Column("outcome_price", Money),
    Column("is_right", Boolean),
    Column("resolved_at", Moment),
    Column("note", Text),
    Column("review", JSON),
)
"""Usable predictions of followed topics. `mark_price` is the mark at `seen_at`, `outcome_price` the one when it was
due; `note` says why there is none, or that it is a candle's. `review` is what the reviewers said before an entry."""
