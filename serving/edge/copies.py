"""What became of the copies of requests that a version got, counted by Envoy since it started: also of those that were
never answered, which leave no other trace."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass
from urllib.parse import quote

from serving.edge.experiments import copies
from serving.state import State

_SECONDS = 2.0


@dataclass(frozen=True)
class Copies:
    """``sent`` to the version; ``waiting``: those of them that are not answered yet; ``failed``: answered 5xx, or not
    at all; ``dropped``: more than may be in flight, so never sent. A gRPC answer with an error status is no 5xx."""

    sent: int = 0
    waiting: int = 0
    failed: int = 0
    dropped: int = 0


def counted(state: State, model: str, version: int) -> Copies | None:
    """Over both transports; None when the edge does not answer, or has sent this version no copies."""
    names = [copies(model, version, transport) for transport in ("http", "grpc")]
    pattern = rf"^cluster\.({'|'.join(map(re.escape, names))})\.upstream_rq_"
    try:
        url = f"http://{state.envoy['admin']}/stats?format=json&filter={quote(pattern)}"
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            entries = json.load(answer)["stats"]
    except (OSError, ValueError, KeyError):
        return None
    totals: dict[str, int] = {}
    for entry in entries:
        if "name" in entry:
            name = entry["name"].rpartition(".upstream_rq_")[2]
            totals[name] = totals.get(name, 0) + int(entry["value"])
    return _copies(totals) if totals else None


def _copies(totals: dict[str, int]) -> Copies:
    queued = totals.get("pending_active", 0)
    # for want of a connection, or with one that is busy: which of them is a matter of moments
    dropped = totals.get("pending_overflow", 0) + totals.get("active_overflow", 0)
    return Copies(
        sent=totals.get("total", 0) + queued,
        waiting=totals.get("active", 0) + queued,
        # Envoy answers what it drops by 503 itself; where a cluster was replaced, that count began anew
        failed=max(0, totals.get("5xx", 0) - dropped),
        dropped=dropped,
    )
