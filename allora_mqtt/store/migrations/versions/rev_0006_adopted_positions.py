"""Positions say when somebody else opened them; those that were stopped are found without reading all."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the index."""
    op.add_column("positions", sa.Column("open_reason", sa.String(16), nullable=True))
    columns = ["close_reason", "symbol", "closed_at"]
    op.create_index("ix_positions_close_reason_symbol_closed_at", "positions", columns)
