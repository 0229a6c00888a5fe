"""The first tables: exposures, predictions, feedback, comparisons, offsets, verdicts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes every table and index."""

    op.create_table(
        "comparisons",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version_a", sa.Integer(), nullable=False),
        sa.Column("version_b", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("compared", sa.Double(), nullable=True),
        sa.Column("agree", sa.Boolean(), nullable=True),
        sa.Column("distance", sa.Double(), nullable=True),
        sa.Column("detail", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("request_id", "model", "version_a", "version_b", "index"),
    )
    op.create_index(
        "comparisons_done",
        "comparisons",
        ["model", "version_a", "version_b", "time"],
        unique=False,
        postgresql_include=["agree"],
    )
    op.create_index("comparisons_time", "comparisons", ["time"], unique=False)
    op.create_index(
        "comparisons_waiting",
        "comparisons",
        ["model", "version_a", "version_b", "time"],
        unique=False,
        postgresql_where=sa.text("compared IS NULL"),
    )
    op.create_table(
        "exposures",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("unit", sa.BigInteger(), nullable=True),
        sa.Column("assigned", sa.Integer(), nullable=True),
        sa.Column("answered", sa.Integer(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("grpc_status", sa.Integer(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "experiment", "time"),
    )
    op.create_index(
        "exposures_analysed",
        "exposures",
        ["experiment", "assigned", "time"],
        unique=False,
        postgresql_include=["failed", "own", "duration_ms"],
        postgresql_where=sa.text("why IN ('arm', 'stable')"),
    )
    op.create_index("exposures_time", "exposures", ["time"], unique=False)
    op.create_table(
        "labels",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("correct", sa.Boolean(), nullable=True),
        sa.Column("time", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("labels_time", "labels", ["time"], unique=False)
    op.create_table(
        "offsets",
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("device", "inode"),
    )
    op.create_table(
        "outcomes",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Boolean(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "name"),
    )
    op.create_index("outcomes_time", "outcomes", ["time"], unique=False)
    op.create_table(
        "predictions",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("task", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("not_finite", sa.Boolean(), nullable=False),
        sa.Column("ms", sa.Double(), nullable=True),
        sa.Column("summary", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("request_id", "model", "version", "index"),
    )
    op.create_index("predictions_time", "predictions", ["time"], unique=False)
    op.create_table(
        "recorded",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("not_finite", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "version"),
    )
    op.create_table(
        "tallies",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("ms", sa.Integer(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "version", "failed", "own", "ms"),
    )
    op.create_table(
        "units",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("first", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "unit"),
    )
    op.create_index("units_first", "units", ["experiment", "first"], unique=False, postgresql_include=["version"])
    op.create_table(
        "verdicts",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "time"),
    )
    op.create_table(
        "votes",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "request_id", "name"),
    )
    op.create_index(
        "votes_counted", "votes", ["experiment"], unique=False, postgresql_include=["version", "name", "value"]
    )
