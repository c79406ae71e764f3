"""Searches over several shapes: groups of runs, and times by shape.

This only adds columns. For a foreign key, SQLite would have to recreate the table, and dropping `runs` would delete the
rows that refer to it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("timings", "contestants"):
        op.add_column(table, sa.Column("shape", sa.String(255), nullable=False, server_default=""))
    op.add_column("runs", sa.Column("group_id", sa.Integer(), nullable=True))
    op.create_index("ix_runs_group_id", "runs", ["group_id"])


def downgrade() -> None:
    op.drop_index("ix_runs_group_id", "runs")
    op.drop_column("runs", "group_id")
    for table in ("timings", "contestants"):
        op.drop_column(table, "shape")
