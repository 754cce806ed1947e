"""Funding, round trips and daily results; fills know what was held before them and what they belong to.

The fills that are there are summed into daily results here, and become round trips when the bot starts.
"""

from collections import defaultdict
from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and fill the daily results."""
    op.add_column("fills", sa.Column("start_position", sa.String(48), nullable=True))
    op.add_column("fills", sa.Column("trade_id", sa.String(length=64), nullable=True))
    op.drop_index("ix_fills_symbol", "fills")
    op.create_index("ix_fills_symbol_at", "fills", ["symbol", "at"])
    op.create_index("ix_fills_trade_id_symbol", "fills", ["trade_id", "symbol"])
    op.create_table(
        "funding",
        sa.Column("funding_id", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("amount_usd", sa.String(48), nullable=False),
        sa.Column("rate", sa.String(48), nullable=False),
        sa.Column("size", sa.String(48), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("trade_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("funding_id", name="pk_funding"),
    )
    op.create_index("ix_funding_at", "funding", ["at"])
    op.create_index("ix_funding_symbol_at", "funding", ["symbol", "at"])
    op.create_index("ix_funding_trade_id_symbol", "funding", ["trade_id", "symbol"])
    op.create_table(
        "trades",
        sa.Column("trade_id", sa.String(length=64), nullable=False),
        sa.Column("position_id", sa.String(length=34), nullable=True),
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("side", sa.String(length=5), nullable=False),
        sa.Column("topic_id", sa.Integer(), nullable=True),
        sa.Column("signal_id", sa.String(length=32), nullable=True),
        sa.Column("opened_at", sa.String(32), nullable=False),
        sa.Column("last_at", sa.String(32), nullable=False),
        sa.Column("closed_at", sa.String(32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("holding_ms", sa.BigInteger(), nullable=True),
        sa.Column("is_whole", sa.Boolean(), nullable=False),
        sa.Column("is_liquidated", sa.Boolean(), nullable=False),
        sa.Column("open_size", sa.String(48), nullable=False),
        sa.Column("entry_size", sa.String(48), nullable=False),
        sa.Column("entry_value_usd", sa.String(48), nullable=False),
        sa.Column("exit_size", sa.String(48), nullable=False),
        sa.Column("exit_value_usd", sa.String(48), nullable=False),
        sa.Column("fills", sa.Integer(), nullable=False),
        sa.Column("closed_pnl_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("fees_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("funding_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("pnl_nano_usd", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trade_id", name="pk_trades"),
    )
    for name, columns in (
        ("closed_at", ["closed_at"]),
        ("last_at", ["last_at"]),
        ("position_id", ["position_id"]),
        ("symbol_last_at", ["symbol", "last_at"]),
        ("symbol_opened_at", ["symbol", "opened_at"]),
    ):
        op.create_index(f"ix_trades_{name}", "trades", columns)
    results = op.create_table(
        "day_results",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("fills", sa.Integer(), nullable=False),
        sa.Column("closed_pnl_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("fees_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("funding_nano_usd", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "symbol", name="pk_day_results"),
    )
    op.bulk_insert(results, _sums())


def _sums() -> list[dict[str, object]]:
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    found = op.get_bind().execute(sa.text("SELECT at, symbol, closed_pnl_usd, fee_usd FROM fills"))
    for at, symbol, closed_pnl_usd, fee_usd in found:
        day = sums[at[:10], symbol]
        day[0] += 1
        day[1] += _nano(closed_pnl_usd)
        day[2] += _nano(fee_usd)
    return [
        {
            "day": day,
            "symbol": symbol,
            "fills": count,
            "closed_pnl_nano_usd": closed_pnl,
            "fees_nano_usd": fees,
            "funding_nano_usd": 0,
        }
        for (day, symbol), (count, closed_pnl, fees) in sums.items()
    ]


def _nano(usd: str) -> int:
    return int(Decimal(usd).scaleb(9).to_integral_value())
