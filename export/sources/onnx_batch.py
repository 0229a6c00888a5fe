"""Opens a batch that an ONNX file fixes, where that really works: proved by running it, never assumed.

A file exported for one image has its batch in the input's shape, in stale shapes of the tensors between, and often in
the constant of a Reshape. The first two can be dropped; in the third, 0 means "as the input has it" (ONNX, Reshape).
Whether that is all is decided by execution: other batch sizes must give every image the answer that the untouched
file gives it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slipway.errors import SourceInvalid

_DTYPES = {1: np.float32, 10: np.float16, 11: np.float64}
#: Largest difference, as a fraction of the largest output, between an image alone and in another batch.
_SAME = 1e-3


def open_batch(model: Any, given: Any, output: str, name: str, input_size: tuple[int, int]) -> tuple[Any, str | None]:
    """The model with one output and a symbolic batch, and what was done for it: None where the batch was open.

    ``given``: the input's ValueInfoProto. Raises SourceInvalid where the batch stays fixed, with the reason and the
    nodes that may hold it.
    """
    fixed = given.type.tensor_type.shape.dim[0]
    size = int(fixed.dim_value) if fixed.dim_value > 0 else None  # older converters write -1 for any
    plain = _opened(model, given.name, output)
    if size is None:
        return plain, None
    images = _images(given, size, input_size)
    try:
        answers = _run(open_session(model), given.name, output, images)
    except Exception as problem:  # onnxruntime's exceptions share no public base class
        raise SourceInvalid(f"{name} fails in onnxruntime", observed=told(problem)) from problem
    reshaped = _opened(model, given.name, output)
    count = _open_reshapes(reshaped, size)
    failure = _differs(plain, given.name, output, images, answers)
    if failure is None:
        return plain, f"its fixed batch of {size} opened"
    if count and _differs(reshaped, given.name, output, images, answers) is None:
        return reshaped, f"its fixed batch of {size} opened in {count} Reshape nodes"
    suspects = _holding(model, size)
    raise SourceInvalid(
        f"{name} takes batches of {size} only, and cannot be opened",
        observed=failure + (f"; the size may be held by {', '.join(suspects)}" if suspects else ""),
        expected="a dynamic batch",
        fix="export it again with a dynamic axis 0 (torch.onnx.export: dynamic_shapes or dynamic_axes)",
    )


def open_session(model: Any) -> Any:
    """An onnxruntime session on the CPU from a ModelProto; raises whatever onnxruntime raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and told once
    # as the served sessions: waiting threads would burn the core that torch computes on
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def told(problem: BaseException) -> str:
    """The first line of an error: onnx and onnxruntime append graphs."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[0][:400] if lines else type(problem).__name__


def _opened(model: Any, given: str, output: str) -> Any:
    """A copy with a symbolic axis 0 at both ends, the chosen output alone, and no shapes written between."""
    opened = copy.deepcopy(model)
    graph = opened.graph
    tensors = {tensor.name for tensor in graph.initializer}
    # files of IR version 3 list initialisers among the inputs; since version 4 that makes them changeable from outside
    kept = [value for value in graph.input if value.name not in tensors]
    del graph.input[:]
    graph.input.extend(kept)
    opened.ir_version = max(4, opened.ir_version)
    chosen = [value for value in graph.output if value.name == output]
    del graph.output[:]
    graph.output.extend(chosen)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.name in (given, output) and value.type.tensor_type.shape.dim:
            axis = value.type.tensor_type.shape.dim[0]
            axis.Clear()
            axis.dim_param = "batch"
    return opened


def _open_reshapes(model: Any, size: int) -> int:
    """Sets the leading ``size`` of constant Reshape targets to 0; returns how many nodes that were."""
    from onnx import numpy_helper

    constants = _constants(model.graph)
    count = 0
    for index, node in enumerate(_reshapes(model.graph)):
        shape = constants.get(node.input[1])
        if shape is None or shape.size == 0 or int(shape.flat[0]) != size or not _zero_copies(node, shape):
            continue
        target = shape.copy()
        target.flat[0] = 0
        name = f"{node.input[1]}_open_{index}"  # its own: another Reshape may share the constant
        model.graph.initializer.append(numpy_helper.from_array(target, name))
        node.input[1] = name
        count += 1
    return count


def _reshapes(graph: Any) -> Iterator[Any]:
    return (node for node in graph.node if node.op_type == "Reshape" and len(node.input) == 2)


def _zero_copies(node: Any, shape: NDArray[Any]) -> bool:
    """Makes 0 mean "as the input has it" in this node (the dynamo exporter sets allowzero everywhere); False where a
    size of zero is really meant."""
    allowing = [attribute for attribute in node.attribute if attribute.name == "allowzero" and attribute.i]
    if allowing and not shape.all():
        return False
    for attribute in allowing:
        attribute.i = 0
    return True


def _constants(graph: Any) -> dict[str, NDArray[Any]]:
    """Small integer constants by name: initialisers and Constant nodes."""
    from onnx import TensorProto, numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    small = {name: tensor for name, tensor in tensors.items() if tensor.data_type == TensorProto.INT64}
    return {name: numpy_helper.to_array(tensor) for name, tensor in small.items() if sum(tensor.dims) <= 8}


def _holding(model: Any, size: int) -> list[str]:
    """Nodes whose constant shape starts with the batch size: Reshape and Expand."""
    constants = _constants(model.graph)
    found = []
    for node in model.graph.node:
        shape = constants.get(node.input[1]) if node.op_type in ("Reshape", "Expand") and len(node.input) > 1 else None
        if shape is not None and shape.size and int(shape.flat[0]) == size:
            found.append(f"{node.op_type} {node.name or node.output[0]}")
    return found[:5]


def _differs(model: Any, given: str, output: str, images: NDArray[Any], answers: NDArray[np.float32]) -> str | None:
    """None when other batch sizes give each image the answer that the untouched file gave it."""
    try:
        session = open_session(model)
        for count in sorted({1, 2, len(images) - 1, len(images)} - {0}):
            found = _run(session, given, output, images[:count], count)
            if found.shape != answers[:count].shape:
                return f"a batch of {count} gives an output of shape {list(found.shape)}"
            apart = float(np.abs(found - answers[:count]).max())
            if not apart <= _SAME * float(np.abs(answers).max()):
                return f"in a batch of {count} the answers differ by {apart:.3g}"
    except Exception as problem:  # as above
        return told(problem)
    return None


def _images(given: Any, size: int, input_size: tuple[int, int]) -> NDArray[Any]:
    """Noise for three full batches, so that no answer is that of another image by chance."""
    dtype = _DTYPES[int(given.type.tensor_type.elem_type)]
    return np.random.default_rng(0).standard_normal((3 * size, 3, *input_size)).astype(dtype)


def _run(session: Any, given: str, output: str, images: NDArray[Any], size: int | None = None) -> NDArray[np.float32]:
    """Outputs of all images, ``size`` at a time; by thirds (the file's own batch) unless given."""
    step = size or len(images) // 3
    batches = [images[start : start + step] for start in range(0, len(images), step)]
    return np.concatenate([np.asarray(session.run([output], {given: batch})[0], np.float32) for batch in batches])
