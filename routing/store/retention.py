"""What is old goes: requests, predictions, feedback, comparisons, verdicts. What live experiments counted stays.

The places in files stay too: a file that lies still for longer than that must not be read again.
"""

from __future__ import annotations

import time

from sqlalchemy import text

from routing.store.store import Store

DAYS = 30
_BATCH = 10_000
_BY_AGE = ("exposures", "predictions", "labels", "outcomes", "comparisons", "verdicts")
_OLD = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM {table} WHERE time < :before ORDER BY time LIMIT :batch
))
"""
#: The counts of an experiment go with its last exposure, not before: a verdict is made of all that was seen.
_BY_EXPERIMENT = ("tallies", "recorded", "units", "votes")
_ENDED = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM {table} t
  WHERE NOT EXISTS (SELECT 1 FROM exposures e WHERE e.experiment = t.experiment) LIMIT :batch
))
"""


def forget(store: Store, days: float = DAYS, now: float | None = None) -> int:
    """Deletes what is older than ``days``, in transactions of ten thousand rows; returns how many rows went.

    Raises StoreUnavailable; what was deleted by then stays deleted.
    """
    before = (time.time() if now is None else now) - days * 86_400
    gone = sum(_delete(store, _OLD.format(table=table), before) for table in _BY_AGE)
    return gone + sum(_delete(store, _ENDED.format(table=table), before) for table in _BY_EXPERIMENT)


def _delete(store: Store, statement: str, before: float) -> int:
    total = 0
    while True:
        with store.begin() as connection:
            deleted = connection.execute(text(statement), {"before": before, "batch": _BATCH}).rowcount
        total += deleted
        if deleted < _BATCH:
            return total
