"""The tables of what was seen, as SQLAlchemy Core knows them; migrations/ makes them.

Times are seconds since 1970 (UTC, float); ``to_timestamp(time)`` shows them to people.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

#: One finished request of an experiment. A client may send one request id twice, so the time is part of the key.
#: ``failed``: the assigned version failed, whoever answered then. ``own``: it answered itself, and well.
exposures = Table(
    "exposures",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("experiment", Text, primary_key=True),
    Column("time", Double, primary_key=True),
    Column("model", Text, nullable=False),
    Column("unit", BigInteger),
    Column("assigned", Integer),
    Column("answered", Integer),
    Column("why", Text, nullable=False),
    Column("protocol", Text),
    Column("status", Integer, nullable=False),
    Column("grpc_status", Integer),
    Column("code", Text),
    Column("duration_ms", Integer, nullable=False),
    Column("failed", Boolean, nullable=False),
    Column("own", Boolean, nullable=False),
    # Everything that a step or a series reads, so that PostgreSQL need not visit the table.
    Index(
        "exposures_analysed",
        "experiment",
        "assigned",
        "time",
        postgresql_include=["failed", "own", "duration_ms"],
        postgresql_where=text("why IN ('arm', 'stable')"),
    ),
    Index("exposures_time", "time"),
)

#: What one version made of one image of one request.
predictions = Table(
    "predictions",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("time", Double, nullable=False),
    Column("task", Text),
    Column("code", Text),
    Column("not_finite", Boolean, nullable=False),
    Column("ms", Double),
    Column("summary", JSONB(none_as_null=True)),
    Index("predictions_time", "time"),
)

#: Requests of an experiment by what came of them, counted as they arrive: few rows, however many requests.
#: ``ms``: whole milliseconds of an own answer, else -1.
tallies = Table(
    "tallies",
    metadata,
    Column("experiment", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("failed", Boolean, primary_key=True),
    Column("own", Boolean, primary_key=True),
    Column("ms", Integer, primary_key=True),
    Column("requests", BigInteger, nullable=False),
)

#: A unit's first exposure: each unit is one draw of the split, however often it comes back.
units = Table(
    "units",
    metadata,
    Column("experiment", Text, primary_key=True),
    Column("unit", BigInteger, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("first", Double, nullable=False),
    Index("units_first", "experiment", "first", postgresql_include=["version"]),
)

#: How many predictions of a version's own exposures were recorded, counted as the later of the two arrives.
recorded = Table(
    "recorded",
    metadata,
    Column("experiment", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("images", BigInteger, nullable=False),
    Column("not_finite", BigInteger, nullable=False),
)

#: The newest label of a request, or whether its answer was correct; exactly one of both is set.
labels = Table(
    "labels",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("label", Text),
    Column("correct", Boolean),
    Column("time", Double, nullable=False),
    Index("labels_time", "time"),
)

#: The newest business outcome of a request by name.
outcomes = Table(
    "outcomes",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Boolean, nullable=False),
    Column("time", Double, nullable=False),
    Index("outcomes_time", "time"),
)

#: What feedback says of a version: ``name`` is that of an outcome, or empty for whether labels agree with it.
#: ``time``: of the request, since it is compared with others of its time.
votes = Table(
    "votes",
    metadata,
    Column("experiment", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("value", Boolean, nullable=False),
    Column("time", Double, nullable=False),
    Index("votes_counted", "experiment", "time", postgresql_include=["version", "name", "value"]),
)

#: Two versions' predictions of one image, ``version_a < version_b``; ``compared`` is null until someone compared them.
#: ``agree`` stays null where there was nothing to compare (one of both failed).
comparisons = Table(
    "comparisons",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("version_a", Integer, primary_key=True),
    Column("version_b", Integer, primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("time", Double, nullable=False),
    Column("compared", Double),
    Column("agree", Boolean),
    Column("distance", Double),
    Column("detail", JSONB(none_as_null=True)),
    Index("comparisons_waiting", "model", "version_a", "version_b", "time", postgresql_where=text("compared IS NULL")),
    Index("comparisons_done", "model", "version_a", "version_b", "time", postgresql_include=["agree"]),
    Index("comparisons_time", "time"),
)

#: How far a file was read: by identity, since rotation renames. ``head``: of its first bytes, since inodes are reused.
offsets = Table(
    "offsets",
    metadata,
    Column("device", BigInteger, primary_key=True),
    Column("inode", BigInteger, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("head", Text, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("time", Double, nullable=False),
)

#: Verdicts where they changed, and one a minute.
verdicts = Table(
    "verdicts",
    metadata,
    Column("experiment", Text, primary_key=True),
    Column("time", Double, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("decision", Text, nullable=False),
    Column("body", JSONB(none_as_null=True), nullable=False),
)
