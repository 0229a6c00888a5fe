"""Rewrites an ONNX graph into what TensorRT 8.6, 10 and 11 all read, with the same outputs.

Four things stand between a graph of the dynamo exporter and TensorRT:

- uint8 inputs must feed a Cast; no other layer takes them, a Transpose neither (NVIDIA/TensorRT#3985, 2025). The cast
  moves in front of the data movement: every uint8 is exact in fp32, so nothing changes.
- From opset 18 on ReduceMean has its axes as an input, and 8.6 neither supports nor refuses that: it can answer wrongly
  in silence (NVIDIA/TensorRT#3467). Global pooling becomes GlobalAveragePool, which is also what INT8 kernels exist
  for, and the rest is converted to opset 17, the newest that 8.6 reads, where it can be.
- The Reshape that hides the number of classes from Triton's onnxruntime backend (see export.formats.onnx) makes the
  output's shape a computed one. Triton's tensorrt backend takes -1 for any size, so it goes.
- Names of nodes and constants that nobody uses go with it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from slipway.errors import ExportFailed

#: The newest opset that TensorRT 8.6 reads, and the first in which Conv and pooling take bf16.
PORTABLE_OPSET = 17
BF16_OPSET = 22
_UINT8 = 2
#: Operators that only move values, so that a cast may stand before or behind them.
_MOVES = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


def for_tensorrt(model: Any) -> Any:
    """A rewritten copy of an ``onnx.ModelProto``, in opset 17 where it can be expressed in that, else in its own: such
    a graph needs TensorRT 10 or newer (see export.tensorrt.operators). Raises ExportFailed, with the node, where a
    uint8 input is computed with before it is cast."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    cast_first(copy)
    pool_globally(copy)
    fix_output_shape(copy)
    drop_unused(copy)
    try:
        return to_opset(copy, PORTABLE_OPSET)
    except ExportFailed:
        return to_opset(copy, next(int(entry.version) for entry in copy.opset_import if entry.domain == ""))


def cast_first(model: Any) -> None:
    """Moves the cast of every uint8 input to the input itself, in place."""
    from onnx import helper

    graph = model.graph
    for value in graph.input:
        if value.type.tensor_type.elem_type != _UINT8:
            continue
        readers = [node for node in graph.node if value.name in node.input]
        if readers and all(node.op_type == "Cast" for node in readers):
            continue
        cast = _cast_behind(graph, value.name)
        kind = next(attribute.i for attribute in cast.attribute if attribute.name == "to")
        early = f"{value.name}_cast"
        for node in readers:
            node.input[:] = [early if name == value.name else name for name in node.input]
        _replace(graph, cast.output[0], cast.input[0])
        graph.node.remove(cast)
        graph.node.insert(0, helper.make_node("Cast", [value.name], [early], name=f"cast_{value.name}", to=kind))
    del graph.value_info[:]  # their types are those of before


def pool_globally(model: Any) -> None:
    """ReduceMean over height and width of a 4-D tensor becomes GlobalAveragePool, in place."""
    from onnx import helper

    graph, ranks = model.graph, _ranks(model)
    for index, node in enumerate(graph.node):
        if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != 4:
            continue
        axes = _axes(graph, node)
        if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
            continue
        flat = _integer(node, "keepdims", 1) == 0
        source, target, name = node.input[0], node.output[0], node.name
        pooled = f"{target}_pooled" if flat else target
        graph.node.remove(node)
        graph.node.insert(index, helper.make_node("GlobalAveragePool", [source], [pooled], name=name))
        if flat:
            graph.node.insert(index + 1, helper.make_node("Flatten", [pooled], [target], name=f"{name}_flat", axis=1))


def fix_output_shape(model: Any) -> None:
    """Takes out the final Reshape of :func:`export.formats.onnx.open_class_axis`, in place, and states the classes."""
    import onnx

    graph = model.graph
    for node in graph.node:
        if node.op_type == "Reshape" and node.name == "open_class_axis":
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    drop_unused(model)
    output = graph.output[0]
    producer = next(node for node in graph.node if output.name in node.output)
    if producer.op_type == "Identity":
        source = producer.input[0]
        graph.node.remove(producer)
        for node in graph.node:
            node.output[:] = [output.name if name == source else name for name in node.output]
            node.input[:] = [output.name if name == source else name for name in node.input]
    kind = output.type.tensor_type
    batch = kind.shape.dim[0].dim_param
    kind.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output[0].type.tensor_type.shape
    kind.shape.CopyFrom(found)
    kind.shape.dim[0].dim_param = batch


def drop_unused(model: Any) -> None:
    """Removes nodes and constants whose values nobody reads, in place."""
    graph, wanted = model.graph, {value.name for value in model.graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(name for name in node.input if name)
    _set(graph.node, reversed(kept))
    _set(graph.initializer, [item for item in graph.initializer if item.name in wanted])


def to_opset(model: Any, opset: int) -> Any:
    """The same graph in another opset, by ONNX's own converter; raises ExportFailed with its words."""
    import onnx

    for node in model.graph.node:
        # 18's attribute with its default says nothing, and the converter carries it into opsets that lack it
        if node.op_type.startswith("Reduce") and _integer(node, "noop_with_empty_axes", 0) == 0:
            _set(node.attribute, [item for item in node.attribute if item.name != "noop_with_empty_axes"])
    try:
        converted = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(converted, full_check=True)
    except Exception as problem:  # the converter and the checker each have their own, some of them plain RuntimeError
        line = (str(problem).strip().splitlines() or [""])[0][:300]
        raise ExportFailed(
            f"tensorrt: the graph cannot be expressed in opset {opset}",
            observed=f"{type(problem).__name__}: {line}",
            fix="drop the tensorrt formats from the specification, or the operator from the model",
        ) from problem
    return converted


def _cast_behind(graph: Any, name: str) -> Any:
    """The one Cast that all readers of ``name`` lead to through nothing but data movement."""
    readers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for used in node.input:
            readers[used].append(node)
    while True:
        following = readers[name]
        if len(following) == 1 and following[0].op_type == "Cast":
            return following[0]
        if len(following) != 1 or following[0].op_type not in _MOVES or following[0].input[0] != name:
            found = ", ".join(f"{node.op_type} ({node.name})" for node in following) or "nothing"
            raise ExportFailed(
                "tensorrt: a uint8 input is used before it is cast, which TensorRT does not take",
                observed=f"{name} feeds {found}",
                expected="a Cast, behind nothing but data movement (NVIDIA/TensorRT#3985)",
                fix="cast the pixels to float first in the model's forward",
            )
        name = following[0].output[0]


def _replace(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _ranks(model: Any) -> dict[str, int]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in typed}


def _axes(graph: Any, node: Any) -> list[int] | None:
    """The axes of a Reduce node, from its attribute or a constant input; None when they are computed."""
    from onnx import numpy_helper

    for attribute in node.attribute:
        if attribute.name == "axes":
            return list(attribute.ints)
    if len(node.input) > 1:
        for item in graph.initializer:
            if item.name == node.input[1]:
                return [int(axis) for axis in numpy_helper.to_array(item).reshape(-1)]
    return None


def _integer(node: Any, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _set(field: Any, items: Any) -> None:
    kept = list(items)
    del field[:]
    field.extend(kept)
