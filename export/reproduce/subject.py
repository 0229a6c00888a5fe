"""The trained model of a specification as the gates see it, made again: for what looks at an export afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.calibration import calibration_pixels
from export.images import load_held_out

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from export.formats.base import Artifact, ExportOptions
    from export.gates.base import Reference
    from slipway.settings import Settings
    from slipway.spec import ModelSpec


@dataclass(frozen=True)
class Subject:
    """``reference``: what gates compare with; ``weights``: digest of the trained weights as loaded."""

    spec: ModelSpec
    settings: Settings
    reference: Reference
    weights: str

    @property
    def example(self) -> torch.Tensor:
        """uint8[2, H, W, 3], two real images: a batch of one would be baked in as a constant by torch.export."""
        import torch

        pixels = self.reference.pixels
        return torch.from_numpy(np.resize(pixels, (2, *pixels.shape[1:])))

    def options(self, folder: Path, **changes: Any) -> ExportOptions:
        """Options of an export into ``folder``, which keeps the shared files and the logs."""
        from export.formats.base import ExportOptions

        shared = folder / "shared"
        shared.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {
            "max_batch_size": self.reference.contract.network.max_batch_size,
            "log_dir": folder / "logs",
            "shared_dir": shared,
            "calibration": calibration_pixels(self.spec, self.reference, self.settings.root),
            "int8": self.spec.int8,
        }
        return ExportOptions(**{**values, **changes})

    def export(self, name: str, folder: Path, options: ExportOptions) -> Artifact:
        """One format in ``folder/<name>``; raises FormatUnavailable and ExportFailed."""
        from export.formats.registry import find_format

        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        return find_format(name).export(self.reference.module, self.example, target, options)


def load_subject(spec: ModelSpec, settings: Settings) -> Subject:
    """Loads weights and held-out images, and repeats the specification's ``optimise`` steps.

    Raises SourceInvalid, DownloadFailed, SamplesInvalid, SpecInvalid and OptimiseFailed."""
    from export import sources
    from export.gates.base import Reference
    from export.optimise.run import optimise
    from export.whole import whole_of
    from export.wrap import eager_network, wrap

    contract = spec.contract(settings.root)
    accept = spec.gates.task.accept_unlabelled
    held_out = load_held_out(settings.root / spec.samples, contract.labels, accept_unlabelled=accept)
    size = (contract.preprocess.height, contract.preprocess.width)
    loaded = sources.load(
        spec.one_source,
        settings.root,
        contract.classes,
        settings.cache_dir,
        input_size=size,
        activation=contract.postprocess.activation,
    )
    made = optimise(loaded, spec, settings, contract)
    module = wrap(made.loaded.module, contract.normalise)
    run = eager_network(module)
    trained = eager_network(wrap(made.trained, contract.normalise)) if spec.optimise else None
    whole = whole_of(contract, spec.gates, held_out, trained or run)
    reference = Reference(contract, spec.gates, held_out, module, run, trained=trained, whole=whole)
    return Subject(spec, settings, reference, loaded.digest)
