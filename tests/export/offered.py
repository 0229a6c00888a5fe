"""Artefacts offered to the gates as an export offers them: with files, precision and the fp32 ONNX of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from export.formats.base import Artifact, ExportOptions
from export.formats.onnx import base_onnx
from export.formats.registry import find_format
from export.gates.base import Candidate, Reference
from export.wrap import eager_network


def offered(artifact: Artifact, reference: Reference | None = None, shared: Path | None = None) -> Candidate:
    """As export.making does it; the base is made once in ``shared``."""
    kind = find_format(artifact.format)
    base = None if reference is None or shared is None else (lambda: base_of(reference, shared))
    return Candidate(artifact.format, lambda: kind.session(artifact), kind.precision, artifact, base)


def base_of(reference: Reference, shared: Path) -> Path:
    return base_onnx(reference.module, example_of(reference), options_for(reference, shared))


def example_of(reference: Reference) -> torch.Tensor:
    return torch.from_numpy(reference.pixels[:2].copy())


def options_for(
    reference: Reference, shared: Path, calibration: NDArray[np.uint8] | None = None, **settings: Any
) -> ExportOptions:
    pixels = reference.pixels if calibration is None else calibration
    return ExportOptions(8, shared / "logs", shared_dir=shared, calibration=pixels, **settings)


def exported(
    name: str, reference: Reference, folder: Path, shared: Path, calibration: NDArray[np.uint8] | None = None
) -> Candidate:
    """A real export of the reference's module, ready to be judged."""
    target = folder / name
    target.mkdir(parents=True)
    options = options_for(reference, shared, calibration)
    return offered(
        find_format(name).export(reference.module, example_of(reference), target, options), reference, shared
    )


def traced(module: nn.Module, reference: Reference, path: Path) -> Candidate:
    """A TorchScript file of any module that takes pixels."""
    torch.jit.freeze(torch.jit.trace(module.eval(), (example_of(reference),), check_trace=False)).save(str(path))
    return offered(Artifact("torchscript", path, 0.0))


def eager(
    module: nn.Module, name: str, precision: Any, reference: Reference | None = None, shared: Path | None = None
) -> Candidate:
    """A module as it is, held to the limits of a precision."""
    base = None if reference is None or shared is None else (lambda: base_of(reference, shared))
    return Candidate(name, lambda: eager_network(module.eval()), precision, None, base)


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """One for all modules of a run: the trained model's fp32 ONNX is made in it once."""
    path = factory.getbasetemp() / "shared-base"
    path.mkdir(exist_ok=True)
    return path
