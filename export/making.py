"""Makes the formats of one run from the wrapped module, and has each judged by every gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from export.calibration import calibration_pixels
from export.formats.base import Artifact, ExportOptions, Format
from export.formats.onnx import base_onnx
from export.formats.registry import find_format
from export.gates.base import Candidate, GateResult
from export.gates.registry import judge
from export.optimise.fusion import fusion
from export.rescue import rescue
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    from export.gates.base import Reference
    from export.steps import Steps
    from slipway.repository import Repository
    from slipway.settings import Settings
    from slipway.spec import ModelSpec

#: Formats whose plans come from a GPU machine's bundle where one is given.
_PLANS = "tensorrt"


@dataclass(frozen=True)
class Made:
    """One format of a run: its files, its opened form, the gates' verdicts, and what else the evidence should hold of
    it: ``rescues`` (layers kept in fp32) and ``fusions``."""

    artifact: Artifact
    candidate: Candidate
    results: list[GateResult]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Collection:
    """All formats of a run, and ``notes`` by section and format: ``rescues``, ``fusions``; and ``plans``."""

    artifacts: list[Artifact] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    results: list[GateResult] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(self, made: Made) -> None:
        """Takes one format in."""
        self.artifacts.append(made.artifact)
        self.candidates.append(made.candidate)
        self.results.extend(made.results)
        for section, note in made.notes.items():
            self.notes.setdefault(section, {})[made.artifact.format] = note


def failed_here(made: Collection) -> set[str]:
    """Formats that another gate refused already."""
    return {result.format for result in made.results if not result.passed}


def _not_measured(name: str) -> GateResult:
    reason = (
        f"gates.speed holds {name} to its limits, and {name} was not measured here: it is not among the formats of "
        "this run, or was imported, with the times of its GPU in the evidence"
    )
    return GateResult("speed", name, False, reason=reason, found="not measured", allowed="gates.speed")


class Maker:
    """What the formats of one run share. ``folder``: each format gets a directory of its own there."""

    def __init__(
        self,
        spec: ModelSpec,
        settings: Settings,
        reference: Reference,
        folder: Path,
        log_dir: Path,
        steps: Steps,
        short: str = "",
    ) -> None:
        """``short``: the network's name where it is one of several."""
        self._prefix = f"{short} " if short else ""
        self._spec = spec
        self._settings = settings
        self._reference = reference
        self._folder = folder
        self._log_dir = log_dir
        self._steps = steps

    def make_all(self, names: Sequence[str], plans: Path | None, identity: Mapping[str, Any]) -> Collection:
        """Exports and judges these formats, and brings in the plans of a bundle that a GPU machine ran.

        Raises FormatUnavailable, ExportFailed, SamplesInvalid, PublishRefused."""
        found = Collection()
        for name in names:
            if plans is None or not name.startswith(_PLANS):
                found.add(self.make(name))
        if plans is not None:
            self._import(plans, identity, found)
        return found

    def make(self, name: str) -> Made:
        """Exports and judges one format; where a reduced precision fails, with some layers in fp32 if that passes.

        Raises FormatUnavailable, ExportFailed, SamplesInvalid."""
        kind = find_format(name)
        target = self._folder / name
        target.mkdir()
        with self._steps.step(f"export {self._prefix}{name}"):
            artifact = kind.export(self._reference.module, self._example, target, self.options)
        with self._steps.step(f"gates of {self._prefix}{name}"):
            candidate = self._candidate(kind, artifact)
            made = Made(artifact, candidate, judge(self._reference, candidate))
        if not all(result.passed for result in made.results):
            made = self._rescued(kind, made)
        return replace(made, notes={**made.notes, **self._fusion(made.artifact)})

    def judge_model(self) -> list[GateResult]:
        """The gates that look at the model and its contract, not at a format."""
        from export.gates.preprocessing import check_model

        return [check_model(self._reference, self._spec, self._settings.root)]

    def judge_speed(self, made: Collection, repository: Repository) -> list[GateResult]:
        """Gate 4 over the formats that passed the others; imported plans were timed on their GPU, not here."""
        from export.gates.speed import judge_speed

        failed = failed_here(made) | set(made.notes.get("imported", ()))
        good = [candidate for candidate in made.candidates if candidate.format not in failed]
        results = judge_speed(self._reference, good, repository)
        rules = self._spec.gates.speed
        asked = () if rules is None else rules.formats or (self._spec.serve,)
        missed = [name for name in asked if name not in {result.format for result in results} | failed_here(made)]
        return [*results, *(_not_measured(name) for name in missed)]

    @cached_property
    def options(self) -> ExportOptions:
        """What every format of the run is exported with."""
        shared = self._folder / "shared"
        shared.mkdir()
        return ExportOptions(
            self._reference.contract.network.max_batch_size,
            self._log_dir,
            shared_dir=shared,
            calibration=calibration_pixels(self._spec, self._reference, self._settings.root),
            int8=self._spec.int8,
            tensorrt=self._spec.tensorrt,
            free_sides=self._reference.free_sides,
        )

    def _candidate(self, kind: Format, artifact: Artifact) -> Candidate:
        return Candidate(kind.name, lambda: kind.session(artifact), kind.precision, artifact, self._base)

    def _rescued(self, kind: Format, made: Made) -> Made:
        folder = self._folder / f"{kind.name}-rescued"
        folder.mkdir()
        with self._steps.step(f"layers of {kind.name} that must stay in fp32"):
            found = rescue(
                self._reference,
                kind,
                made.artifact,
                made.results,
                self.options,
                self._reference.module,
                self._example,
                folder,
                judge,
            )
        if found is None:
            return made
        if found.artifact is None:
            return replace(made, notes={"rescues": found.report})
        candidate = self._candidate(kind, found.artifact)
        return Made(found.artifact, candidate, found.results, {"rescues": found.report})

    def _fusion(self, artifact: Artifact) -> dict[str, Any]:
        try:
            found = fusion(artifact, self._reference.module, self._reference.pixels[:1])
        except ExportFailed:
            return {}  # gate 1 says that it does not open
        return {} if found is None else {"fusions": found.to_dict()}

    def _import(self, plans: Path, identity: Mapping[str, Any], collection: Collection) -> None:
        from export.tensorrt.imported import import_plans

        with self._steps.step("import plans"):
            found = import_plans(plans, self._reference, identity["export"], self._folder, base=self._base)
        collection.artifacts.extend(found.artifacts)
        collection.candidates.extend(found.candidates)
        collection.results.extend(found.results)
        collection.notes["plans"] = found.report
        collection.notes["imported"] = [artifact.format for artifact in found.artifacts]

    def _base(self) -> Path:
        return base_onnx(self._reference.module, self._example, self.options)

    @cached_property
    def _example(self) -> torch.Tensor:
        """uint8[2, H, W, 3], two real images: a batch of one would be baked in as a constant by torch.export."""
        pixels = self._reference.pixels
        return torch.from_numpy(np.resize(pixels, (2, *pixels.shape[1:])))
