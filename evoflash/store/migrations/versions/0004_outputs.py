"""Errors of a problem with several outputs: which of them they are of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accuracies", sa.Column("output", sa.String(255), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("accuracies", "output")
