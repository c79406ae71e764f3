"""The device that examined a candidate, and what its times were divided by."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("candidates", sa.Column("device", sa.String(255), nullable=False, server_default=""))
    op.add_column("candidates", sa.Column("clock_ratio", sa.Double(), nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("candidates", "clock_ratio")
    op.drop_column("candidates", "device")
