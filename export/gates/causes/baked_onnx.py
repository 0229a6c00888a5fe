"""Finds the ONNX node that holds a baked batch: by what onnxruntime says, and by shapes that stop following it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.formats.stack_traces import source_of
from export.gates.causes.baked import BakedNode

#: onnxruntime names the node that fails: "... while running Reshape node. Name:'node_view' Status Message: ...".
_NAMED = re.compile(r"Name:'([^']+)'")
#: Batches whose sizes tell a constant from a multiple.
_SIZES = (1, 2, 3, 5)
#: What legitimately makes something of another size: shapes, and means over a batch.
_SIZE_CHANGING = re.compile(r"Shape|Size|Reduce.*|Range|NonZero|NonMaxSuppression|TopK|ConstantOfShape")
Shapes = dict[int, dict[str, tuple[int, ...]]]


def baked_in_onnx(path: Path, pixels: NDArray[np.uint8]) -> BakedNode | None:
    """``pixels``: uint8[n, H, W, 3], real images. None when every size of batch runs through every node."""
    import onnx

    model = onnx.load(str(path))
    constants = dict(_constants(model.graph))
    fixed = int(model.graph.input[0].type.tensor_type.shape.dim[0].dim_value)
    if fixed:
        # the exporter specialised the whole graph: every shape in it holds the batch, none of them is the cause
        return BakedNode(model.graph.input[0].name, "Input", str([fixed]))
    shapes, failing = _run(model, pixels)
    node = next((item for item in model.graph.node if item.name == failing), None) if failing else None
    # the node that fails may only be the first one to meet what another one made of the batch
    node = _first_not_following(model.graph, constants, shapes) or node
    return None if node is None else _baked(node, constants)


def _run(model: Any, pixels: NDArray[np.uint8]) -> tuple[Shapes, str | None]:
    """Shapes of all tensors by batch size, of those sizes that run, and the name of the first node that fails."""
    import onnx
    import onnxruntime

    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    present = {value.name for value in tapped.graph.output}
    names = [name for node in tapped.graph.node for name in node.output if name and name not in present]
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # fused nodes have other names than the file's
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = [value.name for value in session.get_outputs()]
    source, shapes, failing = session.get_inputs()[0].name, Shapes(), None
    for size in _SIZES:
        try:
            found = session.run(outputs, {source: np.resize(pixels, (size, *pixels.shape[1:]))})
        except Exception as problem:  # onnxruntime's exceptions share no public base class
            named = _NAMED.search(str(problem))
            failing = failing or (named.group(1) if named else None)
        else:
            shapes[size] = {name: np.shape(value) for name, value in zip(outputs, found, strict=True)}
            shapes[size][source] = (size, *pixels.shape[1:])
    return shapes, failing


def _first_not_following(graph: Any, constants: Mapping[str, NDArray[Any]], shapes: Shapes) -> Any:
    """The first node that reads something as long as the batch and makes something that is not."""
    if len(shapes) < 2:
        return None
    return next(
        (
            node
            for node in graph.node
            if not _SIZE_CHANGING.fullmatch(node.op_type)
            and any(name in constants for name in node.input)
            and any(_follows(name, shapes) for name in node.input if name not in constants)
            and not any(_follows(name, shapes) for name in node.output)
        ),
        None,
    )


def _follows(name: str, shapes: Shapes) -> bool:
    """Whether axis 0 is the batch, or a fixed multiple of it, at every size that runs."""
    found = {size: by_name.get(name) for size, by_name in shapes.items()}
    return all(found.values()) and len({shape[0] / size for size, shape in found.items() if shape}) == 1


def _constants(graph: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    from onnx import numpy_helper

    for item in graph.initializer:
        yield item.name, numpy_helper.to_array(item)
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                yield node.output[0], numpy_helper.to_array(attribute.t)


def _baked(node: Any, constants: Mapping[str, NDArray[Any]]) -> BakedNode:
    given = [constants[name] for name in node.input if name in constants]
    shown = next((item for item in given if item.dtype == np.int64 and item.size <= 8), None)
    if shown is not None:
        text = str(shown.reshape(-1).tolist())
    else:
        text = f"of shape {list(given[0].shape)}" if given else "that its inputs lead to"
    return BakedNode(node.name, node.op_type, text, source_of(node))
