"""Votes know the time of their request: what is compared is told apart by it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Those whose exposure is gone already are of no time that is compared."""

    op.add_column("votes", sa.Column("time", sa.Double(), nullable=True))
    op.execute(
        "UPDATE votes v SET time = coalesce((SELECT min(e.time) FROM exposures e "
        "WHERE e.request_id = v.request_id AND e.experiment = v.experiment), 0)"
    )
    op.alter_column("votes", "time", nullable=False)
    op.drop_index("votes_counted", table_name="votes")
    op.create_index(
        "votes_counted",
        "votes",
        ["experiment", "time"],
        unique=False,
        postgresql_include=["version", "name", "value"],
    )
