"""Predictions and what came of them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of predictions."""
    op.create_table(
        "predictions",
        sa.Column("network", sa.String(length=24), nullable=False),
        sa.Column("topic_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("symbol", sa.String(length=20), nullable=False),
        sa.Column("price", sa.String(48), nullable=False),
        sa.Column("mark_price", sa.String(48), nullable=False),
        sa.Column("seen_at", sa.String(32), nullable=False),
        sa.Column("horizon_s", sa.Integer(), nullable=False),
        sa.Column("due", sa.String(32), nullable=False),
        sa.Column("outcome_price", sa.String(48), nullable=True),
        sa.Column("is_right", sa.Boolean(), nullable=True),
        sa.Column("resolved_at", sa.String(32), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("review", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("network", "topic_id", "at", name=op.f("pk_predictions")),
    )
    op.create_index(op.f("ix_predictions_due"), "predictions", ["due"], unique=False)
    op.create_index(op.f("ix_predictions_symbol"), "predictions", ["symbol"], unique=False)
