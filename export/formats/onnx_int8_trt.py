"""ONNX in INT8 as TensorRT wants it: symmetric Q/DQ, int8 everywhere, zero points 0, one scale per output channel.

Only inputs and weights of convolutions and matrix products carry Q/DQ; their outputs and biases do not, so TensorRT
fuses bias, ReLU and the next layer's Q itself. A residual addition gets one Q/DQ, on its shortcut: then the other side
still fuses into its convolution and the addition runs in INT8 (TensorRT developer guide, "Q/DQ Placement
Recommendations"). Weights stay in fp32 behind their own Q/DQ, which every TensorRT from 8.6 on reads, so the file is as
large as the fp32 one; the plan is not.

It is judged as it is written, every Q and DQ computed in fp32: onnxruntime's own INT8 kernels for int8 activations
saturate on processors without VNNI, which a GPU does not do (MobileNetV3-Small: 10 instead of 28 dB), and are slower
than fp32 on all of them. ``onnx-int8`` is for x86.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import INPUT_NAME, OUTPUT_NAME, Artifact, ExportOptions, FileFormat, Precision, root_cause
from export.formats.onnx import save_for_triton
from export.formats.onnx_graph import constants, makers
from export.formats.qdq_lint import DEQUANTIZE, QUANTIZE, lint
from export.formats.quantise import Quantised, Scheme, quantise
from export.formats.ranges import largest_values
from slipway.errors import ExportFailed, NetworkFailed

if TYPE_CHECKING:
    import torch

    from handlers.pipeline import RunNetwork

_WEIGHTED = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
_LARGEST_INT8 = 127


class OnnxInt8Trt(FileFormat):
    """See the module's text."""

    name = "onnx-int8-trt"
    file_name = "model.onnx"
    precision: Precision = "int8"
    summary = "INT8 for TensorRT to build from; slow on a CPU"
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Quantizes the run's fp32 network; raises as :func:`export.formats.quantise.quantise`, and ExportFailed with
        what :func:`export.formats.qdq_lint.lint` finds."""
        made = quantise(module, example, options, Scheme(self.name, _arguments))
        shortcuts = quantise_shortcuts(made, options.keep_float)
        if found := lint(made.model):
            raise ExportFailed(
                f"{self.name}: TensorRT would not take these Q/DQ nodes",
                observed="; ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else ""),
            )
        layers = sum(node.op_type == QUANTIZE for node in made.model.graph.node)
        return {**save_for_triton(made.model, path), **made.details, "quantizers": layers, "shortcuts": shortcuts}

    def session(self, artifact: Artifact, threads: int = 0) -> RunNetwork:
        """As :meth:`Format.session`, but nothing fused: see the module's text."""
        return _as_written(artifact, threads)


def _as_written(artifact: Artifact, threads: int) -> RunNetwork:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(artifact.path), options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's exceptions share no public base class
        raise ExportFailed(
            f"{artifact.format}: {artifact.path.name} cannot be opened: {root_cause(problem)}",
            observed=f"a file of {artifact.bytes} bytes" if artifact.path.is_file() else "no file",
        ) from problem

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            logits: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: pixels})[0]
        except Exception as problem:  # as above
            raise NetworkFailed(
                f"the network {artifact.path.name} failed",
                observed=f"{root_cause(problem)} on {pixels.dtype}{list(pixels.shape)}",
            ) from problem
        return logits

    return run


def quantise_shortcuts(made: Quantised, keep_float: tuple[str, ...] = ()) -> int:
    """Puts the shortcut of every residual addition behind Q/DQ, in place; returns how many there are.

    The shortcut is the side that fewer layers lead to. Where the next convolution reads it too, the quantizer has put
    all its readers behind the same pair; else a new one comes from the measured range.
    """
    made_by, fixed, largest = makers(made.model), constants(made.model), largest_values(made.ranges)
    depth = _depths(made.model, fixed)
    count = 0
    for node in [item for item in made.model.graph.node if item.op_type == "Add" and item.name not in keep_float]:
        sides = [name for name in node.input if name not in fixed and depth.get(name, 0) > 0]
        if len(sides) != 2 or not any(_weighted(made_by, name) for name in sides):
            continue
        shortcut = min(sides, key=lambda name: depth[name])
        if made_by[shortcut].op_type != DEQUANTIZE:
            if not 0.0 < largest.get(shortcut, 0.0) < float("inf"):
                continue
            values = _insert_pair(made.model, shortcut, largest[shortcut] / _LARGEST_INT8, made_by)
            node.input[list(node.input).index(shortcut)] = values
        count += 1
    return count


def _arguments(_: Any) -> dict[str, Any]:
    from onnxruntime.quantization import QuantType

    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "AddQDQPairToWeight": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": _WEIGHTED,
        "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1, "ConvTranspose": 1},
        "QDQKeepRemovableActivations": True,
        "QDQDisableWeightAdjustForInt32Bias": True,  # there is no such bias
    }
    return {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "op_types_to_quantize": _WEIGHTED,
        "extra_options": options,
    }


def _depths(model: Any, fixed: dict[str, Any]) -> dict[str, int]:
    """How many weighted layers lead to each tensor at most; 0 for what comes before the first."""
    depth: dict[str, int] = {}
    for node in model.graph.node:
        before = max((depth.get(name, 0) for name in node.input if name not in fixed), default=0)
        for name in node.output:
            depth[name] = before + (node.op_type in _WEIGHTED)
    return depth


def _weighted(made_by: dict[str, Any], name: str) -> bool:
    """Whether a weighted layer makes a tensor: what an addition can be fused into."""
    node = made_by.get(name)
    return node is not None and node.op_type in _WEIGHTED


def _insert_pair(model: Any, tensor: str, scale: float, made_by: dict[str, Any]) -> str:
    """Adds Q/DQ behind ``tensor``, in order; returns the name of the dequantized tensor."""
    from onnx import helper, numpy_helper

    names = {key: f"{tensor}_shortcut_{key}" for key in ("scale", "zero", "integers", "values")}
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(scale, dtype=np.float32), names["scale"]),
            numpy_helper.from_array(np.array(0, dtype=np.int8), names["zero"]),
        ]
    )
    steps = ((QUANTIZE, tensor, names["integers"]), (DEQUANTIZE, names["integers"], names["values"]))
    place = list(model.graph.node).index(made_by[tensor]) + 1
    for offset, (kind, source, target) in enumerate(steps):
        node = helper.make_node(kind, [source, names["scale"], names["zero"]], [target], name=f"{tensor}_{kind}")
        model.graph.node.insert(place + offset, node)
    return names["values"]
