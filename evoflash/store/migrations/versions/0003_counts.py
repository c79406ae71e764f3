"""An index that covers the counts of a run's candidates by family, operator and status."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME = "ix_candidates_run_kinds"


def upgrade() -> None:
    op.create_index(NAME, "candidates", ["run_id", "family", "operator", "status", "fitness_us"])


def downgrade() -> None:
    op.drop_index(NAME, "candidates")
