"""One rollout from publication to its end: what the clients saw, and what the edge wrote down."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.rollouts.project import Project
from benchmarks.rollouts.traffic import Asked, Traffic
from routing.rollout.state import RolloutState
from slipway.errors import BenchmarkFailed

#: A walk of minutes, not days: the margins are wider than the defaults, so that hundreds of requests show something.
PLAN = ("--steps", "10%,25%,50%,100%", "--bake", "2", "--auto", "--compare", "20%", "--keep-images")
RULES = {
    "min_requests": "100",
    "min_seconds": "2",
    "error_margin": "0.02",
    "accuracy_margin": "0.02",
    "accuracy_required": "true",
    "latency.margin": "1.0",
}
#: The one that is written, and those before it.
_ACCESS_LOGS = "edge-access*.jsonl"
_LIMIT = 600.0
#: Traffic goes on so long after the end: who still reaches the canary then?
_AFTER = 2.0


@dataclass(frozen=True)
class Ending:
    """How one rollout ended. ``seconds``: from its start to its last decision; ``canary``: requests that were assigned
    to the canary and met it; ``failed_tries``: those of them that failed there and were asked of the stable version;
    ``wrong``: answers of the canary with a wrong label; ``failed``: requests that failed for their client;
    ``seconds_back``: from the abort to the last answer of the canary to a request sent after it (0: none).
    """

    scenario: str
    says: str
    status: str
    seconds: float
    requests: int
    canary: int
    failed_tries: int
    wrong: int
    failed: int
    seconds_back: float
    stable_p50_ms: float
    canary_p50_ms: float | None
    reasons: Sequence[str]
    steps: Sequence[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def run_scenario(
    project: Project, model: str, version: int, name: str, says: str, open_traffic: Callable[[], Traffic]
) -> Ending:
    """Rolls ``version`` out under traffic to its promotion or abort. Raises BenchmarkFailed when it ends otherwise."""
    project.until(lambda: version in project.ready(model), f"version {version} answers", 60.0)
    with open_traffic() as traffic:
        project.until(lambda: sum(item.good for item in traffic.requests()) >= 50, "50 answers", 60.0)
        before = len(traffic.requests())
        start_rollout(project, model, version)
        project.until(lambda: not project.rollout(model).active, f"{name}: the rollout is over", _LIMIT)
        over = time.monotonic()
        state = project.rollout(model)
        while time.monotonic() < over + _AFTER:
            time.sleep(0.05)
    project.slipway("route", model)
    return _ending(project, state, name, says, traffic.requests()[before:])


def start_rollout(project: Project, model: str, version: int, plan: Sequence[str] = PLAN) -> None:
    """As a user starts it."""
    rules = [part for key, value in RULES.items() for part in ("--rule", f"{key}={value}")]
    project.slipway("route", model, "--canary", str(version), *plan, *rules)


def exposures(state_dir: Path, experiment: str) -> list[dict[str, Any]]:
    """The edge's log lines of one experiment, those of rotated files too; a last line that is half written is left
    out."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (state_dir / "logs").glob(_ACCESS_LOGS)]
    rows = [json.loads(line) for text in texts for line in text.rpartition("\n")[0].splitlines()]
    return [row for row in rows if row.get("experiment") == experiment]


def _ending(project: Project, state: RolloutState, name: str, says: str, requests: Sequence[Asked]) -> Ending:
    if state.status not in ("promoted", "aborted"):
        raise BenchmarkFailed(f"{name}: the rollout ended as {state.status}", observed="; ".join(state.reasons))
    canary = state.plan.canary
    rows = exposures(project.settings.state_dir, state.experiment)
    met = [row for row in rows if row["why"] == "arm" and row["assigned"] == str(canary)]
    times = {version: _p50(requests, version) for version in (state.stable, canary)}
    stable_p50 = times[state.stable]
    return Ending(
        scenario=name,
        says=says,
        status=state.status,
        seconds=_decided(state) - state.started,
        requests=len(rows),
        canary=len(met),
        failed_tries=sum(bool(row["failed"]) for row in met),
        wrong=sum(item.wrong for item in requests if item.version == canary),
        failed=sum(not item.good for item in requests),
        seconds_back=_seconds_back(state, requests) if state.status == "aborted" else 0.0,
        stable_p50_ms=stable_p50 if stable_p50 is not None else float("nan"),
        canary_p50_ms=times[canary],
        reasons=list(state.reasons),
        steps=[{"share": item.share, "seconds": (item.until or state.ended) - item.since} for item in state.segments],
    )


def _decided(state: RolloutState) -> float:
    """Epoch seconds of the verdict that ended it."""
    wanted = "aborting" if state.status == "aborted" else "promoting"
    return next((entry.time for entry in state.history if entry.status == wanted), state.ended)


def _seconds_back(state: RolloutState, requests: Sequence[Asked]) -> float:
    ended = time.monotonic() - (time.time() - _decided(state))
    late = [item.ended - ended for item in requests if item.version == state.plan.canary and item.sent > ended]
    return max(late, default=0.0)


def _p50(requests: Sequence[Asked], version: int | None) -> float | None:
    found = [(item.ended - item.sent) * 1000 for item in requests if item.good and item.version == version]
    return statistics.median(found) if found else None
