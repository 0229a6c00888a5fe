"""What reports show: traffic by minute and version, and what verdicts said: where they changed, and over time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from routing.store.store import Store

_SERIES = """
SELECT floor(time / :seconds) * :seconds AS start, assigned, count(*) AS requests,
  count(*) FILTER (WHERE failed) AS errors,
  percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE own) AS p50_ms,
  percentile_disc(0.99) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE own) AS p99_ms
FROM exposures
WHERE experiment = :experiment AND why IN ('arm', 'stable') AND time >= :since AND time < :until
GROUP BY 1, 2 ORDER BY 1, 2
"""
_SAVE = """
INSERT INTO verdicts (experiment, time, step, decision, body)
VALUES (:experiment, :time, :step, :decision, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING
"""
_CHANGES = """
SELECT time, step, decision, coalesce(body -> 'reasons', '[]') FROM (
  SELECT *, lag(decision) OVER (ORDER BY time) AS before FROM verdicts WHERE experiment = :experiment
) told WHERE decision IS DISTINCT FROM before ORDER BY time
"""
_CHECKS = """
SELECT time, item ->> 'metric', item -> 'estimate', item -> 'lower', item -> 'upper'
FROM verdicts CROSS JOIN LATERAL jsonb_array_elements(body -> 'checks') item
WHERE experiment = :experiment AND item ->> 'metric' = ANY (:metrics) AND item ->> 'estimate' IS NOT NULL
ORDER BY time
"""


@dataclass(frozen=True)
class Point:
    """One version's traffic from ``start`` (seconds since 1970) on, for one width of the series.

    ``p50_ms``, ``p99_ms``: of its own good answers; None without any.
    """

    start: float
    version: int
    requests: int
    errors: int
    p50_ms: int | None
    p99_ms: int | None


@dataclass(frozen=True)
class SavedVerdict:
    """A verdict that decided otherwise than the one before it; ``reasons``: plain words."""

    time: float
    step: int
    decision: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedCheck:
    """One metric of a verdict, as it was at ``time``: as Check's."""

    time: float
    metric: str
    estimate: float
    lower: float | None = None
    upper: float | None = None


def exposure_series(
    store: Store, experiment: str, since: float = 0.0, until: float | None = None, seconds: int = 60
) -> list[Point]:
    """Traffic by assigned version in pieces of ``seconds``; empty ones are left out. Raises StoreUnavailable."""
    values = {"experiment": experiment, "since": since, "until": until or float("inf"), "seconds": seconds}
    with store.begin() as connection:
        return [Point(*row) for row in connection.execute(text(_SERIES), values)]


def save_verdict(
    store: Store, experiment: str, step: int, decision: str, body: dict[str, Any], at: float | None = None
) -> None:
    """``at``: seconds since 1970, now unless given; the same one twice is kept once. Raises StoreUnavailable."""
    values = {"experiment": experiment, "time": time.time() if at is None else at, "step": step, "decision": decision}
    with store.begin() as connection:
        connection.execute(text(_SAVE), {**values, "body": json.dumps(body, allow_nan=False)})


def verdicts(store: Store, experiment: str) -> list[SavedVerdict]:
    """Where an experiment's verdicts changed, the oldest first. Raises StoreUnavailable."""
    with store.begin() as connection:
        rows = connection.execute(text(_CHANGES), {"experiment": experiment})
        return [SavedVerdict(at, step, decision, tuple(reasons)) for at, step, decision, reasons in rows]


def checks(store: Store, experiment: str, metrics: Sequence[str]) -> list[SavedCheck]:
    """What all verdicts said of ``metrics``, the oldest first; where nothing was known is left out.

    Raises StoreUnavailable.
    """
    values = {"experiment": experiment, "metrics": list(metrics)}
    with store.begin() as connection:
        return [SavedCheck(*row) for row in connection.execute(text(_CHECKS), values)]
