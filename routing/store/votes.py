"""Feedback as it is stored, and the votes that come of it: one per request and name, whatever arrives first.

A label is a vote once its request's exposure is there, and the prediction that it is held against; an outcome once the
exposure is. So feedback, the access log and predictions each look for what the others brought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from routing.store.lock import lock
from routing.store.store import Store

#: The name of the vote that labels cast; no outcome is called that.
CORRECT = ""
_BATCH = 5_000
_LABELS = """
INSERT INTO labels (request_id, label, correct, time)
SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:labels AS text[]), CAST(:correct AS bool[]), CAST(:times AS float8[]))
ON CONFLICT (request_id) DO UPDATE SET label = excluded.label, correct = excluded.correct, time = excluded.time
WHERE excluded.time >= labels.time
"""
_OUTCOMES = """
INSERT INTO outcomes (request_id, name, value, time)
SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:names AS text[]), CAST(:values AS bool[]), CAST(:times AS float8[]))
ON CONFLICT (request_id, name) DO UPDATE SET value = excluded.value, time = excluded.time
WHERE excluded.time >= outcomes.time
"""
#: OFFSET 0: looked up by request id, never joined (see ingest.py).
#: A fallback's answer says nothing of the assigned version, so only its own answers are judged by labels.
_VOTE_LABELS = """
INSERT INTO votes (experiment, request_id, name, version, value, time)
SELECT experiment, request_id, '', assigned, correct, time FROM (
  SELECT DISTINCT ON (e.experiment, t.request_id) e.experiment, t.request_id, e.assigned, e.time,
    coalesce(l.correct, l.label = coalesce(p.summary ->> 'label', p.summary ->> 'text')) AS correct
  FROM {touched} t
  CROSS JOIN LATERAL (SELECT * FROM labels WHERE request_id = t.request_id OFFSET 0) l
  CROSS JOIN LATERAL (SELECT * FROM exposures WHERE request_id = t.request_id OFFSET 0) e
  LEFT JOIN LATERAL (SELECT * FROM predictions WHERE request_id = t.request_id OFFSET 0) p
    ON p.model = e.model AND p.version = e.assigned AND p."index" = 0
  WHERE e.why IN ('arm', 'stable') AND e.own
  ORDER BY e.experiment, t.request_id, e.time
) judged WHERE correct IS NOT NULL
ON CONFLICT (experiment, request_id, name) DO UPDATE
SET version = excluded.version, value = excluded.value, time = excluded.time
"""
#: Of all requests that were assigned a version, whoever answered: what a business sees of it.
_VOTE_OUTCOMES = """
INSERT INTO votes (experiment, request_id, name, version, value, time)
SELECT DISTINCT ON (e.experiment, t.request_id, o.name) e.experiment, t.request_id, o.name, e.assigned, o.value, e.time
FROM {touched} t
CROSS JOIN LATERAL (SELECT * FROM outcomes WHERE request_id = t.request_id OFFSET 0) o
CROSS JOIN LATERAL (SELECT * FROM exposures WHERE request_id = t.request_id OFFSET 0) e
WHERE e.why IN ('arm', 'stable')
ORDER BY e.experiment, t.request_id, o.name, e.time
ON CONFLICT (experiment, request_id, name) DO UPDATE
SET version = excluded.version, value = excluded.value, time = excluded.time
"""
_THESE = "(SELECT unnest(CAST(:ids AS text[])) AS request_id)"


@dataclass(frozen=True)
class Feedback:
    """What became known of a request: its ``label``, whether it was ``correct``, or ``outcome`` with its ``value``.

    ``time``: seconds since 1970; of two of one kind the newer one counts.
    """

    request_id: str
    time: float
    label: str | None = None
    correct: bool | None = None
    outcome: str | None = None
    value: bool | None = None


def save_feedback(store: Store, items: Sequence[Feedback]) -> None:
    """Stores all of ``items`` or none. Raises StoreUnavailable."""
    ordered = sorted(items, key=lambda item: item.time)
    labels = list({item.request_id: item for item in ordered if item.outcome is None}.values())
    outcomes = list({(item.request_id, item.outcome): item for item in ordered if item.outcome is not None}.values())
    with store.begin() as connection:
        lock(connection)
        for start in range(0, len(labels), _BATCH):
            _save_labels(connection, labels[start : start + _BATCH])
        for start in range(0, len(outcomes), _BATCH):
            _save_outcomes(connection, outcomes[start : start + _BATCH])


def vote(connection: Connection, touched: str) -> None:
    """Casts the votes of the requests in the table ``touched`` (a name of ours, never input)."""
    for statement in (_VOTE_LABELS, _VOTE_OUTCOMES):
        connection.execute(text(statement.format(touched=touched)))


def _save_labels(connection: Connection, items: list[Feedback]) -> None:
    values = {**_common(items), "labels": [i.label for i in items], "correct": [i.correct for i in items]}
    connection.execute(text(_LABELS), values)
    connection.execute(text(_VOTE_LABELS.format(touched=_THESE)), values)


def _save_outcomes(connection: Connection, items: list[Feedback]) -> None:
    values = {**_common(items), "names": [i.outcome for i in items], "values": [i.value for i in items]}
    connection.execute(text(_OUTCOMES), values)
    connection.execute(text(_VOTE_OUTCOMES.format(touched=_THESE)), values)


def _common(items: list[Feedback]) -> dict[str, Any]:
    return {"ids": [item.request_id for item in items], "times": [item.time for item in items]}
