"""Taps an OpenVINO model: its ONNX reader keeps the tensor names of the file, and saving keeps them too.

A quantised tensor is read behind its FakeQuantize, which the CPU plugin turns into the integers that its kernels
exchange. A tensor that only a ReLU reads is not asked for in a quantised model: as an output it would keep the plugin
from fusing the two, and what ran would not be what serves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.layers.graph import Frame
from export.layers.taps import Grid, Rounding, Tap, Values, round_to_bfloat

_FUSED = ("Relu", "Clamp")


def openvino_tap(format_name: str, path: Path, frame: Frame, *, bfloat: bool = False) -> Tap:
    """Opens the IR ``path`` (.xml) with the values of the frame's tensors as further results.

    ``bfloat``: compute in bf16; otherwise f32 is demanded, because OpenVINO takes bf16 by itself where the CPU has it.
    """
    from handlers.networks.openvino import import_openvino

    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(str(path))
    ports = _ports(model, frame)
    results = {tensor: index for index, tensor in enumerate(ports)}
    roundings: dict[str, Rounding] = {tensor: grid for tensor, port in ports.items() if (grid := _grid(port))}
    if bfloat:
        roundings = dict.fromkeys(ports, round_to_bfloat)
    tapped = openvino.Model([openvino.op.Result(port) for port in ports.values()], model.get_parameters(), "tapped")
    config = {"INFERENCE_PRECISION_HINT": "bf16" if bfloat else "f32", "ENABLE_CPU_PINNING": False}
    compiled = core.compile_model(tapped, "CPU", config)

    def run(pixels: NDArray[np.uint8]) -> Values:
        found = compiled([np.ascontiguousarray(pixels)])
        return {tensor: np.array(found[index], np.float32) for tensor, index in results.items()}

    return Tap(format_name, run, roundings)


def _ports(model: Any, frame: Frame) -> dict[str, Any]:
    """The frame's tensor -> the output port that holds its value as the next layer reads it."""
    operations = [item for item in model.get_ordered_ops() if item.get_type_name() not in ("Constant", "Result")]
    named = {name: port for operation in operations for port in operation.outputs() for name in port.get_names()}
    quantised = any(operation.get_type_name() == "FakeQuantize" for operation in operations)
    found = {}
    for layer in frame.layers:
        port = named.get(layer.tensor)
        if port is None:
            continue
        readers = [target.get_node() for target in port.get_target_inputs()]
        rounded = [node for node in readers if node.get_type_name() == "FakeQuantize"]
        if rounded:
            found[layer.tensor] = rounded[0].output(0)
        elif not (quantised and readers and all(node.get_type_name() in _FUSED for node in readers)):
            found[layer.tensor] = port
    return found


def _grid(port: Any) -> Grid | None:
    """The grid of a FakeQuantize with one range; None for other ports, and for a range per channel of weights."""
    node = port.get_node()
    if node.get_type_name() != "FakeQuantize":
        return None
    ends = [node.input_value(index).get_node() for index in (3, 4)]
    if any(end.get_type_name() != "Constant" for end in ends):
        return None
    low, high = (np.asarray(end.data, np.float32) for end in ends)
    return Grid(low, high, int(node.get_attributes()["levels"]))
