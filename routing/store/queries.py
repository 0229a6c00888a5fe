"""What a verdict is made of, counted by PostgreSQL: `observations`; and what guardrails need of it: `glance`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from routing.observations import ArmSeen, Latencies, Observations, Part, Rate, Split
from routing.store.store import Store
from routing.store.votes import CORRECT
from slipway.experiment import Experiment


class Segment(NamedTuple):
    """Weights stayed the same from ``since`` until ``until`` (seconds since 1970; None: until now).

    ``share``: the canary's declared share of the units of both versions, 0..1.
    """

    share: float
    since: float
    until: float | None = None


_TALLIES = """
SELECT version, failed, own, ms, requests AS n FROM tallies
WHERE experiment = :experiment AND version = ANY (:versions)
"""
#: Of one segment, version by version, so that the index exposures_analysed alone answers.
_PART = """
SELECT version, failed, own, ms, n FROM unnest(CAST(:versions AS int[])) version CROSS JOIN LATERAL (
  SELECT failed, own, CASE WHEN own THEN duration_ms ELSE -1 END AS ms, count(*) AS n FROM exposures
  WHERE experiment = :experiment AND why IN ('arm', 'stable') AND assigned = version
    AND time >= :since AND time < :until
  GROUP BY 1, 2, 3
) counted
"""
_STEP = """
SELECT min(time) AS first, count(*) AS n FROM exposures
WHERE experiment = :experiment AND why IN ('arm', 'stable') AND assigned = :version AND time >= :step
"""
#: By first exposure: a unit that comes back under other weights is no second draw, and the segments stay independent.
_UNITS = """
SELECT version, count(*) AS n FROM units
WHERE experiment = :experiment AND first >= :since AND first < :until GROUP BY 1
"""
_RECORDED = """
SELECT version, images, not_finite FROM recorded WHERE experiment = :experiment AND version = ANY (:versions)
"""
_VOTES = """
SELECT version, name, count(*) AS n, count(*) FILTER (WHERE value) AS hits FROM votes
WHERE experiment = :experiment AND time >= :since AND time < :until GROUP BY 1, 2
"""
_ALWAYS = {"since": float("-inf"), "until": float("inf")}
#: Only since this experiment began: another one may have compared the same two versions.
_AGREEMENT = """
SELECT count(agree) AS n, count(*) FILTER (WHERE agree) AS hits FROM comparisons
WHERE model = :model AND version_a = least(:stable, :canary) AND version_b = greatest(:stable, :canary)
  AND agree IS NOT NULL
  AND time >= (SELECT min(first) FROM units WHERE experiment = :experiment)
"""


def observations(
    store: Store,
    experiment: Experiment,
    canary: int,
    step_started: float | None = None,
    splits: Sequence[Segment | tuple[float, float, float | None]] = (),
    now: float | None = None,
) -> Observations:
    """What was seen of ``experiment.stable`` and ``canary`` so far.

    ``step_started``, ``now``: seconds since 1970; without a step, the experiment is the step. ``splits``: while which
    weights stayed the same; without, the arms are one part. A label or outcome is one vote per request, the newest;
    only requests with an outcome are counted for it, so clients report `false` too. Raises StoreUnavailable.
    """
    named = {"experiment": experiment.id, "model": experiment.model, "stable": experiment.stable, "canary": canary}
    named["versions"] = [experiment.stable, canary]
    with store.begin() as connection:
        connection.execute(text("SET LOCAL jit = off"))
        seen = _Seen(connection, named)
        step = {version: seen.step(version, step_started or 0.0) for version in (experiment.stable, canary)}
        segments = [Segment(*segment) for segment in splits]
        split = tuple(map(seen.split, segments))
        # all units see one version at 0 and 100 %: there is nothing to compare
        parts = tuple(seen.part(segment) for segment in segments if 0 < segment.share < 1)
        agreement = connection.execute(text(_AGREEMENT), named).one()
    first = min((row.first for row in step.values() if row.first is not None), default=None)
    return Observations(
        stable=seen.arm(experiment.stable),
        canary=seen.arm(canary),
        splits=split,
        parts=parts if segments else None,
        over=bool(segments) and segments[-1].share == 1,
        agreement=Rate(agreement.n, agreement.hits),
        seconds=0.0 if first is None else max(0.0, (time.time() if now is None else now) - first),
        step_requests=step[canary].n,
    )


def glance(store: Store, experiment: str, version: int) -> ArmSeen:
    """Requests, errors, latencies and recorded answers of one version, without labels and outcomes: all counted as they
    arrived, so it takes milliseconds however many requests there were. Raises StoreUnavailable."""
    with store.begin() as connection:
        return _Counted(connection, {"experiment": experiment, "versions": [version]}).arm(version)


class _Counted:
    """What is counted of an experiment as it arrives; ``named``: the parameters of all its queries."""

    def __init__(self, connection: Connection, named: dict[str, Any]) -> None:
        self._connection, self._named = connection, named
        self._tallies = connection.execute(text(_TALLIES), named).all()
        self._recorded = {row.version: row for row in connection.execute(text(_RECORDED), named)}

    def arm(self, version: int) -> ArmSeen:
        images = self._recorded.get(version)
        counted = _arm(version, self._tallies)
        return replace(counted, not_finite=Rate(images.images, images.not_finite)) if images else counted


class _Seen(_Counted):
    """And what is counted when it is asked for."""

    def __init__(self, connection: Connection, named: dict[str, Any]) -> None:
        super().__init__(connection, named)
        self._votes = connection.execute(text(_VOTES), {**named, **_ALWAYS}).all()

    def arm(self, version: int) -> ArmSeen:
        return _voted(super().arm(version), self._votes)

    def part(self, segment: Segment) -> Part:
        """Both versions' requests, and what feedback says of them, in one segment."""
        rows, votes = (self._connection.execute(text(of), self._during(segment)).all() for of in (_PART, _VOTES))
        stable, canary = (_voted(_arm(version, rows), votes) for version in self._named["versions"])
        return Part(stable, canary)

    def step(self, version: int, since: float) -> Row[Any]:
        return self._connection.execute(text(_STEP), {**self._named, "version": version, "step": since}).one()

    def split(self, segment: Segment) -> Split:
        found = self._connection.execute(text(_UNITS), self._during(segment))
        units = {row.version: row.n for row in found}
        return Split(segment.share, units.get(self._named["stable"], 0), units.get(self._named["canary"], 0))

    def _during(self, segment: Segment) -> dict[str, Any]:
        until = float("inf") if segment.until is None else segment.until
        return {**self._named, "since": segment.since, "until": until}


def _arm(version: int, tallies: Sequence[Any]) -> ArmSeen:
    rows = [row for row in tallies if row.version == version]
    errors = Rate(sum(row.n for row in rows), sum(row.n for row in rows if row.failed))
    return ArmSeen(version, errors, latencies_ms=_latencies(rows))


def _voted(arm: ArmSeen, votes: Sequence[Any]) -> ArmSeen:
    outcomes = {row.name: Rate(row.n, row.hits) for row in votes if row.version == arm.version}
    return replace(arm, correct=outcomes.pop(CORRECT, Rate()), outcomes=outcomes)


def _latencies(rows: Sequence[Any]) -> Latencies:
    own = [(row.ms, row.n) for row in rows if row.own]
    return Latencies.of(*zip(*own, strict=True)) if own else Latencies()
