"""The benchmark of formats: every format that can be made here, from one trained model, measured in turns.

Nothing is published. Gates run only where they are asked for, with the layers that they would keep in fp32; one that
fails then fails nothing, its verdict is a column. What cannot be made or run is listed with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.formats.base import Artifact, root_cause
from export.formats.registry import all_formats
from export.gates.base import Candidate
from export.gates.measures import agreement, signal_to_noise
from export.images import load_held_out
from export.speed.entrants import torch_threads, weight_bytes
from export.speed.figures import speed, speedup
from export.speed.report import Figures, FormatsReport, Row, Unavailable
from export.speed.turns import Turn, take_turns
from export.speed.workers import EAGER, InTeam, Plan, Team
from export.steps import Progress, Steps
from export.workspace import workspace
from slipway.errors import BenchmarkFailed, SlipwayError
from slipway.spec.formats import format_names

if TYPE_CHECKING:
    from export.formats.base import Format
    from export.gates.base import Reference
    from slipway.settings import Settings
    from slipway.spec import ModelSpec

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Options:
    """``formats``: names, all of them when empty; ``batches``: images per call, the first one gives a row's figures;
    ``threads``: of each runtime; ``processes``: of each format, running at once; ``seconds``: measured time of each
    batch size, all formats together; ``gates``: whether they judge each format, which takes minutes where one fails.
    Raises BenchmarkFailed for values that cannot be measured."""

    formats: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 8)
    threads: int = 1
    processes: int = 1
    seconds: float = 60.0
    gates: bool = False

    def __post_init__(self) -> None:
        checks = [
            (bool(self.batches) and min(self.batches) >= 1, "batches", self.batches, "1 or more"),
            (self.threads >= 1, "threads", self.threads, ">= 1"),
            (self.processes >= 1, "processes", self.processes, ">= 1"),
            (self.seconds > 0, "seconds", self.seconds, "> 0"),
        ]
        for good, name, observed, expected in checks:
            if not good:
                raise BenchmarkFailed(f"{name} cannot be measured", observed=observed, expected=expected)


@dataclass(frozen=True)
class _Quality:
    """How well a format does, beside its time. ``failed``: the gates, None where none was asked."""

    bytes: int
    seconds: float
    agreement: float
    sqnr_db: float
    failed: tuple[str, ...] | None = None


def bench_formats(
    spec: ModelSpec, settings: Settings, options: Options, progress: Progress = lambda event: None
) -> FormatsReport:
    """Exports, judges and measures. Raises SpecInvalid for an unknown format, what loading the model raises, and
    BenchmarkFailed where nothing can be measured."""
    names: tuple[str, ...] = format_names(options.formats) or tuple(kind.name for kind in all_formats())
    steps = Steps(progress)
    with steps.step("load the trained model"):
        reference = _reference(spec, settings)
    largest = reference.contract.network.max_batch_size
    if max(options.batches) > largest:
        raise BenchmarkFailed(
            f"{spec.model} takes no batch of {max(options.batches)}",
            expected=f"at most {largest}",
            fix="raise serving.max_batch_size, or measure smaller batches",
        )
    # one thread for the gates too: on busy cores torch's waiting threads cost more than its arithmetic
    with torch_threads(options.threads), workspace(settings.state_dir) as folder, ExitStack() as stack:
        run = _Run(spec, settings, options, reference, folder, steps, stack)
        return run.report(names)


class _Run:
    """One benchmark with its files and processes."""

    def __init__(
        self,
        spec: ModelSpec,
        settings: Settings,
        options: Options,
        reference: Reference,
        folder: Path,
        steps: Steps,
        stack: ExitStack,
    ) -> None:
        from export.making import Maker

        self._spec, self._settings, self._options = spec, settings, options
        self._reference, self._folder, self._steps, self._stack = reference, folder, steps, stack
        self._maker = Maker(spec, settings, reference, folder, settings.state_dir / "logs" / spec.model, steps)
        self._pixels = folder / "pixels.npy"
        self._teams: dict[str, Team] = {}
        self._quality: dict[str, _Quality] = {}
        self._unavailable: list[Unavailable] = []

    def report(self, names: Sequence[str]) -> FormatsReport:
        np.save(self._pixels, self._reference.pixels)
        self._start(self._eager_plan, _Quality(weight_bytes(self._reference), 0.0, 1.0, float("inf")))
        for name in names:
            try:
                self._enter(name)
            except SlipwayError as problem:
                self._unavailable.append(Unavailable(name, self._told(problem)))
        turns = {batch: self._measure(batch) for batch in self._options.batches}
        rows = [self._row(name, turns) for name in self._teams]
        return FormatsReport(self._spec.model, self._options, rows, self._unavailable)

    def _told(self, problem: SlipwayError) -> str:
        """For results that travel: without what to do, which names files of this machine."""
        text = f"{problem.code}: {problem.message}"
        if isinstance(problem, BenchmarkFailed) and problem.observed is not None:
            text = f"{text}: {problem.observed}"
        return text.replace(f"{self._folder}/", "")

    def _enter(self, name: str) -> None:
        kind = next(kind for kind in all_formats() if kind.name == name)
        if (reason := kind.available()) is not None:
            self._unavailable.append(Unavailable(name, reason))
            return
        candidate, failed = self._judged(name) if self._options.gates else (self._exported(kind), None)
        artifact = candidate.artifact
        assert artifact is not None  # noqa: S101 - for the type checker: both have files
        quality = self._quality_of(candidate, artifact, failed)
        plan = Plan(
            name,
            str(self._pixels),
            self._options.threads,
            path=str(artifact.path),
            companions=[str(path) for path in artifact.companions],
            details=artifact.details,
        )
        self._start(plan, quality)

    def _start(self, plan: Plan, quality: _Quality) -> None:
        """Opens it in its processes and tries every batch size; raises BenchmarkFailed when one does not run."""
        team = Team(plan, self._options.processes, self._folder / "teams" / plan.format)
        try:
            with self._steps.step(f"open {plan.format}"):
                self._stack.enter_context(team)
                for batch in self._options.batches:
                    team.turn(batch, 0.0)
        except BaseException:
            team.end()
            raise
        self._teams[plan.format], self._quality[plan.format] = team, quality

    @property
    def _eager_plan(self) -> Plan:
        return Plan(
            EAGER,
            str(self._pixels),
            self._options.threads,
            spec=self._spec.model_dump(mode="json", exclude_unset=True),
            root=str(self._settings.root),
            cache_dir=str(self._settings.cache_dir),
        )

    def _exported(self, kind: Format) -> Candidate:
        import torch

        pixels, folder = self._reference.pixels, self._folder / kind.name
        folder.mkdir()
        with self._steps.step(f"export {kind.name}"):
            example = torch.from_numpy(np.resize(pixels, (2, *pixels.shape[1:])))
            artifact = kind.export(self._reference.module, example, folder, self._maker.options)
        return Candidate(kind.name, lambda: kind.session(artifact), kind.precision, artifact)

    def _judged(self, name: str) -> tuple[Candidate, tuple[str, ...]]:
        made = self._maker.make(name)
        return made.candidate, tuple(result.name for result in made.results if not result.passed)

    def _quality_of(self, candidate: Candidate, artifact: Artifact, failed: tuple[str, ...] | None) -> _Quality:
        with self._steps.step(f"answers of {candidate.format}"):
            try:
                found = candidate.outcome(self._reference).logits
            except SlipwayError:
                raise
            except Exception as problem:  # each runtime has its own; the text is the finding
                raise BenchmarkFailed(f"{artifact.format} does not run: {root_cause(problem)}") from problem
            wanted = self._reference.outcome.logits
        share = agreement(found, wanted, candidate.precision).share
        return _Quality(artifact.bytes, artifact.seconds, share, signal_to_noise(found, wanted), failed)

    def _measure(self, batch: int) -> dict[str, list[Turn]]:
        with self._steps.step(f"measure {len(self._teams)} at batch {batch}"):
            contestants = {name: InTeam(team, batch) for name, team in self._teams.items()}
            return take_turns(contestants, self._options.seconds)

    def _row(self, name: str, turns: dict[int, dict[str, list[Turn]]]) -> Row:
        quality = self._quality[name]
        figures = {batch: _figures(found[EAGER], found[name]) for batch, found in turns.items()}
        return Row(
            name,
            figures,
            quality.bytes,
            quality.agreement,
            quality.sqnr_db,
            quality.seconds,
            quality.failed,
        )


def _figures(eager: Sequence[Turn], own: Sequence[Turn]) -> Figures:
    return Figures(speed(own), speedup(eager, own, _CONFIDENCE))


def _reference(spec: ModelSpec, settings: Settings) -> Reference:
    from export import sources
    from export.gates.base import Reference
    from export.wrap import eager_network, wrap

    contract = spec.contract(settings.root)
    held_out = load_held_out(settings.root / spec.samples, contract.labels, accept_unlabelled=True)
    size = (contract.preprocess.height, contract.preprocess.width)
    loaded = sources.load(spec.one_source, settings.root, contract.classes, settings.cache_dir, input_size=size)
    module = wrap(loaded.module, contract.normalise)
    return Reference(contract, spec.gates, held_out, module, eager_network(module))
