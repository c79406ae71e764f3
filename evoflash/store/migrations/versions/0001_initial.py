"""The first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LONG = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def column(name: str, kind: sa.types.TypeEngine, null: bool = False) -> sa.Column:
    return sa.Column(name, kind, nullable=null)


def numbers(*names: str) -> list[sa.Column]:
    return [column(name, sa.Double(), null=True) for name in names]


def belongs(name: str, table: str, null: bool = False, index: bool = False) -> sa.Column:
    return sa.Column(name, sa.Integer(), sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=null, index=index)


def upgrade() -> None:
    op.create_table(
        "runs",
        column("id", sa.Integer()),
        column("created_at", sa.DateTime()),
        column("finished_at", sa.DateTime(), null=True),
        column("status", sa.String(16)),
        column("stop_reason", LONG),
        column("strategy", sa.String(64)),
        column("seed", sa.BigInteger()),
        column("target", sa.String(32)),
        column("problem", sa.JSON()),
        column("problem_label", sa.String(255)),
        column("plan", sa.JSON()),
        column("machine", sa.JSON()),
        *numbers("elapsed_s"),
        column("final_rounds", sa.Integer(), null=True),
        column("baseline_failures", sa.JSON(), null=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sources",
        column("digest", sa.String(64)),
        column("language", sa.String(32), null=True),
        column("text", LONG),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "candidates",
        column("id", sa.Integer()),
        belongs("run_id", "runs"),
        column("index", sa.Integer()),
        column("family", sa.String(128)),
        column("genome", sa.JSON()),
        column("genome_digest", sa.String(64)),
        column("operator", sa.String(64)),
        sa.Column("source_digest", sa.String(64), sa.ForeignKey("sources.digest"), nullable=True),
        column("status", sa.String(16)),
        column("stage", sa.String(16)),
        column("reason", LONG),
        column("quick", sa.Boolean()),
        column("duplicate_of", sa.Integer(), null=True),
        *numbers("fitness_us", "seconds"),
        column("finished_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", "index", name="uq_candidates_run_index"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_candidates_run_fitness", "candidates", ["run_id", "status", "fitness_us"])
    op.create_table(
        "lineage",
        belongs("candidate_id", "candidates"),
        column("ordinal", sa.Integer()),
        belongs("parent_id", "candidates", index=True),
        sa.PrimaryKeyConstraint("candidate_id", "ordinal"),
    )
    op.create_table(
        "builds",
        belongs("candidate_id", "candidates"),
        *numbers("seconds"),
        column("cached", sa.Boolean()),
        column("registers", sa.Integer(), null=True),
        column("shared_bytes", sa.BigInteger(), null=True),
        column("spill_bytes", sa.BigInteger(), null=True),
        column("stack_bytes", sa.BigInteger(), null=True),
        column("binary_digest", sa.String(255), null=True),
        column("log", LONG),
        sa.PrimaryKeyConstraint("candidate_id"),
    )
    op.create_table(
        "accuracies",
        belongs("candidate_id", "candidates"),
        column("final", sa.Boolean()),
        column("ordinal", sa.Integer()),
        column("case", LONG),
        *numbers("max_error", "rms_error", "mean_error", "sdpa_max_error", "sdpa_rms_error", "max_bound", "rms_bound"),
        column("worst_index", sa.JSON()),
        sa.PrimaryKeyConstraint("candidate_id", "final", "ordinal"),
    )
    op.create_table(
        "timings",
        belongs("candidate_id", "candidates"),
        column("final", sa.Boolean()),
        column("ordinal", sa.Integer()),
        column("regime", sa.String(32)),
        *numbers("p50_us", "p90_us", "p99_us"),
        column("launches", sa.BigInteger()),
        column("samples", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("candidate_id", "final", "ordinal"),
    )
    op.create_table(
        "finals",
        belongs("run_id", "runs"),
        column("ordinal", sa.Integer()),
        belongs("candidate_id", "candidates", index=True),
        column("status", sa.String(16)),
        column("reason", LONG),
        column("cases", sa.Integer()),
        column("refused", sa.JSON()),
        column("ratios", sa.JSON()),
        column("vs_best", sa.JSON(), null=True),
        column("best_baseline", sa.String(64), null=True),
        column("vs_math", sa.JSON(), null=True),
        sa.PrimaryKeyConstraint("run_id", "ordinal"),
    )
    op.create_table(
        "contestants",
        belongs("run_id", "runs"),
        column("ordinal", sa.Integer()),
        column("finalist", sa.Integer(), null=True),
        column("name", sa.String(255)),
        *numbers("p50_us", "p90_us", "p99_us"),
        column("samples", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("run_id", "ordinal"),
    )
    op.create_table(
        "insights",
        column("id", sa.Integer()),
        belongs("run_id", "runs", index=True),
        column("generation", sa.Integer()),
        column("kind", sa.String(64)),
        column("text", LONG),
        column("data", sa.JSON()),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    children = ("insights", "contestants", "finals", "timings", "accuracies", "builds", "lineage")
    for table in (*children, "candidates", "sources", "runs"):
        op.drop_table(table)
