"""Checks the Q/DQ nodes of an INT8 graph for what TensorRT demands of explicit quantization.

Source: TensorRT developer guide, "Working with Quantized Types", and its ONNX parser's importers of QuantizeLinear and
DequantizeLinear: symmetric INT8, scales positive and known when the plan is built, one scale per output channel of
weights, Q and DQ in pairs. A fault would otherwise show as a parser error without a node, or as a wrong plan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.formats.onnx_graph import constants, makers, readers

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_PAIR = (QUANTIZE, DEQUANTIZE)
#: Operators with weights: which input they are, and the axis of their output channels.
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}


def lint(model: Any) -> list[str]:
    """What is wrong with the Q/DQ of an ``onnx.ModelProto``, a sentence with the node each; empty when nothing is.

    A model without any Q/DQ is wrong too: it is not quantized.
    """
    view = _View(model)
    nodes = [node for node in model.graph.node if node.op_type in _PAIR]
    if not nodes:
        return ["there is no QuantizeLinear and no DequantizeLinear: nothing is quantized"]
    found: list[str] = []
    for node in nodes:
        found += [*_scales(node, view), *_zero_points(node, view), *_pairing(node, view)]
        if node.op_type == DEQUANTIZE:
            found += _channels(node, view)
    return found


class _View:
    """The graph with its indices."""

    def __init__(self, model: Any) -> None:
        self.constants, self.makers, self.readers = constants(model), makers(model), readers(model)
        self.outputs = {value.name for value in model.graph.output}

    def value(self, name: str) -> NDArray[Any] | None:
        """A tensor that is known before the graph runs, else None."""
        from onnx import numpy_helper

        if name in self.constants:
            return np.asarray(numpy_helper.to_array(self.constants[name]))
        node = self.makers.get(name)
        if node is None or node.op_type != "Constant":
            return None
        return next(
            (np.asarray(numpy_helper.to_array(item.t)) for item in node.attribute if item.name == "value"), None
        )


def _scales(node: Any, view: _View) -> list[str]:
    scale = view.value(node.input[1])
    if scale is None:
        return [f"{_title(node)}: its scale is computed, and must be a constant"]
    found = []
    if scale.ndim > 1:
        found.append(f"{_title(node)}: its scale has {scale.ndim} axes; per tensor or per channel is taken")
    bad = scale[~(np.isfinite(scale) & (scale > 0))]
    if bad.size:
        found.append(
            f"{_title(node)}: {bad.size} of {scale.size} scales are not positive (for example {bad.flat[0]:g})"
        )
    return found


def _zero_points(node: Any, view: _View) -> list[str]:
    if len(node.input) < 3 or not node.input[2]:
        # without one ONNX means uint8 for QuantizeLinear, and the input's own type for DequantizeLinear
        return [f"{_title(node)}: it has no zero point, which means uint8"] if node.op_type == QUANTIZE else []
    zero = view.value(node.input[2])
    if zero is None:
        return [f"{_title(node)}: its zero point is computed, and must be a constant"]
    found = []
    if zero.dtype != np.int8:
        what = " (a quantized bias)" if zero.dtype == np.int32 else ""
        found.append(f"{_title(node)}: it is {zero.dtype}{what}; only int8 is taken")
    if np.any(zero != 0):
        found.append(f"{_title(node)}: its zero point is {zero[zero != 0].flat[0]}, and must be 0 (symmetric)")
    return found


def _pairing(node: Any, view: _View) -> list[str]:
    if node.op_type == QUANTIZE:
        if node.output[0] in view.outputs:
            return [f"{_title(node)}: its integers are an output of the graph"]
        others = [item for item in view.readers[node.output[0]] if item.op_type != DEQUANTIZE]
        if others or not view.readers[node.output[0]]:
            return [f"{_title(node)}: {_title(others[0]) if others else 'nobody'} reads its integers, no {DEQUANTIZE}"]
        return []
    maker = view.makers.get(node.input[0])
    if maker is None or maker.op_type == "Constant":
        return [] if view.value(node.input[0]) is not None else [f"{_title(node)}: its integers come from outside"]
    if maker.op_type != QUANTIZE:
        return [f"{_title(node)}: {_title(maker)} makes its integers, no {QUANTIZE}"]
    if not _same(maker, node, view):
        return [f"{_title(node)}: its scale, zero point or axis is not that of {_title(maker)}"]
    return []


def _same(quantize: Any, dequantize: Any, view: _View) -> bool:
    for index in (1, 2):
        pair = [item.input[index] if len(item.input) > index else "" for item in (quantize, dequantize)]
        if pair[0] == pair[1] or not all(pair):
            continue
        first, second = view.value(pair[0]), view.value(pair[1])
        if first is None or second is None or not np.array_equal(first, second):
            return False
    scale = view.value(quantize.input[1])
    return scale is None or scale.ndim == 0 or _axis(quantize) == _axis(dequantize)


def _channels(node: Any, view: _View) -> list[str]:
    """Per channel for weights alone, on the axis of their output channels."""
    scale = view.value(node.input[1])
    if scale is None or scale.ndim != 1:
        return []
    weight = _weight(node, view)
    if weight is None:
        return [] if scale.size == 1 else [f"{_title(node)}: an activation has {scale.size} scales; one is taken"]
    axis = _axis(node) % weight.ndim
    found = []
    if scale.size > 1 and weight.shape[axis] != scale.size:
        found.append(f"{_title(node)}: {scale.size} scales for axis {axis} of a weight of shape {list(weight.shape)}")
    for reader in view.readers[node.output[0]]:
        wanted = _wanted_axis(reader)
        if wanted is not None and scale.size > 1 and axis != wanted:
            found.append(
                f"{_title(node)}: per channel on axis {axis}; the output channels of {_title(reader)} are axis {wanted}"
            )
    return found


def _weight(node: Any, view: _View) -> NDArray[Any] | None:
    """The constant behind a DequantizeLinear, quantized already or by the QuantizeLinear before it."""
    value = view.value(node.input[0])
    if value is None and (maker := view.makers.get(node.input[0])) is not None and maker.op_type == QUANTIZE:
        value = view.value(maker.input[0])
    return value


def _wanted_axis(node: Any) -> int | None:
    if node.op_type == "Gemm":
        return 0 if _integer(node, "transB", 0) else 1
    return _CHANNEL_AXIS.get(node.op_type)


def _axis(node: Any) -> int:
    return _integer(node, "axis", 1)


def _integer(node: Any, name: str, default: int) -> int:
    return next((int(item.i) for item in node.attribute if item.name == name), default)


def _title(node: Any) -> str:
    return f"{node.op_type} ({node.name or node.output[0]})"
