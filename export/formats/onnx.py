"""ONNX: the dynamo exporter, one self-contained file, dynamic batch, for Triton's onnxruntime backend.

The exporter writes another opset than asked for when its version conversion fails, and only logs it (torch 2.13:
13 and 17 give 18), so the opset is asserted afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.formats.base import INPUT_NAME, OUTPUT_NAME, ExportOptions, FileFormat
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    import torch


class Onnx(FileFormat):
    """See the module's text."""

    name = "onnx"
    file_name = "model.onnx"
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Exports, opens the class axis, checks with onnx.checker and asserts the opset and the dynamic batch."""
        return _write(module, example, path, options)


def _write(module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions) -> dict[str, Any]:
    import onnx
    import torch

    from export.formats.torch_export import batch_dimension

    with torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes={INPUT_NAME: {0: batch_dimension(options)}},
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            opset_version=options.opset,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportFailed("onnx: the exporter returned no program")
    program.save(str(path), external_data=False)
    model = onnx.load(str(path))
    assert_opset(model, options.opset)
    assert_dynamic_batch(model)
    open_class_axis(model)
    drop_stack_traces(model)
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    return {"opset": options.opset, "ir_version": int(model.ir_version), "nodes": len(model.graph.node)}


def assert_opset(model: Any, asked: int) -> None:
    """Raises ExportFailed when the default operator set is not the one asked for."""
    found = {entry.domain: int(entry.version) for entry in model.opset_import}
    if found.get("") != asked:
        raise ExportFailed(
            "onnx: the exporter changed the opset silently",
            observed=f"opset {found.get('')}",
            expected=f"opset {asked}",
            fix="ask for an opset that the dynamo exporter writes (18 or newer)",
        )


def assert_dynamic_batch(model: Any) -> None:
    """Raises ExportFailed unless axis 0 of the input and of the output is symbolic."""
    for value in (*model.graph.input, *model.graph.output):
        axis = value.type.tensor_type.shape.dim[0]
        if not axis.dim_param:
            raise ExportFailed(
                f"onnx: the batch axis of {value.name} is baked in",
                observed=f"batch {axis.dim_value}",
                expected="a dynamic batch",
                fix="use x.shape[0] or flatten(1) in the model's forward instead of a stored size",
            )


def open_class_axis(model: Any) -> None:
    """Makes the output's class axis dynamic, so that ``dims: [-1]`` in config.pbtxt holds for every version.

    Triton's native onnxruntime backend compares output dimensions exactly: -1 in the configuration against a fixed
    size in the file refuses to load (``CompareDimsSupported`` with ``compare_exact``, onnxruntime_utils.cc). A
    symbolic name alone does not help, because shape inference finds the size again; a final Reshape to
    ``[batch, -1]`` hides it, at no measurable cost. It can go when that comparison accepts -1.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    graph, fixed = model.graph, f"{OUTPUT_NAME}_fixed"
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == OUTPUT_NAME:
                    names[index] = fixed
    graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "classes_rest"))
    graph.node.extend(
        [
            helper.make_node("Shape", [fixed], ["logits_batch"], name="batch_of_logits", start=0, end=1),
            helper.make_node("Concat", ["logits_batch", "classes_rest"], ["logits_shape"], name="open_shape", axis=0),
            helper.make_node("Reshape", [fixed, "logits_shape"], [OUTPUT_NAME], name="open_class_axis"),
        ]
    )
    graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"


def drop_stack_traces(model: Any) -> None:
    """Removes the exporter's Python stack traces: they carry this machine's paths into a file that travels."""
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
