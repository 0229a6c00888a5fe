"""Mistakes of fewer bits: fp16 overflow, integer kernels that saturate, ranges calibrated on other data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.gates.causes.case import Case
from export.gates.causes.layers import calibrated_ranges, describe, written_at

if TYPE_CHECKING:
    from pathlib import Path

    from export.gates.measures import Logits
    from export.layers.graph import Layer

#: Largest finite number of IEEE 754 half precision.
_LARGEST_HALF = 65504.0
#: Signal over noise that fp16, bf16 or TF32 arithmetic leaves, dB: above wrong numbers, below fp32 rounding.
_LOWER_ARITHMETIC_DB = (25.0, 85.0)
#: A calibrated range does not fit when it clips this part of the values, or is this many times too wide. Ranges of real
#: images clip below 0.1 % and are up to 1.7 times as wide as those of a few other images (measured on the samples).
_CLIPPED, _TOO_WIDE = 0.01, 3.0
#: dB by which one layer's answer must be worse than what it reads, to be the place where formats part.
_STANDS_OUT_DB = 3.0
#: Part of the ranges that must be wrong before the calibration is named.
_MISFITS = 0.1


@dataclass(frozen=True)
class Activation:
    """The largest absolute ``value`` of a ``layer`` that the candidate holds in fp16."""

    layer: Layer
    value: float


def largest_activation(case: Case) -> Activation | None:
    """The first layer that leaves fp16 when it is computed in fp32 on real images, else the one that comes nearest.

    Layers that the artefact says it keeps in fp32 (``kept_in_fp32`` of its details) are left out. None where the
    trained model cannot be written as ONNX."""
    frame, artifact = case.frame, case.candidate.artifact
    if frame is None:
        return None
    kept = set(artifact.details.get("kept_in_fp32", ())) if artifact else set[str]()
    found = [
        Activation(layer, case.largest[layer.tensor])
        for layer in frame.layers
        if layer.tensor in case.largest and layer.name not in kept
    ]
    beyond = next((item for item in found if item.value > _LARGEST_HALF), None)
    return beyond or max(found, key=lambda item: item.value, default=None)


def overflow(case: Case) -> str | None:
    """fp16: values that fp16 cannot hold. A CPU that computes fp16 files in fp32 shows nothing of it in its answers, so
    what every layer reaches in fp32 decides, and what the format found out itself (``overflow`` of its details)."""
    if case.candidate.precision != "fp16":
        return None
    worst = largest_activation(case)
    if worst is not None and worst.value > _LARGEST_HALF and case.frame is not None:
        where = f"{describe(worst.layer)}{written_at(case.frame, worst.layer)}"
        return _overflow(f"the values of {where}", worst.value, "on real images")
    known = case.candidate.artifact.details.get("overflow") if case.candidate.artifact else None
    if not known:
        return None
    return _overflow(f"the {known[0]['kind']} {known[0]['tensor']} of {known[0]['node']}", known[0]["value"], "")


def _overflow(what: str, value: float, where: str) -> str:
    reach = f"{value:.3g} {where}".rstrip()
    return f"fp16 overflow: {what} reach {reach}, fp16 ends at {_LARGEST_HALF:g}; keep that layer in fp32"


def integer_kernels(case: Case) -> str | None:
    """INT8: the file's own arithmetic agrees, this CPU's kernels do not."""
    artifact = case.candidate.artifact
    if case.candidate.precision != "int8" or artifact is None or (frame := case.frame) is None:
        return None
    from export.layers.kernels import kernel_loss

    text = kernel_loss(artifact.path, frame, case.layer_pixels)
    return text if text is not None and case.agrees(_own_arithmetic(artifact.path, case), case.wanted) else None


def _own_arithmetic(path: Path, case: Case) -> Logits:
    """What the file says, without integer kernels: dequantise, compute in fp32, quantise."""
    import onnxruntime

    from export.formats.base import OUTPUT_NAME

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    return np.concatenate([session.run([OUTPUT_NAME], {source: image[None]})[0] for image in case.pixels])


def other_calibration(case: Case) -> str | None:
    """INT8: the ranges in the file are not those of real images."""
    if case.candidate.precision != "int8" or not (ranges := calibrated_ranges(case)):
        return None
    misfits = [item for item in ranges if item.clipped > _CLIPPED or item.width > _TOO_WIDE]
    worst = max(ranges, key=lambda item: (item.clipped, item.width))
    if worst.clipped <= _CLIPPED:
        worst = max(ranges, key=lambda item: item.width)
    clipping = worst.clipped > case.reference.gates.parity.int8.max_clipped
    if not clipping and len(misfits) < max(1.0, _MISFITS * len(ranges)):
        return None
    lost = f", so {worst.clipped:.1%} of its values are clipped" if worst.clipped > _CLIPPED else ""
    return (
        f"INT8 was calibrated on something else than such images (noise?): {len(misfits)} of {len(ranges)} ranges do "
        f"not fit; {worst}{lost}"
    )


def lower_arithmetic(case: Case) -> str | None:
    """fp32: noise of the size that fewer bits leave, on a network that otherwise agrees."""
    if case.reduced or not _LOWER_ARITHMETIC_DB[0] <= case.noise_db <= _LOWER_ARITHMETIC_DB[1]:
        return None
    return (
        f"{case.noise_db:.0f} dB of signal over noise is what fp16, bf16 or TF32 arithmetic leaves: demand fp32 of the "
        "runtime (OpenVINO takes bf16 by itself where the CPU has it), or publish it as a format of that precision"
    )


def first_different_layer(case: Case) -> str | None:
    """The layer where the artefact and the trained model part, for formats that show more than their output."""
    artifact, frame = case.candidate.artifact, case.frame
    if artifact is None or frame is None:
        return None
    from export.layers.cause import cause, title
    from export.layers.compare import THRESHOLDS, compare
    from export.layers.onnx_tap import onnx_tap
    from export.layers.tapping import tap_artifact

    against = onnx_tap("onnx", frame.path, frame)
    comparison = compare(frame, against, tap_artifact(artifact, frame), case.layer_pixels)
    layer = comparison.first_difference(THRESHOLDS[case.candidate.precision])
    if len(comparison.layers) < 2:
        return None
    if layer is not None and not layer.lost_db < _STANDS_OUT_DB:
        return f"it parts from the trained model at {title(layer)}: {cause(comparison, layer)}"
    if not case.reduced:
        return None
    return (
        f"no layer stands out: the noise grows through {len(comparison.layers)} layers to "
        f"{comparison.layers[-1].sqnr_db:.1f} dB, so this network needs more bits, or other limits in "
        f"gates.parity.{case.candidate.precision}"
    )
