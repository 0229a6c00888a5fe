"""What must hold of a graph before a builder sees it; everything here runs without a GPU and without TensorRT."""

from __future__ import annotations

from typing import Any

from export.tensorrt.graph import PORTABLE_OPSET
from export.tensorrt.operators import VERSIONS, unsupported
from slipway.errors import ExportFailed

_UINT8, _FLOAT, _FLOAT16 = 2, 1, 10
#: Whose parser must take a graph. What the older one refuses is said in the bundle (``readable_by``), not here: a
#: person who has TensorRT 10 loses nothing by it.
NEWEST = VERSIONS[-1]


def lint(model: Any, precision: str) -> list[str]:
    """What is wrong with a typed graph, a sentence each; empty when TensorRT should take it."""
    found = [*_inputs(model), *_batch(model), *_traps(model)]
    found += [f"TensorRT {NEWEST}: {line}" for line in unsupported(model, NEWEST)]
    if precision == "int8":
        from export.formats.qdq_lint import lint as lint_qdq

        found += lint_qdq(model)
    return found


def assert_clean(model: Any, name: str, precision: str) -> None:
    """Raises ExportFailed with everything that :func:`lint` finds."""
    found = lint(model, precision)
    if found:
        raise ExportFailed(
            f"{name}: TensorRT cannot build this graph",
            observed="; ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else ""),
            expected="only what its ONNX parser takes",
            fix=f"drop {name} from formats, or replace those operators in the model",
        )


def _inputs(model: Any) -> list[str]:
    """uint8 feeds casts to fp32 or fp16 alone: there is no other conversion (tensorrt.DataType.UINT8)."""
    found = []
    for value in model.graph.input:
        if value.type.tensor_type.elem_type != _UINT8:
            continue
        for node in model.graph.node:
            if value.name not in node.input:
                continue
            kind = next((item.i for item in node.attribute if item.name == "to"), None)
            if node.op_type != "Cast" or kind not in (_FLOAT, _FLOAT16):
                found.append(f"uint8 input {value.name} feeds {node.op_type} ({node.name}), not a cast to fp32 or fp16")
    return found


def _batch(model: Any) -> list[str]:
    """The batch is the only free dimension: a profile covers that one."""
    found = []
    for value in (*model.graph.input, *model.graph.output):
        free = [axis for axis, size in enumerate(value.type.tensor_type.shape.dim) if not size.dim_value]
        if free != [0]:
            found.append(f"{value.name}: axes {free} are free, and only the batch may be")
    return found


def _traps(model: Any) -> list[str]:
    """What parsers of some versions take and answer wrongly, or refuse late."""
    graph = model.graph
    opset = next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    outside = [item.name for item in graph.initializer if item.data_location or item.external_data]
    found = [f"{name}: its weights are in another file" for name in outside]
    constants = {item.name for item in graph.initializer}
    for node in graph.node:
        where = f"{node.op_type} ({node.name or node.output[0]})"
        axes = node.input[1] if node.op_type.startswith("Reduce") and len(node.input) > 1 else None
        if axes is not None and opset > PORTABLE_OPSET and axes not in constants:
            found.append(f"{where}: its axes are computed, and must be a constant")
        if node.op_type in ("MaxPool", "AveragePool"):
            dilations = next((list(item.ints) for item in node.attribute if item.name == "dilations"), [])
            if any(size != 1 for size in dilations):
                found.append(f"{where}: dilated pooling is not taken")
        if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
            found.append(f"{where}: its indices are not taken")
        if node.op_type == "Resize" and any(item.name == "antialias" and item.i for item in node.attribute):
            found.append(f"{where}: antialiasing is not taken")
    return found
