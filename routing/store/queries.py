"""What a verdict is made of, counted by PostgreSQL: `observations`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, text

from routing.observations import ArmSeen, Observations, Rate, Split
from routing.store.store import Store
from slipway.experiment import Experiment


class Segment(NamedTuple):
    """Weights stayed the same from ``since`` until ``until`` (seconds since 1970; None: until now).

    ``share``: the canary's declared share of the units of both versions, 0..1.
    """

    share: float
    since: float
    until: float | None = None


_ANALYSED = "experiment = :experiment AND why IN ('arm', 'stable') AND assigned IN (:stable, :canary)"
#: Whole milliseconds: as many groups as there are different durations, not as there are requests.
_REQUESTS = f"""
SELECT assigned, failed, own, CASE WHEN own THEN duration_ms END AS ms, count(*) AS n,
  count(*) FILTER (WHERE time >= :step) AS n_step, min(time) FILTER (WHERE time >= :step) AS first_step
FROM exposures WHERE {_ANALYSED} GROUP BY 1, 2, 3, 4
"""  # noqa: S608
_UNITS = f"""
SELECT assigned, count(*) AS n FROM (
  SELECT assigned, unit FROM exposures WHERE {_ANALYSED} AND unit IS NOT NULL AND time >= :since AND time < :until GROUP BY 1, 2
) units GROUP BY 1
"""  # noqa: S608
_RECORDED = """
SELECT version, images, not_finite FROM recorded WHERE experiment = :experiment AND version IN (:stable, :canary)
"""
#: A fallback's answer says nothing of the assigned version, so only its own answers are judged by labels.
_CORRECT = f"""
SELECT assigned, count(*) AS n, count(*) FILTER (WHERE correct) AS hits FROM (
  SELECT DISTINCT ON (e.request_id) e.assigned,
    coalesce(l.correct, l.label = coalesce(p.summary ->> 'label', p.summary ->> 'text')) AS correct
  FROM labels l JOIN exposures e ON e.request_id = l.request_id
  LEFT JOIN predictions p
    ON p.request_id = e.request_id AND p.model = :model AND p.version = e.assigned AND p."index" = 0
  WHERE {_ANALYSED} AND e.own ORDER BY e.request_id, e.time
) votes WHERE correct IS NOT NULL GROUP BY 1
"""  # noqa: S608
#: Units that were assigned a version, whoever answered: what a business sees of it.
_OUTCOMES = f"""
SELECT assigned, name, count(*) AS n, count(*) FILTER (WHERE value) AS hits FROM (
  SELECT DISTINCT ON (e.request_id, o.name) e.assigned, o.name, o.value
  FROM outcomes o JOIN exposures e ON e.request_id = o.request_id
  WHERE {_ANALYSED} ORDER BY e.request_id, o.name, e.time
) votes GROUP BY 1, 2
"""  # noqa: S608
#: Only since this experiment began: another one may have compared the same two versions.
_AGREEMENT = """
SELECT count(agree) AS n, count(*) FILTER (WHERE agree) AS hits FROM comparisons
WHERE model = :model AND version_a = least(:stable, :canary) AND version_b = greatest(:stable, :canary)
  AND agree IS NOT NULL
  AND time >= (SELECT min(time) FROM exposures WHERE experiment = :experiment AND why IN ('arm', 'stable'))
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
    weights stayed the same. A label or outcome is one vote per request, the newest; only requests with an outcome are
    counted for it, so clients report `false` too. Raises StoreUnavailable.
    """
    named = {"experiment": experiment.id, "model": experiment.model, "stable": experiment.stable, "canary": canary}
    with store.begin() as connection:
        connection.execute(text("SET LOCAL jit = off"))
        requests = connection.execute(text(_REQUESTS), {**named, "step": step_started or 0.0}).all()
        recorded = {row.version: row for row in connection.execute(text(_RECORDED), named)}
        correct = {row.assigned: Rate(row.n, row.hits) for row in connection.execute(text(_CORRECT), named)}
        outcomes = connection.execute(text(_OUTCOMES), named).all()
        agreement = connection.execute(text(_AGREEMENT), named).one()
        units = tuple(_split(connection, named, Segment(*split)) for split in splits)

    def arm(version: int) -> ArmSeen:
        rows = [row for row in requests if row.assigned == version]
        images = recorded.get(version)
        return ArmSeen(
            version=version,
            errors=Rate(sum(row.n for row in rows), sum(row.n for row in rows if row.failed)),
            not_finite=Rate(images.images, images.not_finite) if images else Rate(),
            latencies_ms=_latencies(rows),
            correct=correct.get(version, Rate()),
            outcomes={row.name: Rate(row.n, row.hits) for row in outcomes if row.assigned == version},
        )

    first = min((row.first_step for row in requests if row.first_step is not None), default=None)
    return Observations(
        stable=arm(experiment.stable),
        canary=arm(canary),
        splits=units,
        agreement=Rate(agreement.n, agreement.hits),
        seconds=0.0 if first is None else max(0.0, (time.time() if now is None else now) - first),
        step_requests=sum(row.n_step for row in requests if row.assigned == canary),
    )


def _latencies(rows: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    own = sorted((row.ms, row.n) for row in rows if row.own)
    if not own:
        return np.empty(0)
    values, counts = np.array(own, dtype=np.int64).T
    return np.repeat(values.astype(np.float64), counts)


def _split(connection: Connection, named: dict[str, Any], segment: Segment) -> Split:
    until = float("inf") if segment.until is None else segment.until
    found = connection.execute(text(_UNITS), {**named, "since": segment.since, "until": until})
    units = {row.assigned: row.n for row in found}
    return Split(segment.share, units.get(named["stable"], 0), units.get(named["canary"], 0))
