"""The temperature and the clock of the device that examined a candidate."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("candidates", sa.Column("temperature_c", sa.Double(), nullable=True))
    op.add_column("candidates", sa.Column("clock_mhz", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("candidates", "clock_mhz")
    op.drop_column("candidates", "temperature_c")
