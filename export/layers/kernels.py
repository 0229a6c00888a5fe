"""Whether this CPU's integer kernels compute what an INT8 ONNX file says.

x86 without VNNI adds pairs of ``uint8 * int8`` products into 16 bits with saturation (``vpmaddubsw``), so weights that
use all 8 bits come out wrong there and right elsewhere; onnxruntime's quantisers take ``reduce_range`` (7 bits) against
it (onnxruntime documentation, "Quantize ONNX models", on U8S8). No layer is at fault then, and none can be rescued.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.layers.compare import sqnr_db
from export.layers.graph import Frame

#: dB that the kernels may cost against the file's own arithmetic.
ALLOWED_DB = 6.0


def kernel_loss(path: Path, frame: Frame, pixels: NDArray[np.uint8]) -> str | None:
    """A sentence when the optimised session is further from fp32 than the file's own arithmetic (optimisations off:
    dequantise, compute in fp32, quantise) is; None when it is not, and for files that hold no integers or no ONNX."""
    if path.suffix != ".onnx" or not _has_integers(path):
        return None
    wanted = _answer(frame.path, frame.output, pixels, optimised=True)
    written, served = (_ratio(wanted, _answer(path, frame.output, pixels, optimised=on)) for on in (False, True))
    if written - served <= ALLOWED_DB:
        return None
    return (
        f"the file's own arithmetic keeps {written:.1f} dB of the output, this CPU's integer kernels {served:.1f} dB: "
        "they saturate (x86 without VNNI); quantise the weights to 7 bits (reduce_range)"
    )


def _has_integers(path: Path) -> bool:
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return any(node.op_type == "DequantizeLinear" for node in nodes)


def _ratio(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    exact = wanted.astype(np.float64)
    return sqnr_db(float(np.sum(exact**2)), float(np.sum((found - exact) ** 2)))


def _answer(path: Path, output: str, pixels: NDArray[np.uint8], *, optimised: bool) -> NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    found = [session.run([output], {source: image[None]})[0] for image in pixels]
    answer: NDArray[np.float32] = np.concatenate(found).astype(np.float32)
    return answer
