"""Which tap shows an artefact's layers: one place that knows the formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.formats.base import root_cause
from export.layers.graph import Frame
from export.layers.taps import Tap, Values
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    from torch import nn

    from export.formats.base import Artifact

#: The trained model itself, beside the formats.
EAGER = "eager"


def tap_artifact(artifact: Artifact, frame: Frame) -> Tap:
    """Opens an artefact so that it tells the values between its layers; only its output where its runtime keeps them
    to itself. Raises ExportFailed when it cannot be opened, FormatUnavailable where its runtime is missing."""
    from export.formats.registry import find_format

    find_format(artifact.format)  # says what is missing, if anything
    try:
        return _tap(artifact, frame)
    except ExportFailed:
        raise
    except Exception as problem:  # each runtime has its own exceptions for a file that it cannot read
        raise ExportFailed(
            f"{artifact.format}: {artifact.path.name} cannot be opened layer by layer: {root_cause(problem)}",
            expected="an artefact that its runtime loads",
        ) from problem


def tap_eager(module: nn.Module, frame: Frame) -> Tap:
    """The wrapped trained module."""
    from export.layers.torch_tap import module_tap

    return module_tap(EAGER, module, frame)


def _tap(artifact: Artifact, frame: Frame) -> Tap:
    name, path = artifact.format, artifact.path
    if path.suffix == ".onnx":
        from export.layers.onnx_tap import onnx_tap

        return onnx_tap(name, path, frame)
    if path.suffix == ".xml":
        from export.layers.openvino_tap import openvino_tap

        return openvino_tap(name, path, frame, bfloat=name.endswith("-bf16"))
    if name == "torch-export":
        from export.layers.torch_tap import exported_tap

        return exported_tap(name, path, frame)
    return _output_tap(artifact, frame)


def _output_tap(artifact: Artifact, frame: Frame) -> Tap:
    from export.formats.registry import find_format

    run_network = find_format(artifact.format).session(artifact)

    def run(pixels: NDArray[np.uint8]) -> Values:
        return {frame.output: np.asarray(run_network(pixels), np.float32)}

    return Tap(artifact.format, run, note=f"{artifact.format} shows its output only: its runtime inlines the modules")
