"""ONNX: the dynamo exporter, one self-contained file, dynamic batch, for Triton's onnxruntime backend.

:func:`base_onnx` makes the fp32 network once for a run; this format and all that are derived from ONNX start there.

The exporter writes another opset than asked for when its version conversion fails, and only logs it (torch 2.13:
13 and 17 give 18), so the opset is asserted afterwards.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from export.formats.base import INPUT_NAME, OUTPUT_NAME, ExportOptions, FileFormat
from export.formats.stack_traces import clean_stack_traces
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    import torch

BASE_FILE = "base.onnx"
#: Which module a base file of this process was made of, by path and opset: a directory that is used again for another
#: module, or a file that somebody else left there, is never taken for this one's.
_made: WeakValueDictionary[tuple[Path, int], torch.nn.Module] = WeakValueDictionary()
#: Kept until the process ends: bases that were asked for without a shared directory.
_temporary: list[tempfile.TemporaryDirectory[str]] = []


class Onnx(FileFormat):
    """See the module's text."""

    name = "onnx"
    file_name = "model.onnx"
    summary = "fp32 on any CPU or GPU, by ONNX Runtime"
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """The base with its class axis opened, checked again."""
        import onnx

        return save_for_triton(onnx.load(str(base_onnx(module, example, options))), path)


def base_onnx(module: torch.nn.Module, example: torch.Tensor, options: ExportOptions) -> Path:
    """The fp32 ONNX file of ``module``: ``pixels`` uint8[batch, H, W, 3] in, ``logits`` float32[batch, classes] out.

    One file without external data, of ``options.opset``, batch dynamic, batch normalisation folded, every tensor's
    type and shape known, no path of this machine inside. The class axis is fixed: :func:`save_for_triton` opens it.
    It is made once for a module and ``options.shared_dir``; without that directory every call makes one that is
    removed when the process ends. Read only: others use the same file.

    Raises ExportFailed for another opset than asked for and a baked batch, and whatever the exporter raises.
    """
    if options.shared_dir is None:
        options.log_dir.mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(prefix="base-", dir=options.log_dir, ignore_cleanup_errors=True)
        _temporary.append(holder)
        return _export(module, example, Path(holder.name) / BASE_FILE, options)
    path = options.shared_dir.resolve() / BASE_FILE
    key = (path, options.opset)
    if _made.get(key) is not module or not path.is_file():
        for stale in [known for known in _made if known[0] == path]:
            del _made[stale]
        _export(module, example, path, options)
        _made[key] = module
    return path


def save_for_triton(model: Any, path: Path) -> dict[str, Any]:
    """Opens the class axis, writes ``path`` as one file and checks it. Returns what there is to say of it."""
    import onnx

    open_class_axis(model)
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    opset = next(int(entry.version) for entry in model.opset_import if not entry.domain)
    return {"opset": opset, "ir_version": int(model.ir_version), "nodes": len(model.graph.node)}


def _export(module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions) -> Path:
    import onnx

    from export.formats.graft import foreign_graph

    model = foreign_graph(module, example, options)
    if model is None:
        model = _by_dynamo(module, example, options)
    assert_dynamic_batch(model)
    clean_stack_traces(model)
    unfinished = path.with_suffix(".making")
    onnx.save(model, str(unfinished))
    onnx.checker.check_model(str(unfinished), full_check=True)
    unfinished.replace(path)  # a file under this name is a whole one
    return path


def _by_dynamo(module: torch.nn.Module, example: torch.Tensor, options: ExportOptions) -> Any:
    import torch

    from export.formats.torch_export import input_shapes

    with torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=input_shapes(options),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            opset_version=options.opset,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportFailed("onnx: the exporter returned no program")
    model = program.model_proto
    assert_opset(model, options.opset)
    return model


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
    if len(graph.output[0].type.tensor_type.shape.dim) != 2:
        return  # boxes or maps: config.pbtxt names their axes as they are
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == OUTPUT_NAME:
                    names[index] = fixed
    graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "classes_rest"))
    graph.node.extend(
        [
            *_batch_of(fixed, model),
            helper.make_node("Concat", ["logits_batch", "classes_rest"], ["logits_shape"], name="open_shape", axis=0),
            helper.make_node("Reshape", [fixed, "logits_shape"], [OUTPUT_NAME], name="open_class_axis"),
        ]
    )
    graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"


def _batch_of(name: str, model: Any) -> list[Any]:
    """Nodes that give the batch size of a tensor as ``logits_batch``, int64[1]."""
    import numpy as np
    from onnx import helper, numpy_helper

    if next(int(entry.version) for entry in model.opset_import if not entry.domain) >= 15:
        return [helper.make_node("Shape", [name], ["logits_batch"], name="batch_of_logits", start=0, end=1)]
    # a user's own graph keeps its opset, and before 15 Shape knows no range
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], dtype=np.int64), "batch_axis"))
    return [
        helper.make_node("Shape", [name], ["logits_sizes"], name="sizes_of_logits"),
        helper.make_node("Gather", ["logits_sizes", "batch_axis"], ["logits_batch"], name="batch_of_logits"),
    ]
