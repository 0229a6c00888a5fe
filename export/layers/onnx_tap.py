"""Taps an ONNX file of any precision in onnxruntime, with its optimisations on: the kernels that serve are compared.

A quantised tensor is read as the integers that leave its QuantizeLinear, and scaled here. Asking for the float values
before it instead would break the pattern ``DequantizeLinear -> Conv -> QuantizeLinear`` that onnxruntime turns into an
integer kernel, and the comparison would be of arithmetic that never serves (what
``onnxruntime.quantization.qdq_loss_debug`` does: it runs with optimisations off).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.layers.graph import Frame
from export.layers.taps import Grid, Rounding, Tap, Values, round_to_half


@dataclass(frozen=True)
class _Quantised:
    """A tensor after QuantizeLinear: where its integers come out, and their grid's scale and zero point."""

    output: str
    scale: NDArray[np.float32]
    zero: NDArray[np.int64]
    levels: NDArray[np.int64]

    def restore(self, integers: NDArray[Any]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = ((integers.astype(np.int64) - self.zero) * self.scale).astype(np.float32)
        return values

    @property
    def grid(self) -> Grid:
        low, high = ((end - self.zero) * self.scale for end in self.levels)
        return Grid(np.asarray(low, np.float32), np.asarray(high, np.float32), int(self.levels[1] - self.levels[0]) + 1)


def onnx_tap(format_name: str, path: Path, frame: Frame) -> Tap:
    """Opens ``path`` with the values of the frame's tensors as further outputs."""
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    quantised = _quantised(model.graph)
    shown = _shown(model.graph, frame, quantised)
    wanted = {quantised[name].output if name in quantised else name for name in shown.values()}
    present = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in sorted(wanted - present))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as serving does, see handlers.networks
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    names = sorted(wanted)
    half = {value.name for value in session.get_outputs() if value.type == "tensor(float16)"}

    def run(pixels: NDArray[np.uint8]) -> Values:
        found = dict(zip(names, session.run(names, {source: pixels}), strict=True))
        return {tensor: _value(found, name, quantised) for tensor, name in shown.items()}

    return Tap(format_name, run, _roundings(shown, quantised, half))


def _value(found: dict[str, Any], name: str, quantised: dict[str, _Quantised]) -> NDArray[np.float32]:
    if name in quantised:
        return quantised[name].restore(found[quantised[name].output])
    return np.asarray(found[name], np.float32)


def _quantised(graph: Any) -> dict[str, _Quantised]:
    """Every tensor that a QuantizeLinear with one constant scale reads: activations, not weights (per channel)."""
    constants = {item.name: item for item in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and len(node.input) == 3 and set(node.input[1:]) <= set(constants):
            parameters = _parameters(node, constants)
            if parameters.scale.ndim == 0:
                found[node.input[0]] = parameters
    return found


def _parameters(node: Any, constants: dict[str, Any]) -> _Quantised:
    from onnx import numpy_helper

    scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
    limits = np.iinfo(zero.dtype)
    if scale.size == 1:
        scale, zero = scale.reshape(()), zero.reshape(())
    return _Quantised(
        node.output[0], scale.astype(np.float32), zero.astype(np.int64), np.array([limits.min, limits.max], np.int64)
    )


def _shown(graph: Any, frame: Frame, quantised: dict[str, _Quantised]) -> dict[str, str]:
    """The frame's tensor -> the tensor of this graph that holds its value; those that the format fused are left out.

    Quantisers drop a ReLU whose cut the grid already makes, and give its tensor to the layer before it, so names of
    tensors lead. A converter that keeps a layer in fp32 casts its output back under the old name: the layer's own
    output, found by the node's name, is what a kept neighbour reads.
    """
    makers = {name: node for node in graph.node for name in node.output}
    nodes = {node.name: node for node in graph.node if node.name and node.output}
    found = {}
    for layer in frame.layers:
        tensor, node = layer.tensor, nodes.get(layer.name)
        maker = makers.get(tensor)
        own = node.output[0] if node is not None and node.op_type == layer.op else None
        if maker is not None and maker.op_type == "Cast" and own is not None and own in maker.input:
            found[tensor] = own
        elif maker is not None and maker.op_type == "DequantizeLinear" and tensor not in quantised:
            found[tensor] = _before(maker, makers)  # the graph's output: its Dequantize writes the old name
        elif maker is not None:
            found[tensor] = tensor
        elif own is not None and own not in frame.by_tensor:
            found[tensor] = own
    return found


def _before(dequantise: Any, makers: dict[str, Any]) -> str:
    quantise = makers.get(dequantise.input[0])
    return str(quantise.input[0]) if quantise is not None else str(dequantise.output[0])


def _roundings(shown: dict[str, str], quantised: dict[str, _Quantised], half: set[str]) -> dict[str, Rounding]:
    found: dict[str, Rounding] = {}
    for tensor, name in shown.items():
        if name in quantised:
            found[tensor] = quantised[name].grid
        elif name in half:
            found[tensor] = round_to_half
    return found
