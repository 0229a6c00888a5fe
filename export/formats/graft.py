"""ONNX of networks that torch's exporter cannot take: a user's own ONNX graph, and TorchScript.

A user's graph is kept as it is, opset and all: the normalisation is put before it and the contract's names around it.
TorchScript goes through the older exporter (``dynamo=False``), which reads it as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.formats.base import INPUT_NAME, OUTPUT_NAME, ExportOptions
from export.formats.origin import origin
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    import torch

    from export.sources.onnx_file import OnnxGraph

#: Put before every name of the user's graph, so that none can meet one of ours.
PREFIX = "network/"
#: Names of the axes of ``pixels`` that may be free.
_SIDES = {1: "height", 2: "width"}


def foreign_graph(module: torch.nn.Module, example: torch.Tensor, options: ExportOptions) -> Any | None:
    """ONNX of a wrapped ONNX or TorchScript source: ``pixels`` uint8[batch, H, W, 3], ``logits`` float32[batch, n].

    Returns an onnx.ModelProto, None for a module that torch.export can take. Raises ExportFailed for another opset
    than asked for (TorchScript), and whatever onnx and torch raise.
    """
    came_from = origin(module)
    if came_from == "onnx":
        return _grafted(module, example, options.free_sides)
    if came_from == "torchscript":
        return _from_torchscript(module, example, options)
    return None


def _grafted(module: torch.nn.Module, example: torch.Tensor, free: Sequence[int]) -> Any:
    from onnx import compose, shape_inference

    wrapped: Any = module
    graph: OnnxGraph = wrapped.module.graph
    user = compose.add_prefix(graph.model, PREFIX)
    _drop_notes(user)
    sides = [_SIDES[axis] if axis in free else int(example.shape[axis]) for axis in (1, 2)]
    head = _head(wrapped, graph, sides, user)
    joined = compose.merge_models(
        head,
        user,
        io_map=[("network_input", f"{PREFIX}{graph.input_name}")],
        producer_name="slipway",
        doc_string="",
    )
    _tidy(joined)
    _name_output(joined, f"{PREFIX}{graph.output_name}")
    _set_shape(joined.graph.output[0], wrapped, example, free)
    return shape_inference.infer_shapes(joined, check_type=True, strict_mode=False)


def _head(wrapped: Any, graph: OnnxGraph, size: Sequence[int | str], user: Any) -> Any:
    """``pixels`` -> NCHW -> float32 -> ``* factor + offset`` -> the type that the user's graph takes."""
    from onnx import TensorProto, helper, numpy_helper

    height, width = size
    nodes = [
        helper.make_node("Transpose", [INPUT_NAME], ["pixels_nchw"], name="pixels_nchw", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["pixels_nchw"], ["pixels_float"], name="pixels_float", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels_float", "normalise_factor"], ["pixels_scaled"], name="normalise_scale"),
        helper.make_node("Add", ["pixels_scaled", "normalise_offset"], ["pixels_normalised"], name="normalise_shift"),
        # also where nothing changes: optimisers remove it, and there is one way only
        helper.make_node("Cast", ["pixels_normalised"], ["network_input"], name="network_input", to=graph.input_type),
    ]
    tensors = [
        numpy_helper.from_array(wrapped.factor.numpy(), "normalise_factor"),
        numpy_helper.from_array(wrapped.offset.numpy(), "normalise_offset"),
    ]
    given = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["batch", height, width, 3])
    result = helper.make_tensor_value_info("network_input", graph.input_type, ["batch", 3, height, width])
    head = helper.make_graph(nodes, "normalised", [given], [result], initializer=tensors)
    return helper.make_model(head, opset_imports=user.opset_import, ir_version=user.ir_version)


def _name_output(model: Any, result: str) -> None:
    """Ends the graph in a float32 output ``logits``."""
    from onnx import TensorProto, helper

    model.graph.node.append(
        helper.make_node("Cast", [result], [OUTPUT_NAME], name="logits_float", to=TensorProto.FLOAT)
    )
    output = model.graph.output[0]
    output.name = OUTPUT_NAME
    output.type.tensor_type.elem_type = TensorProto.FLOAT


def _set_shape(output: Any, wrapped: Any, example: torch.Tensor, free: Sequence[int]) -> None:
    """[batch, classes], as the network itself gives them: the file may not say. Where the input may have any size, the
    axes of what is no list of classes are left free."""
    from onnx import helper

    axes: list[int | str] = [int(size) for size in wrapped(example).shape[1:]]
    if free and len(axes) > 1:
        axes = [f"axis_{number}" for number in range(1, len(axes) + 1)]
    elem_type = output.type.tensor_type.elem_type
    output.type.CopyFrom(helper.make_tensor_type_proto(elem_type, ["batch", *axes]))


def _tidy(model: Any) -> None:
    """One entry a domain, as ONNX Runtime's quantiser wants it (merging writes each of both graphs' again), and no
    tensors that nothing reads: exporters leave some behind, and every session would warn of them."""
    from onnx import helper

    versions = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
    read = set(_names_read(model.graph)) | {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _names_read(graph: Any) -> Iterator[str]:
    """Every name that a node reads, in branches and loop bodies too."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _names_read(body)
                yield from (value.name for value in body.output)


def _drop_notes(model: Any) -> None:
    """Removes free text and stack traces, which carry paths of the machine that wrote the file; scopes stay."""
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)


def _from_torchscript(module: torch.nn.Module, example: torch.Tensor, options: ExportOptions) -> Any:
    """The older exporter inlines a traced module, but cannot itself trace a module that holds TorchScript."""
    import onnx
    import torch

    from export.formats.onnx import assert_opset

    sides = {axis: _SIDES[axis] for axis in options.free_sides}
    with torch.no_grad(), tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        written = Path(folder) / "model.onnx"
        traced = torch.jit.trace(module, (example,), check_trace=False)  # type: ignore[no-untyped-call]
        torch.onnx.export(
            traced,
            (example,),
            str(written),
            dynamo=False,
            opset_version=options.opset,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch", **sides}, OUTPUT_NAME: {0: "batch"}},
        )
        model = onnx.load(str(written))
    assert_opset(model, options.opset)
    _drop_notes(model)
    if not model.graph.output[0].type.tensor_type.shape.dim:
        raise ExportFailed("onnx: the exporter lost the output's shape", expected="[batch, classes]")
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=False)
