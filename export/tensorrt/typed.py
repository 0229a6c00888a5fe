"""The graph that each TensorRT format is built from: precision lives in it, as TensorRT 11 requires and 10 obeys."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.formats.base import INPUT_NAME, ExportOptions, Precision
from export.gates.base import in_batches
from export.tensorrt.runner.measure import compare

if TYPE_CHECKING:
    import torch

    from export.gates.base import Reference

#: Which format of this project has the precision in its graph already.
_MADE_FROM: dict[Precision, str] = {"fp16": "onnx-fp16", "int8": "onnx-int8-trt"}
#: The TensorRT formats and what they are computed in.
PRECISIONS: dict[str, Precision] = {
    "tensorrt": "fp32",
    "tensorrt-fp16": "fp16",
    "tensorrt-bf16": "bf16",
    "tensorrt-int8": "int8",
}


def typed_graph(name: str, module: torch.nn.Module, example: torch.Tensor, options: ExportOptions) -> Any:
    """The ``onnx.ModelProto`` of a TensorRT format, rewritten and linted; raises ExportFailed.

    fp32 and bf16 come from the run's ONNX file; fp16 and int8 from the ONNX formats of that precision.
    """
    import onnx

    from export.formats.onnx import base_onnx
    from export.tensorrt.bf16 import to_bf16
    from export.tensorrt.graph import for_tensorrt
    from export.tensorrt.lint import assert_clean

    precision = PRECISIONS[name]
    if precision in _MADE_FROM:
        model = for_tensorrt(_made(_MADE_FROM[precision], module, example, options))
    else:
        model = for_tensorrt(onnx.load(str(base_onnx(module, example, options))))
    if precision == "bf16":
        model = to_bf16(model, options.keep_float)
    assert_clean(model, name, precision)
    return model


def check_here(model: Any, precision: Precision, reference: Reference) -> dict[str, Any]:
    """The typed graph on this CPU against the trained model on real images: see runner.measure.compare.

    bf16 is emulated, because onnxruntime's CPU has no bf16 convolution. These are numbers of the graph, not of a plan.
    """
    from export.tensorrt.bf16 import emulated_in_float

    shown = emulated_in_float(model) if precision == "bf16" else model
    unlabelled = np.full(len(reference.pixels), -1)
    return compare(in_batches(_Session(shown).run, reference.pixels, 1), reference.logits, unlabelled)


class _Session:
    """A graph in memory, run by onnxruntime as it is written: no optimisation may take a rounding for a no-op."""

    def __init__(self, model: Any) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        content = model.SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, classes] of ``uint8[N, H, W, 3]``."""
        answer: np.ndarray = self._session.run(None, {INPUT_NAME: pixels})[0]
        return answer


def _made(name: str, module: torch.nn.Module, example: torch.Tensor, options: ExportOptions) -> Any:
    """Exports another format into a passing folder and loads it; its file alone is needed."""
    import onnx

    from export.formats.registry import find_format

    with tempfile.TemporaryDirectory(prefix="slipway-typed-") as folder:
        return onnx.load(str(find_format(name).export(module, example, Path(folder), options).path))
