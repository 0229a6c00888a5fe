"""From the edge's access log and the handlers' prediction files into the store: every line once, whatever dies when.

The place in a file is saved in the same transaction as the rows before it. One transaction at a time, over all
processes, so that the halves of a pair, or an exposure and its prediction, cannot pass each other unseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError

from routing.store.bulk import copy_new
from routing.store.lock import lock
from routing.store.rows import EXPOSURE_COLUMNS, PREDICTION_COLUMNS, Garbage, Row, exposure, prediction
from routing.store.store import Store
from routing.store.tail import Batch, Identity, Place, Tail, files
from routing.store.votes import vote

#: A lost last moment is read again from the files, so nobody waits for the disk.
_BEGIN = "SET LOCAL synchronous_commit = off"
#: The joins are spelled as look-ups by request id, LATERAL with OFFSET 0, which the planner keeps: without statistics
#: (a temporary table has none, a new one neither yet) it was seen to read the whole table once for every row.
_ADD = """
ON CONFLICT (experiment, version) DO UPDATE
SET images = recorded.images + excluded.images, not_finite = recorded.not_finite + excluded.not_finite
"""
_COUNT_EXPOSURES = f"""
INSERT INTO recorded (experiment, version, images, not_finite)
SELECT e.experiment, e.assigned, count(*), count(*) FILTER (WHERE p.not_finite)
FROM incoming_exposures e CROSS JOIN LATERAL (
  SELECT model, version, not_finite FROM predictions WHERE request_id = e.request_id OFFSET 0
) p
WHERE e.why IN ('arm', 'stable') AND p.model = e.model AND p.version = e.assigned GROUP BY 1, 2
{_ADD}"""  # noqa: S608
_COUNT_PREDICTIONS = f"""
INSERT INTO recorded (experiment, version, images, not_finite)
SELECT e.experiment, e.assigned, count(*), count(*) FILTER (WHERE p.not_finite)
FROM incoming_predictions p CROSS JOIN LATERAL (
  SELECT experiment, model, assigned, why FROM exposures WHERE request_id = p.request_id OFFSET 0
) e
WHERE e.why IN ('arm', 'stable') AND p.model = e.model AND p.version = e.assigned GROUP BY 1, 2
{_ADD}"""  # noqa: S608
_TALLY = """
INSERT INTO tallies (experiment, version, failed, own, ms, requests)
SELECT experiment, assigned, failed, own, CASE WHEN own THEN duration_ms ELSE -1 END, count(*)
FROM incoming_exposures WHERE why IN ('arm', 'stable') GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (experiment, version, failed, own, ms) DO UPDATE SET requests = tallies.requests + excluded.requests
"""
_UNITS = """
INSERT INTO units (experiment, unit, version, first)
SELECT DISTINCT ON (experiment, unit) experiment, unit, assigned, time
FROM incoming_exposures WHERE why IN ('arm', 'stable') AND unit IS NOT NULL ORDER BY experiment, unit, time
ON CONFLICT (experiment, unit) DO UPDATE SET version = excluded.version, first = excluded.first
WHERE excluded.first < units.first
"""
_PAIR = """
INSERT INTO comparisons (request_id, model, version_a, version_b, "index", time)
SELECT n.request_id, n.model, least(n.version, p.version), greatest(n.version, p.version), n."index",
  greatest(n.time, p.time)
FROM incoming_predictions n CROSS JOIN LATERAL (
  SELECT model, version, "index", time FROM predictions WHERE request_id = n.request_id OFFSET 0
) p
WHERE p.model = n.model AND p."index" = n."index" AND p.version <> n.version
ON CONFLICT DO NOTHING
"""
_PLACE = "SELECT position, head FROM offsets WHERE device = :device AND inode = :inode"
_SAVE = """
INSERT INTO offsets (device, inode, position, head, skipped, time)
VALUES (:device, :inode, :position, :head, :skipped, :time)
ON CONFLICT (device, inode) DO UPDATE SET position = excluded.position, head = excluded.head,
  skipped = offsets.skipped + excluded.skipped, time = excluded.time
"""


def _save_exposures(connection: Connection, rows: list[Row]) -> None:
    copy_new(connection, "exposures", EXPOSURE_COLUMNS, rows, key=3)
    connection.execute(text(_TALLY))
    connection.execute(text(_UNITS))
    connection.execute(text(_COUNT_EXPOSURES))
    vote(connection, "incoming_exposures")


def _save_predictions(connection: Connection, rows: list[Row]) -> None:
    copy_new(connection, "predictions", PREDICTION_COLUMNS, rows, key=4)
    connection.execute(text(_PAIR))
    connection.execute(text(_COUNT_PREDICTIONS))
    vote(connection, "incoming_predictions")


@dataclass(frozen=True)
class _Source:
    folder: Path
    pattern: str
    parse: Callable[[bytes], Row | None]
    save: Callable[[Connection, list[Row]], None]


class Ingest:
    """Follows ``edge-access*.jsonl`` in one folder and ``*.jsonl`` in the other, across rotation by rename.

    ``skipped``: lines that nobody understood, since this object was made.
    """

    def __init__(self, store: Store, access_log_dir: Path, predictions_dir: Path) -> None:
        self._store = store
        self._sources = (
            _Source(access_log_dir, "edge-access*.jsonl", exposure, _save_exposures),
            _Source(predictions_dir, "*.jsonl", prediction, _save_predictions),
        )
        self._done: dict[Identity, Place] = {}
        self.skipped = 0

    def run_once(self) -> int:
        """Takes what is there as it begins; returns how many rows it took. Raises StoreUnavailable."""
        return sum(
            self._file(source, path) for source in self._sources for path in files(source.folder, source.pattern)
        )

    def _file(self, source: _Source, path: Path) -> int:
        try:
            stream = path.open("rb")
        except FileNotFoundError:  # rotated away since it was listed; under its new name it comes next time
            return 0
        with stream:
            tail = Tail(stream)
            known = self._done.get(tail.identity)
            if known is not None and known.position <= tail.size and tail.batch(known) is None:
                return 0
            rows = 0
            while (taken := self._batch(source, tail)) is not None:
                rows += taken
                # what came since it was opened is for the next pass: under load there would be more for ever
                if self._done[tail.identity].position >= tail.size:
                    break
            return rows

    def _batch(self, source: _Source, tail: Tail) -> int | None:
        with self._store.begin() as connection:
            connection.execute(text(_BEGIN))
            lock(connection)
            place = _place(connection, tail.identity)
            batch = tail.batch(place)
            if batch is not None:
                rows, skipped = _parse(source, batch)
                skipped += _save(connection, source, rows)
                _advance(connection, tail.identity, batch.after, skipped)
        self._done[tail.identity] = place if batch is None else batch.after
        if batch is None:
            return None
        self.skipped += skipped
        return len(rows)


def _parse(source: _Source, batch: Batch) -> tuple[list[Row], int]:
    rows, skipped = [], 0
    for line in batch.lines:
        try:
            row = source.parse(line)
        except Garbage:
            skipped += 1
            continue
        if row is not None:
            rows.append(row)
    return rows, skipped


def _save(connection: Connection, source: _Source, rows: list[Row]) -> int:
    """Saves ``rows``; those that PostgreSQL will not have are found by halves and counted: none stops the rest."""
    if not rows:
        return 0
    try:
        with connection.begin_nested():
            source.save(connection, rows)
        return 0
    except (DataError, psycopg.DataError):
        if len(rows) == 1:
            return 1
        middle = len(rows) // 2
        return _save(connection, source, rows[:middle]) + _save(connection, source, rows[middle:])


def _place(connection: Connection, identity: Identity) -> Place:
    row = connection.execute(text(_PLACE), {"device": identity.device, "inode": identity.inode}).first()
    return Place() if row is None else Place(row.position, row.head)


def _advance(connection: Connection, identity: Identity, place: Place, skipped: int) -> None:
    values = {"device": identity.device, "inode": identity.inode, "position": place.position, "head": place.head}
    connection.execute(text(_SAVE), {**values, "skipped": skipped, "time": time.time()})
