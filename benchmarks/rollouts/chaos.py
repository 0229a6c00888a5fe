"""Everything is killed in turn while a good version is rolled out: what clients saw, and whether anything was lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import func, select

from benchmarks.chaos import Outcome, judge, strike
from benchmarks.rollouts.project import Project
from benchmarks.rollouts.scenarios import exposures, start_rollout
from benchmarks.rollouts.traffic import Asked, Traffic
from routing.assignment import assign
from routing.controller import heartbeat
from routing.controller.database import opened
from routing.postgres import Postgres
from routing.rollout.state import RolloutState
from routing.store import tables
from slipway.errors import BenchmarkFailed
from slipway.experiment import BUCKETS, Experiment, read

#: Long enough that every kill and its recovery fall into the walk.
PLAN = ("--steps", "20%,40%,60%,100%", "--bake", "15", "--auto")
_LIMIT = 600.0
_CALM = 2.0
_WATCH = 0.05


@dataclass(frozen=True)
class Report:
    """``wrong_version``: answers of a version that the unit's assignment does not allow (its own, or the stable one in
    its place); ``stable_instead``: units of the canary that the stable version answered; ``lost_exposures``: answers
    that the edge's log does not have (its last lines die with it); ``not_stored``: lines of the log that the database
    does not have; ``steps_back``: times that the walk was seen to go back or another experiment appeared.
    """

    status: str
    seconds: float
    requests: int
    outcomes: Sequence[Outcome]
    wrong_version: int
    stable_instead: int
    lost_exposures: int
    not_stored: int
    steps_back: int

    def verdict(self) -> str:
        """One line."""
        return (
            f"{self.status} by itself after {self.seconds:.0f} s: {self.wrong_version} of {self.requests} answers from "
            f"a wrong version, {self.steps_back} steps back, {self.not_stored} exposures of the log not stored, "
            f"{self.lost_exposures} answers that the log does not have, {self.stable_instead} units of the canary "
            "answered by the stable version meanwhile"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def run_chaos(project: Project, model: str, version: int, open_traffic: Callable[[], Traffic]) -> Report:
    """Rolls a good version out and kills Triton, Envoy, the controller and PostgreSQL on the way.

    Raises BenchmarkFailed when the rollout does not come to its end by itself.
    """
    project.until(lambda: version in project.ready(model), f"version {version} answers", 60.0)
    outcomes = []
    with open_traffic() as traffic:
        project.until(lambda: sum(item.good for item in traffic.requests()) >= 50, "50 answers", 60.0)
        start_rollout(project, model, version, PLAN)
        experiment = _experiment(project, model)
        with _Walk(project, model) as walk:
            project.until(lambda: _controller(project) is not None, "the controller runs", 60.0)
            for event, victim in _VICTIMS:
                outcomes.append(_strike(project, model, traffic, event, victim))
            project.until(lambda: not project.rollout(model).active, "the rollout is over", _LIMIT)
        state = project.rollout(model)
        time.sleep(_CALM)
    project.slipway("route", model)
    return _report(project, state, experiment, outcomes, traffic.requests(), walk.steps_back)


def _experiment(project: Project, model: str) -> Experiment:
    found = read(project.settings.repository, model)
    if found is None:
        raise BenchmarkFailed(
            f"the rollout of {model} has no experiment", fix="see the logs in .slipway/rollouts/run/logs"
        )
    return found


class _Walk:
    """Watches the walk from outside: it only goes on."""

    def __init__(self, project: Project, model: str) -> None:
        self.steps_back = 0
        self._project, self._model = project, model
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Walk:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        last = self._project.rollout(self._model)
        while not self._stop.wait(_WATCH):
            now = self._project.rollout(self._model)
            self.steps_back += (now.experiment, now.salt) != (last.experiment, last.salt) or now.step < last.step
            last = now


def _strike(
    project: Project, model: str, traffic: Traffic, event: str, victim: Callable[[Project], int | None]
) -> Outcome:
    """Kills, and waits until all is well again: requests answered for a while, and the process there anew."""
    if not project.rollout(model).active:
        raise BenchmarkFailed(f"the rollout was over before {event} was killed")
    before = victim(project)
    if before is None:
        raise BenchmarkFailed(f"{event} does not run, so it cannot be killed")
    project.note(f"kill -9 {event}, process {before}")
    struck, ended = strike([before])
    project.until(lambda: victim(project) not in (None, before), f"{event} runs again", 60.0)
    project.until(lambda: _calm(traffic, struck), f"all is well after {event} was killed", 60.0)
    return judge(f"kill -9 {event}", struck, struck - _CALM, traffic.requests(), stop=False, ended=ended)


def _calm(traffic: Traffic, struck: float) -> bool:
    if any(sent < struck for sent in traffic.waiting()):
        return False
    failed = max((item.ended for item in traffic.requests() if not item.good and item.ended >= struck), default=struck)
    return time.monotonic() - failed >= _CALM


def _triton(project: Project) -> int | None:
    return _pid(project.state.engine)


def _envoy(project: Project) -> int | None:
    return _pid(project.state.envoy)


def _pid(found: dict[str, Any]) -> int | None:
    return int(found["pid"]) if found.get("pid") else None


def _controller(project: Project) -> int | None:
    beat = heartbeat.read(project.settings)
    return beat.pid if beat is not None else None


def _postgres(project: Project) -> int | None:
    return Postgres(project.settings.state_dir / "postgres").pid


_VICTIMS: tuple[tuple[str, Callable[[Project], int | None]], ...] = (
    ("Triton", _triton),
    ("Envoy", _envoy),
    ("the controller", _controller),
    ("PostgreSQL", _postgres),
)


def _report(
    project: Project,
    state: RolloutState,
    experiment: Experiment,
    outcomes: Sequence[Outcome],
    requests: Sequence[Asked],
    steps_back: int,
) -> Report:
    rows = exposures(project.settings.state_dir, state.experiment)
    logged = {row["request_id"] for row in rows}
    times = [(item, _epoch(item.sent)) for item in requests if item.good]
    during = [item for item, sent in times if state.started + 1 < sent < _ended(state)]
    return Report(
        status=state.status,
        seconds=state.ended - state.started,
        requests=len(requests),
        outcomes=outcomes,
        wrong_version=sum(not _allowed(state, experiment, item) for item in during),
        stable_instead=sum(bool(row["failed"]) or row["why"] == "unready" for row in rows),
        lost_exposures=sum(item.id not in logged for item in during),
        not_stored=len(rows) - _stored(project, state.experiment),
        steps_back=steps_back,
    )


def _allowed(state: RolloutState, experiment: Experiment, item: Asked) -> bool:
    ended = _epoch(item.ended)
    share = max((part.share for part in state.segments if part.since <= ended), default=0.0)
    return of_assignment(experiment, share, item.version, item.id)


def of_assignment(experiment: Experiment, share: float, version: int, unit: str) -> bool:
    """Whether ``version`` may answer ``unit`` while the first arm has ``share`` of all units: its own version may, and
    the stable one in its place."""
    arm = replace(experiment.arms[0], width=round(share * BUCKETS))
    return version in (experiment.stable, assign(replace(experiment, arms=(arm,)), unit).version)


def _stored(project: Project, experiment: str) -> int:
    with opened(project.settings) as store, store.begin() as connection:
        table = tables.exposures
        count = select(func.count()).select_from(table).where(table.c.experiment == experiment)
        return int(connection.execute(count).scalar_one())


def _ended(state: RolloutState) -> float:
    return next((entry.time for entry in state.history if entry.status in ("promoting", "aborting")), state.ended)


def _epoch(monotonic: float) -> float:
    return time.time() - (time.monotonic() - monotonic)
