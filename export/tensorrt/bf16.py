"""A graph computed in bf16: from the first convolution or product on, with fp32 before it and at the outputs.

TensorRT 10 and 11 take precision from the graph alone, and ONNX tools convert to fp16 but not to bf16 (NVIDIA's own
tool wants an onnx older than this project's). What stands before the first heavy node, which is the normalisation,
stays in fp32: TensorRT casts uint8 to fp32 and fp16 only, and a pixel is then rounded once instead of three times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.tensorrt.graph import BF16_OPSET, to_opset

_FLOAT, _BFLOAT16 = 1, 16
_HEAVY = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
#: Operators that bring no floating-point value of their own into question.
_SHAPES = {"Shape", "Size", "ConstantOfShape", "NonZero"}


def to_bf16(model: Any, keep_float: Sequence[str] = ()) -> Any:
    """A copy of an fp32 graph (see :func:`export.tensorrt.graph.for_tensorrt`) in bf16 and opset 22, the first in
    which convolutions take it. ``keep_float``: names of nodes that stay in fp32."""
    import onnx

    model = to_opset(model, BF16_OPSET)
    return _Conversion(onnx.shape_inference.infer_shapes(model), set(keep_float)).run()


class _Conversion:
    """One graph on its way to bf16: each node is computed in one of two types, and casts stand between them."""

    def __init__(self, model: Any, keep_float: set[str]) -> None:
        self.model, self.graph = model, model.graph
        typed = (*self.graph.value_info, *self.graph.input, *self.graph.output)
        self.floats = {value.name for value in typed if value.type.tensor_type.elem_type == _FLOAT}
        self.constants = {item.name: item for item in self.graph.initializer if item.data_type == _FLOAT}
        self.reduced = self._reduced_nodes(keep_float)
        #: fp32 name -> bf16 name, and the other way, of tensors that are needed in both types.
        self.as_bf16: dict[str, str] = {}
        self.as_float: dict[str, str] = {}
        self.in_bf16: set[str] = set()
        self.nodes: list[Any] = []

    def run(self) -> Any:
        from onnx import helper

        for index, node in enumerate(self.graph.node):
            reduced = index in self.reduced
            node.input[:] = [self._read(name, reduced) for name in node.input]
            self.nodes.append(node)
            if reduced:
                self.in_bf16.update(name for name in node.output if name in self.floats)
        for output in self.graph.output:
            if output.name in self.in_bf16:
                inner = f"{output.name}_bf16"
                for node in self.nodes:
                    node.input[:] = [inner if name == output.name else name for name in node.input]
                    node.output[:] = [inner if name == output.name else name for name in node.output]
                cast = helper.make_node("Cast", [inner], [output.name], name=f"cast_{output.name}", to=_FLOAT)
                self.nodes.append(cast)
        self._finish()
        return self.model

    def _reduced_nodes(self, keep_float: set[str]) -> set[int]:
        """Indices of the nodes behind a heavy one, the heavy ones included, that compute with floats."""
        behind: set[str] = set()
        found = set()
        for index, node in enumerate(self.graph.node):
            if node.op_type not in _HEAVY and not behind.intersection(node.input):
                continue
            behind.update(node.output)
            computes = any(name in self.floats or name in self.constants for name in node.input)
            if computes and node.op_type not in _SHAPES | {"Cast"} and node.name not in keep_float:
                found.add(index)
        return found

    def _read(self, name: str, reduced: bool) -> str:
        """The name under which a node of the given type reads a tensor; adds the cast or constant where it is new."""
        from onnx import helper

        if reduced and name in self.constants:
            return self._constant(name)
        if reduced and name in self.floats and name not in self.in_bf16:
            if name not in self.as_bf16:
                self.as_bf16[name] = f"{name}_to_bf16"
                self.nodes.append(
                    helper.make_node("Cast", [name], [self.as_bf16[name]], name=f"to_bf16_{name}", to=_BFLOAT16)
                )
            return self.as_bf16[name]
        if not reduced and name in self.in_bf16:
            if name not in self.as_float:
                self.as_float[name] = f"{name}_to_float"
                self.nodes.append(
                    helper.make_node("Cast", [name], [self.as_float[name]], name=f"to_float_{name}", to=_FLOAT)
                )
            return self.as_float[name]
        return name

    def _constant(self, name: str) -> str:
        import ml_dtypes
        from onnx import numpy_helper

        reduced = f"{name}_bf16"
        if name not in self.as_bf16:
            self.as_bf16[name] = reduced
            values = numpy_helper.to_array(self.constants[name]).astype(ml_dtypes.bfloat16)
            self.graph.initializer.append(numpy_helper.from_array(values, reduced))
        return reduced

    def _finish(self) -> None:
        from export.tensorrt.graph import drop_unused

        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        drop_unused(self.model)


def emulated_in_float(model: Any) -> Any:
    """A copy of a bf16 graph that computes in fp32 and rounds every value to bf16 where the graph has one.

    onnxruntime's CPU has no bf16 convolution; this runs there, and differs from a GPU, which accumulates in fp32 too,
    by the order of sums alone. Run it without graph optimisations: they would take the roundings for no-ops.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(onnx.shape_inference.infer_shapes(model))
    graph = copy.graph
    rounded = {value.name for value in graph.value_info if value.type.tensor_type.elem_type == _BFLOAT16}
    for item in list(graph.initializer):
        if item.data_type == _BFLOAT16:
            values = numpy_helper.to_array(item).astype(np.float32)
            item.CopyFrom(numpy_helper.from_array(values, item.name))
    nodes = []
    for node in graph.node:
        if node.op_type == "Cast":
            for attribute in node.attribute:
                attribute.i = _FLOAT if attribute.i == _BFLOAT16 else attribute.i
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in rounded:
                node.output[index] = f"{name}_exact"
                nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_short"], to=_BFLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}_short"], [name], to=_FLOAT))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return copy
