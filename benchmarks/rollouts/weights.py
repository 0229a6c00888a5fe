"""Weights that change under load: how soon every new request follows them, and whether one fails by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.rollouts.project import Project
from benchmarks.rollouts.traffic import Asked, Traffic
from routing.assignment import assign
from slipway.errors import BenchmarkFailed
from slipway.experiment import BUCKETS, Experiment, path_of, read

SHARES = tuple(range(10, 101, 10))
#: Seconds of traffic after each change.
_WATCH = 1.5


@dataclass(frozen=True)
class Change:
    """``share``: of all units; ``seconds``: from the new file to the last request that still got the old weights;
    ``units``: requests that the change moved to the canary; ``failed``: requests that failed."""

    share: float
    seconds: float
    units: int
    requests: int
    failed: int


@dataclass(frozen=True)
class Report:
    """Every change in turn; ``rate``: requests per second that were really sent."""

    rate: float
    changes: tuple[Change, ...]

    def verdict(self) -> str:
        """One line."""
        slowest, failed = max(item.seconds for item in self.changes), sum(item.failed for item in self.changes)
        requests = sum(item.requests for item in self.changes)
        return (
            f"{len(self.changes)} changes of weights at {self.rate:.0f} requests/s: in force after at most "
            f"{slowest * 1000:.0f} ms, {failed} of {requests} requests failed"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def run_weights(project: Project, model: str, version: int, open_traffic: Callable[[], Traffic]) -> Report:
    """Raises the share of ``version`` in ten steps under traffic, then stops. Raises BenchmarkFailed."""
    project.until(lambda: version in project.ready(model), f"version {version} answers", 60.0)
    marks: list[tuple[float, Experiment]] = []
    with open_traffic() as traffic:
        project.until(lambda: sum(item.good for item in traffic.requests()) >= 50, "50 answers", 60.0)
        begun = time.monotonic()
        for share in SHARES:
            project.slipway("route", model, "--canary", f"{version}={share}%", "--compare", "0%")
            found = read(project.settings.repository, model)
            if found is None:
                raise BenchmarkFailed(f"the rollout of {model} has no experiment")
            written = path_of(project.settings.repository, model).stat().st_mtime
            marks.append((time.monotonic() - (time.time() - written), found))
            time.sleep(_WATCH)
        ended = time.monotonic()
    project.slipway("route", model, "--stop")
    requests = [item for item in traffic.requests() if begun <= item.sent < ended]
    ends = [at for at, _ in marks[1:]] + [ended]
    changes = [judge_change(*mark, until, requests) for mark, until in zip(marks, ends, strict=True)]
    return Report(len(requests) / (ended - begun), tuple(changes))


def judge_change(at: float, experiment: Experiment, until: float, requests: list[Asked]) -> Change:
    """What requests after the change at ``at`` (monotonic seconds) show; every change raises the share by a tenth."""
    seen = [item for item in requests if at <= item.sent < until]
    moved = [item for item in seen if item.good and assign(experiment, item.id).version != experiment.stable]
    before = replace(experiment, arms=tuple(replace(arm, width=arm.width - BUCKETS // 10) for arm in experiment.arms))
    fresh = [item for item in moved if assign(before, item.id).version == experiment.stable]
    late = [item.sent - at for item in moved if item.version == experiment.stable]
    return Change(
        share=experiment.arms[0].width / BUCKETS,
        seconds=max(late, default=0.0),
        units=len(fresh),
        requests=len(seen),
        failed=sum(not item.good for item in seen),
    )
