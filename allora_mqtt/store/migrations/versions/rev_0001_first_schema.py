"""The first schema.

Written against SQLAlchemy's own types, so that later changes of the models leave this step as it is.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "bot_commands",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("command_id", sa.String(length=128), nullable=True),
        sa.Column("duplicate_of", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("payload_hash", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("packet_id", sa.Integer(), nullable=True),
        sa.Column("retained", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=True),
        sa.Column("issued_at", sa.String(32), nullable=True),
        sa.Column("expires_at", sa.String(32), nullable=True),
        sa.Column("received_at", sa.String(32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("response", sa.JSON(), nullable=True),
        sa.Column("executed_at", sa.String(32), nullable=True),
        sa.Column("answered", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_bot_commands")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_bot_commands_answered",
        "bot_commands",
        ["answered"],
        unique=False,
        sqlite_where=sa.text("answered = 0"),
        postgresql_where=sa.text("NOT answered"),
    )
    op.create_index(
        "uq_bot_commands_command_id",
        "bot_commands",
        ["command_id"],
        unique=True,
        sqlite_where=sa.text("duplicate_of IS NULL"),
        postgresql_where=sa.text("duplicate_of IS NULL"),
    )
    op.create_table(
        "crypto_configs",
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("topic_id", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("symbol", name=op.f("pk_crypto_configs")),
    )
    op.create_table(
        "equity",
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("equity_usd", sa.String(48), nullable=False),
        sa.Column("exposure_usd", sa.String(48), nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_equity")),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_at"), "events", ["at"], unique=False)
    op.create_index(op.f("ix_events_type"), "events", ["type"], unique=False)
    op.create_table(
        "fills",
        sa.Column("fill_id", sa.String(length=64), nullable=False),
        sa.Column("oid", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.String(length=34), nullable=True),
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("direction", sa.String(length=24), nullable=False),
        sa.Column("size", sa.String(48), nullable=False),
        sa.Column("price", sa.String(48), nullable=False),
        sa.Column("fee_usd", sa.String(48), nullable=False),
        sa.Column("closed_pnl_usd", sa.String(48), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("fill_id", name=op.f("pk_fills")),
    )
    op.create_index(op.f("ix_fills_at"), "fills", ["at"], unique=False)
    op.create_index(op.f("ix_fills_order_id"), "fills", ["order_id"], unique=False)
    op.create_index(op.f("ix_fills_symbol"), "fills", ["symbol"], unique=False)
    op.create_table(
        "mailbox",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("topic", "payload_hash", name=op.f("pk_mailbox")),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", sa.String(length=34), nullable=False),
        sa.Column("parent_id", sa.String(length=34), nullable=True),
        sa.Column("signal_id", sa.String(length=32), nullable=True),
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("side", sa.String(length=4), nullable=False),
        sa.Column("purpose", sa.String(length=8), nullable=False),
        sa.Column("size", sa.String(48), nullable=False),
        sa.Column("limit_price", sa.String(48), nullable=False),
        sa.Column("trigger_price", sa.String(48), nullable=True),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("oid", sa.BigInteger(), nullable=True),
        sa.Column("filled_size", sa.String(48), nullable=False),
        sa.Column("average_price", sa.String(48), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("envelope", sa.JSON(), nullable=True),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
    )
    op.create_index(op.f("ix_orders_at"), "orders", ["at"], unique=False)
    op.create_index(op.f("ix_orders_oid"), "orders", ["oid"], unique=False)
    op.create_index(op.f("ix_orders_parent_id"), "orders", ["parent_id"], unique=False)
    op.create_index(op.f("ix_orders_status"), "orders", ["status"], unique=False)
    op.create_index(op.f("ix_orders_symbol"), "orders", ["symbol"], unique=False)
    op.create_table(
        "positions",
        sa.Column("position_id", sa.String(length=34), nullable=False),
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("side", sa.String(length=5), nullable=False),
        sa.Column("size", sa.String(48), nullable=False),
        sa.Column("entry_price", sa.String(48), nullable=False),
        sa.Column("stop_price", sa.String(48), nullable=False),
        sa.Column("target_price", sa.String(48), nullable=False),
        sa.Column("topic_id", sa.Integer(), nullable=False),
        sa.Column("signal_id", sa.String(length=32), nullable=False),
        sa.Column("opened_at", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.Column("closed_at", sa.String(32), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("closed_pnl_usd", sa.String(48), nullable=True),
        sa.PrimaryKeyConstraint("position_id", name=op.f("pk_positions")),
    )
    op.create_index(op.f("ix_positions_closed_at"), "positions", ["closed_at"], unique=False)
    op.create_index(op.f("ix_positions_symbol"), "positions", ["symbol"], unique=False)
    op.create_table(
        "settings",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=64), nullable=False),
        sa.Column("changed_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_settings")),
    )
    op.create_table(
        "signals",
        sa.Column("signal_id", sa.String(length=32), nullable=False),
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("topic_id", sa.Integer(), nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("prediction", sa.String(48), nullable=True),
        sa.Column("prediction_at", sa.String(32), nullable=True),
        sa.Column("mark_price", sa.String(48), nullable=True),
        sa.Column("gap_pct", sa.String(48), nullable=True),
        sa.Column("acted", sa.Boolean(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("signal_id", name=op.f("pk_signals")),
    )
    op.create_index(op.f("ix_signals_at"), "signals", ["at"], unique=False)
    op.create_index(op.f("ix_signals_symbol"), "signals", ["symbol"], unique=False)
    op.create_table(
        "state",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_state")),
    )
