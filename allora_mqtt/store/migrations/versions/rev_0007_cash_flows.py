"""Deposits and withdrawals, and the equity curve without them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and add the column; points from before have no deposits told from results."""
    op.create_table(
        "cash_flows",
        sa.Column("flow_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("amount_usd", sa.String(48), nullable=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("flow_id", name="pk_cash_flows"),
    )
    op.create_index("ix_cash_flows_at", "cash_flows", ["at"])
    op.add_column("equity", sa.Column("steady_usd", sa.String(48), nullable=True))
