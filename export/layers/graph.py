"""The layers of a model as its fp32 ONNX file has them: the frame in which every format is compared.

The dynamo exporter writes where each node came from into its ``metadata_props`` (``pkg.torch.onnx.name_scopes``: the
module path, innermost last), so a node can be named by the module that a person knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slipway.errors import ExportFailed

#: Ops that pass values on without arithmetic of their own, or that runtimes fuse into the layer before them. A layer
#: that stays in fp32 reaches through them: rounding before a ReLU or after it is the same rounding.
PASSING = frozenset(
    (
        *("Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout", "Cast"),
        *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
    )
)
_SCOPES = "pkg.torch.onnx.name_scopes"
#: The wrapper's own prefix (export.wrap): people know their module's paths, not the wrapper's.
_WRAPPED = "module"


@dataclass(frozen=True)
class Layer:
    """One node with a float output that depends on the image. ``tensor``: name of that output; ``inputs``: the tensors
    of the layers it reads; ``module``: path in the trained module, empty for the wrapper's own arithmetic."""

    index: int
    name: str
    op: str
    module: str
    tensor: str
    inputs: tuple[str, ...]

    @property
    def passing(self) -> bool:
        """Whether it belongs to the layer before it, see PASSING."""
        return self.op in PASSING


@dataclass(frozen=True)
class Frame:
    """All layers of one ONNX file in the order in which they run. ``output``: the tensor that is the answer."""

    path: Path
    layers: tuple[Layer, ...]
    output: str

    @cached_property
    def by_tensor(self) -> dict[str, Layer]:
        """The layer that makes a tensor."""
        return {layer.tensor: layer for layer in self.layers}

    @cached_property
    def readers(self) -> dict[str, tuple[Layer, ...]]:
        """The layers that read a tensor."""
        found: dict[str, list[Layer]] = {layer.tensor: [] for layer in self.layers}
        for layer in self.layers:
            for name in layer.inputs:
                found[name].append(layer)
        return {name: tuple(layers) for name, layers in found.items()}

    def producers(self, layer: Layer) -> list[Layer]:
        """The layers that compute what ``layer`` reads, with the passing ones between them."""
        found: list[Layer] = []
        for name in layer.inputs:
            before = self.by_tensor[name]
            found += [before, *(self.producers(before) if before.passing else ())]
        return found

    def consumers(self, layer: Layer) -> list[Layer]:
        """The layers that compute with what ``layer`` makes, with the passing ones between them."""
        found: list[Layer] = []
        for after in self.readers[layer.tensor]:
            found += [after, *(self.consumers(after) if after.passing else ())]
        return found


def read_frame(path: Path) -> Frame:
    """Reads the layers of a float ONNX file; raises ExportFailed when it has none that depend on its input."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    graph = model.graph
    floats = {value.name for value in (*graph.value_info, *graph.output) if _is_float(value)}
    sources: dict[str, tuple[str, ...]] = {value.name: () for value in graph.input}  # tensor -> layers' tensors behind
    layers: list[Layer] = []
    for node in graph.node:
        behind = [sources[name] for name in node.input if name in sources]
        if not behind or not node.output:
            continue  # made of constants alone
        before = tuple(dict.fromkeys(name for names in behind for name in names))
        if node.output[0] in floats and node.op_type != "Constant":
            layers.append(
                Layer(len(layers), node.name, node.op_type, _module(node.metadata_props), node.output[0], before)
            )
            before = (node.output[0],)
        sources.update(dict.fromkeys(node.output, before))
    if not layers:
        raise ExportFailed("the ONNX file has no layer that depends on its input", observed=path.name)
    return Frame(path, tuple(layers), graph.output[0].name)


def _is_float(value: Any) -> bool:
    return int(value.type.tensor_type.elem_type) == 1  # onnx.TensorProto.FLOAT


def _module(properties: Iterable[Any]) -> str:
    """``['', 'module', 'module.stages', 'module.stages.1', 'relu']`` -> ``stages.1``; empty where it is not known."""
    for entry in properties:
        if entry.key == _SCOPES:
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError):
                return ""
            path = str(scopes[-2]) if len(scopes) > 1 else ""
            return path.removeprefix(_WRAPPED).removeprefix(".")
    return ""
