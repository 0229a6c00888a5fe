"""Traffic in the form in which it is drawn: without holes, in no more pieces than a screen shows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from routing.report.data import ReportData, Traffic
from routing.report.words import is_time, number

#: Points of one line at most: more are no sharper on a screen, and the page stays small.
MOST_POINTS = 240
Counts = np.ndarray[Any, np.dtype[np.float64]]


def coarse(data: ReportData) -> ReportData:
    """With ``traffic`` in at most MOST_POINTS pieces of a multiple of its ``interval``, rows without a time left out.

    Of the pieces that become one, counts are added; p99 is the highest, and p50 the mean by requests: bounds of what
    the latencies themselves would give, which are not here.
    """
    rows = [row for row in data.traffic if is_time(row.start)]
    if not rows:
        return replace(data, traffic=())
    first, last = min(row.start for row in rows), max(row.start for row in rows)
    interval = data.interval if math.isfinite(data.interval) and data.interval > 0 else 60.0
    factor = math.ceil(((last - first) / interval + 1) / MOST_POINTS)
    if factor > 1:
        width = interval * factor
        pieces: dict[tuple[float, int], list[Traffic]] = {}
        for row in rows:
            pieces.setdefault((row.start // width * width, row.version), []).append(row)
        rows = [_merged(start, found) for (start, _), found in sorted(pieces.items())]
    return replace(data, traffic=tuple(rows), interval=interval * factor)


def by_start(data: ReportData) -> tuple[list[float], dict[int, Counts]]:
    """Times in order, and per version its requests from each of them on; 0 where it has none.

    A time of its own says where traffic pauses, so that what was before is not drawn on.
    """
    starts = sorted({row.start for row in data.traffic})
    pauses = [at + data.interval for at, then in itertools.pairwise(starts) if then - at > 1.5 * data.interval]
    starts = sorted({*starts, *pauses})
    places = {start: place for place, start in enumerate(starts)}
    found: dict[int, Counts] = {}
    for row in data.traffic:
        found.setdefault(row.version, np.zeros(len(starts)))[places[row.start]] += row.requests
    return starts, found


def thin(items: Sequence[Any]) -> list[Any]:
    """At most MOST_POINTS of ``items``, evenly, with the last one."""
    if len(items) <= MOST_POINTS:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, MOST_POINTS)]


def _merged(start: float, rows: Sequence[Traffic]) -> Traffic:
    requests = sum(row.requests for row in rows)
    highest = [value for row in rows if (value := number(row.p99_ms)) is not None]
    middles = [(value, row.requests) for row in rows if (value := number(row.p50_ms)) is not None]
    weight = sum(count for _, count in middles)
    return Traffic(
        start,
        rows[0].version,
        requests,
        sum(row.errors for row in rows),
        sum(value * count for value, count in middles) / weight if weight else None,
        max(highest, default=None),
    )
