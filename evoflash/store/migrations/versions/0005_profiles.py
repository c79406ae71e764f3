"""Profiles of candidates."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "profiles",
        sa.Column("candidate_id", sa.Integer(), sa.ForeignKey("candidates.id", ondelete="CASCADE"), nullable=False),
        sa.Column("tool", sa.String(32), nullable=False),
        sa.Column("device", sa.String(255), nullable=False),
        sa.Column("time_us", sa.Double(), nullable=True),
        *(sa.Column(name, sa.JSON(), nullable=False) for name in ("counters", "floors_us", "words")),
        sa.PrimaryKeyConstraint("candidate_id"),
    )


def downgrade() -> None:
    op.drop_table("profiles")
