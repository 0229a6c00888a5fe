"""Two versions' predictions of one image: which wait for a comparison, and what came of it.

Pairs are found while predictions are ingested, so looking for work costs no look at what was done before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from sqlalchemy import text

from routing.observations import Rate, ShadowSeen
from routing.store.store import Store

#: In a comparison's detail: the code of each version that failed.
FAILED = "failed"
_WAITING = """
SELECT c.request_id, c."index", c.time, a.summary AS a_summary, a.code AS a_code, a.task AS a_task,
  a.not_finite AS a_not_finite, a.ms AS a_ms, b.summary AS b_summary, b.code AS b_code, b.task AS b_task,
  b.not_finite AS b_not_finite, b.ms AS b_ms
FROM (
  SELECT * FROM comparisons
  WHERE compared IS NULL AND model = :model AND version_a = least(:a, :b) AND version_b = greatest(:a, :b)
  ORDER BY time LIMIT :limit
) c
CROSS JOIN LATERAL (
  SELECT * FROM predictions
  WHERE request_id = c.request_id AND model = c.model AND version = :a AND "index" = c."index" OFFSET 0
) a
CROSS JOIN LATERAL (
  SELECT * FROM predictions
  WHERE request_id = c.request_id AND model = c.model AND version = :b AND "index" = c."index" OFFSET 0
) b
ORDER BY c.time
"""
_SAVE = """
UPDATE comparisons SET compared = :now, agree = :agree, distance = :distance, detail = CAST(:detail AS jsonb)
WHERE request_id = :request_id AND model = :model AND "index" = :index
  AND version_a = least(:a, :b) AND version_b = greatest(:a, :b) AND compared IS NULL
"""


#: Where the stable version failed too, it may well be the image.
_COPIES = f"""
SELECT agree, detail -> '{FAILED}' ->> :other AS code, count(*) AS n FROM comparisons
WHERE model = :model AND version_a = least(:a, :b) AND version_b = greatest(:a, :b)
  AND compared IS NOT NULL AND time >= :since AND time < :until AND detail -> '{FAILED}' ->> :stable IS NULL
GROUP BY 1, 2
"""  # noqa: S608 - a constant of ours


@dataclass(frozen=True)
class Answer:
    """One version's recorded prediction; ``summary`` is None when it failed with ``code``. ``ms``: of the handler."""

    task: str | None
    summary: dict[str, Any] | None
    code: str | None
    not_finite: bool
    ms: float | None


@dataclass(frozen=True)
class Pair:
    """What both versions made of image ``index`` of a request; ``a`` and ``b`` in the order that was asked for."""

    request_id: str
    index: int
    time: float
    a: Answer
    b: Answer


@dataclass(frozen=True)
class Comparison:
    """What came of a pair. ``agree``: None where nothing can be compared. ``distance``: larger is worse."""

    request_id: str
    index: int
    agree: bool | None
    distance: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def pairs_to_compare(store: Store, model: str, version_a: int, version_b: int, limit: int = 1000) -> list[Pair]:
    """The oldest pairs that nobody compared yet. Raises StoreUnavailable."""
    with store.begin() as connection:
        values = {"model": model, "a": version_a, "b": version_b, "limit": limit}
        rows = connection.execute(text(_WAITING), values).mappings().all()
    return [
        Pair(row["request_id"], row["index"], row["time"], _answer(dict(row), "a"), _answer(dict(row), "b"))
        for row in rows
    ]


def save_comparisons(
    store: Store, model: str, version_a: int, version_b: int, comparisons: Sequence[Comparison]
) -> None:
    """Keeps the first comparison of each pair. Raises StoreUnavailable."""
    if not comparisons:
        return
    common = {"model": model, "a": version_a, "b": version_b, "now": time.time()}
    rows = [
        {
            **common,
            "request_id": item.request_id,
            "index": item.index,
            "agree": item.agree,
            "distance": item.distance,
            "detail": json.dumps(item.detail, allow_nan=False),
        }
        for item in comparisons
    ]
    with store.begin() as connection:
        connection.execute(text(_SAVE), rows)


def shadow_seen(store: Store, model: str, stable: int, shadow: int, since: float, until: float = inf) -> ShadowSeen:
    """What came of a shadow's copies that were compared. Raises StoreUnavailable."""
    values = {"model": model, "a": stable, "b": shadow, "since": since, "until": until}
    with store.begin() as connection:
        rows = connection.execute(text(_COPIES), {**values, "stable": str(stable), "other": str(shadow)}).all()
    agreed = sum(row.n for row in rows if row.agree is True)
    return ShadowSeen(
        version=shadow,
        copies=sum(row.n for row in rows),
        failures={row.code: row.n for row in rows if row.code is not None},
        agreement=Rate(agreed + sum(row.n for row in rows if row.agree is False), agreed),
    )


def _answer(row: dict[str, Any], side: str) -> Answer:
    return Answer(
        *(row[f"{side}_{name}"] for name in ("task", "summary", "code", "not_finite", "ms")),
    )
