"""Searches over several shapes: runs that belong together, and times by shape.

Columns are added and nothing more: for a foreign key SQLite would have to drop and make the table anew, and dropping
`runs` deletes what refers to it.
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
