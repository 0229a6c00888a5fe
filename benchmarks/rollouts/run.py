"""Rollouts from publication to promotion or abort, on servers of their own, with their reports."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.rollouts import chaos, weights
from benchmarks.rollouts.flaws import FLAWS, publish_flawed
from benchmarks.rollouts.project import Project
from benchmarks.rollouts.scenarios import Ending, run_scenario
from benchmarks.rollouts.traffic import Traffic, labelled_images
from samples import registry
from serving import control
from slipway.errors import BenchmarkFailed
from slipway.settings import Settings

Progress = Callable[[str], None]
#: Changes of the specification that make each training.
Trainings = Sequence[Sequence[str]]

MODEL = "digits"
#: Below the root: repository, state and logs of the last run.
PLACE = Path(".slipway/rollouts")
GOOD, WEIGHTS, CHAOS = "good", "weights", "chaos"
SCENARIOS = (GOOD, *FLAWS, WEIGHTS, CHAOS)
COLUMNS = (
    "scenario",
    "ended",
    "seconds",
    "requests",
    "canary",
    "failed tries",
    "wrong",
    "failed",
    "back in s",
    "p50 ms",
)
CHAOS_COLUMNS = (
    "event",
    "requests",
    "in flight",
    "failed in flight",
    "failed later",
    "not accepted",
    "first good in s",
)


@dataclass(frozen=True)
class Options:
    """``rate``: requests per second of all ``clients``, half HTTP, half gRPC. Raises BenchmarkFailed."""

    scenarios: tuple[str, ...] = SCENARIOS
    rate: float = 150.0
    clients: int = 6
    out: Path = Path("benchmarks/results")

    def __post_init__(self) -> None:
        unknown = [name for name in self.scenarios if name not in SCENARIOS]
        if unknown or not self.scenarios:
            raise BenchmarkFailed("no such scenario", observed=", ".join(unknown), expected=", ".join(SCENARIOS))


@dataclass
class RolloutsReport:
    """``folder``: rollouts.json, transcript.txt, and a page per scenario."""

    folder: Path
    endings: list[Ending] = field(default_factory=list)
    weights: weights.Report | None = None
    chaos: chaos.Report | None = None
    machine: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[list[Any]]:
        """Under COLUMNS."""
        return [
            [
                item.scenario,
                item.status,
                f"{item.seconds:.1f}",
                item.requests,
                item.canary,
                item.failed_tries,
                item.wrong,
                item.failed,
                f"{item.seconds_back:.2f}" if item.status == "aborted" else "",
                "/".join("" if value is None else f"{value:.0f}" for value in (item.stable_p50_ms, item.canary_p50_ms)),
            ]
            for item in self.endings
        ]

    def chaos_rows(self) -> list[list[Any]]:
        """Under CHAOS_COLUMNS."""
        found = self.chaos.outcomes if self.chaos else ()
        return [item.cells()[: len(CHAOS_COLUMNS)] for item in found]

    def problems(self) -> list[str]:
        """What should not have happened, in words."""
        found = []
        for item in self.endings:
            wanted = "promoted" if item.scenario == GOOD else "aborted"
            if item.status != wanted:
                found.append(f"{item.scenario}: {item.status} instead of {wanted}")
            if item.failed:
                found.append(f"{item.scenario}: {item.failed} requests failed for their clients")
        if self.weights and (failed := sum(change.failed for change in self.weights.changes)):
            found.append(f"weights: {failed} requests failed")
        if self.chaos:
            seen = {"wrong versions": self.chaos.wrong_version, "steps back": self.chaos.steps_back}
            seen |= {"exposures not stored": self.chaos.not_stored}
            found += [f"chaos: {number} {what}" for what, number in seen.items() if number]
            found += [] if self.chaos.status == "promoted" else [f"chaos: {self.chaos.status}"]
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "scenarios": [item.to_dict() for item in self.endings],
            "weights": self.weights.to_dict() if self.weights else None,
            "chaos": self.chaos.to_dict() if self.chaos else None,
            "machine": self.machine,
        }


def run(settings: Settings, options: Options, progress: Progress = lambda text: None) -> RolloutsReport:
    """Publishes, serves, rolls out and judges; ends its server in every case. Raises BenchmarkFailed."""
    registry.prepare(MODEL, settings)
    folder = settings.root / options.out / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-rollouts"
    folder.mkdir(parents=True)
    project = Project.below(_afresh(settings.root / PLACE), settings, progress)
    report = RolloutsReport(folder, machine=machine.describe_tools())
    images = labelled_images(settings.root / "var" / "samples" / MODEL / "test")
    trainings = _trainings()

    def open_traffic() -> Traffic:
        return Traffic(project.settings, MODEL, images, options.rate, options.clients)

    try:
        _export(project, trainings[0])
        project.slipway("serve", "--detach")
        for name in options.scenarios:
            project.note(f"{name}: {_says(name)}")
            _one(project, report, name, trainings, open_traffic)
    finally:
        _end(project.settings.state_dir)
        (folder / "transcript.txt").write_text("\n".join(project.transcript) + "\n", encoding="utf-8")
        (folder / "rollouts.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    progress(f"written to {os.path.relpath(folder)}")
    _refuse(report)
    return report


def _refuse(report: RolloutsReport) -> None:
    """A figure of something that went wrong is no figure."""
    problems = report.problems()
    if problems:
        raise BenchmarkFailed(
            "a rollout did not go as it should",
            observed="; ".join(problems),
            expected="good versions promoted, flawed ones aborted, no client the worse for it",
            fix=f"see {os.path.relpath(report.folder)} and {PLACE}/run/logs",
        )


def _afresh(folder: Path) -> Path:
    """Repository and logs stay after a run, until the next one."""
    if folder.exists():
        _end(folder / "run")
        shutil.rmtree(folder)
    return folder


def _one(
    project: Project, report: RolloutsReport, name: str, trainings: Trainings, open_traffic: Callable[[], Traffic]
) -> None:
    version = _publish(project, name, trainings)
    if name == CHAOS:
        report.chaos = chaos.run_chaos(project, MODEL, version, open_traffic)
    elif name == WEIGHTS:
        report.weights = weights.run_weights(project, MODEL, version, open_traffic)
    else:
        report.endings.append(run_scenario(project, MODEL, version, name, _says(name), open_traffic))
    page = os.path.relpath(report.folder / f"{name}.html", project.settings.root)
    project.slipway("route", MODEL, "--html", page)


def _publish(project: Project, name: str, trainings: Trainings) -> int:
    """-> the version to try: a flawed copy of the stable one, or a training that is not stable."""
    stable = project.repository.pointer(MODEL).stable
    if name in FLAWS:
        version = publish_flawed(project.repository, MODEL, stable, FLAWS[name])
        project.note(f"version {version} is published by hand, past the gates")
        return version
    for changes in reversed(trainings):
        _export(project, changes)
        newest = max(project.repository.versions(MODEL))
        if newest != stable:
            return newest
    raise BenchmarkFailed(f"every training of {MODEL} is version {stable} already")


def _export(project: Project, changes: Sequence[str]) -> None:
    project.slipway("export", MODEL, *(part for change in changes for part in ("--set", change)))


def _says(name: str) -> str:
    if name in FLAWS:
        return f"a version that {FLAWS[name].says}"
    how = {WEIGHTS: ", its weight raised in ten steps", CHAOS: ", everything killed on the way"}
    return "a version that is as good" + how.get(name, "")


def _trainings() -> Trainings:
    return next(sample.trainings[MODEL] for sample in registry.available() if MODEL in sample.trainings)


def _end(state_dir: Path) -> None:
    """Also what a run that was killed has left."""
    control.stop(Settings(root=state_dir.parent, state_dir=state_dir))
