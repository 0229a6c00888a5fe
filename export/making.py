"""Makes the formats of one run from the wrapped module, and judges each by every gate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from export.calibration import calibration_pixels
from export.formats.base import Artifact, ExportOptions
from export.formats.registry import find_format
from export.gates.base import Candidate, GateResult
from export.gates.registry import judge

if TYPE_CHECKING:
    from export.gates.base import Reference
    from export.steps import Steps
    from slipway.settings import Settings
    from slipway.spec import ModelSpec


@dataclass(frozen=True)
class Made:
    """One format of a run: its files, its opened form and what the gates say of it."""

    artifact: Artifact
    candidate: Candidate
    results: list[GateResult]


class Maker:
    """What the formats of one run share. ``folder``: each format gets a directory of its own there."""

    def __init__(
        self, spec: ModelSpec, settings: Settings, reference: Reference, folder: Path, log_dir: Path, steps: Steps
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._reference = reference
        self._folder = folder
        self._log_dir = log_dir
        self._steps = steps

    def make(self, name: str) -> Made:
        """Exports and judges one format. Raises FormatUnavailable, ExportFailed, SamplesInvalid."""
        kind = find_format(name)
        target = self._folder / name
        target.mkdir()
        with self._steps.step(f"export {name}"):
            artifact = kind.export(self._reference.module, self._example, target, self._options)
        candidate = Candidate(name, lambda: kind.session(artifact), kind.precision, artifact)
        with self._steps.step(f"gates of {name}"):
            return Made(artifact, candidate, judge(self._reference, candidate))

    @cached_property
    def _options(self) -> ExportOptions:
        shared = self._folder / "shared"
        shared.mkdir()
        return ExportOptions(
            self._reference.contract.network.max_batch_size,
            self._log_dir,
            shared_dir=shared,
            calibration=calibration_pixels(self._spec, self._reference, self._settings.root),
        )

    @cached_property
    def _example(self) -> torch.Tensor:
        """uint8[2, H, W, 3], two real images: a batch of one would be baked in as a constant by torch.export."""
        pixels = self._reference.pixels
        return torch.from_numpy(np.resize(pixels, (2, *pixels.shape[1:])))
