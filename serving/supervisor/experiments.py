"""The experiments of the repository, read when their files change, and what of them can be followed now."""

from __future__ import annotations

from pathlib import Path

from serving.edge.experiments import LiveExperiment
from serving.json_log import ComponentLog
from serving.supervisor.fleet.fleet import Served
from slipway import experiment
from slipway.errors import ExperimentInvalid
from slipway.experiment import Experiment
from slipway.repository import Repository


class Experiments:
    """What divides the requests of each model. An experiment whose stable version is not the one that answers is not
    followed: its arms were chosen against another. While that version is only loaded again, it is followed: units keep
    their versions, and what waits for the stable one is repeated by the edge."""

    def __init__(self, repository: Repository, log: ComponentLog) -> None:
        self._repository, self._log = repository, log
        self._stamps: dict[str, tuple[int, ...] | None] = {}
        self._found: dict[str, Experiment] = {}

    def live(self, served: Served) -> tuple[LiveExperiment, ...]:
        """Experiments in force, by model; reads those files that changed."""
        routed, followed = served.default_versions(), []
        for model in served.models():
            self._refresh(model)
            found = self._found.get(model)
            if found is not None and found.stable in (routed.get(model), served.reloading(model)):
                ready = tuple(sorted(set(served.ready_versions(model)) & set(found.versions)))
                followed.append(LiveExperiment(found, ready))
        return tuple(followed)

    def _refresh(self, model: str) -> None:
        """What is wrong with one model's file is of no concern to the others, nor to the servers."""
        stamp = _stamp(experiment.path_of(self._repository.path, model))
        if model in self._stamps and self._stamps[model] == stamp:
            return
        self._stamps[model] = stamp
        self._found.pop(model, None)
        try:
            found = experiment.read(self._repository.path, model)
        except Exception as problem:
            text = str(problem) if isinstance(problem, ExperimentInvalid) else repr(problem)
            self._log.error("an experiment cannot be read and is not followed", model=model, reason=text)
            return
        if found is not None:
            self._found[model] = found
            self._log.info("experiment", model=model, id=found.id, arms=[[a.version, a.width] for a in found.arms])


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Changes with the file; with what may be done to it too, so that one that was unreadable is read again."""
    try:
        status = path.stat()
    except OSError as problem:
        return (problem.errno or 0,)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino
