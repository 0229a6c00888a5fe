"""ONNX in fp16, by onnxconverter-common: uint8 in, float32 logits out, half the size; arithmetic in fp16 on a GPU.

onnxruntime's CPU computes it in fp32 (it has no fp16 convolutions): there it is storage only, at the speed of fp32 for
ResNet-18, at a third of it for MobileNetV3, whose other operators are cast one by one; and an overflow does not show.
So what fp16 cannot hold is looked for here: weights, and activations measured in fp32 on the calibration images, are
named in ``details["overflow"]`` when they lie beyond 65504, for the gates to refuse.

Upstream behaviour that is worked around (onnxconverter-common 1.16):

- Weights beyond 1e4 are set to 1e4 with a warning. Here they become what fp16 makes of them, infinite.
- A ``Cast`` to float stays one while its readers become fp16: it is kept in fp32, and what it gives is cast.
- A constant with a type in ``value_info``, as the dynamo exporter writes them, is rounded to fp16 and cast back for a
  node that stays in fp32: the types of constants are left out.
- A weight that a node in fp32 and one in fp16 share stays in fp32 for both: each such node gets its own.
- Between two nodes kept in fp32 the value passes through fp16 when others read it too, and overflows there: such pairs
  of casts are taken out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import ExportOptions, FileFormat, Precision
from export.formats.onnx import base_onnx, save_for_triton
from export.formats.onnx_graph import check_names, constants, makers, normalise_nodes, readers
from export.formats.ranges import largest_values, measured_ranges
from slipway.errors import ExportFailed
from slipway.spec.int8 import Int8Spec

if TYPE_CHECKING:
    import torch

_FLOAT, _FLOAT16 = 1, 10
#: The largest finite value of fp16.
LARGEST = 65504.0
#: Nearer to zero than this a constant becomes this, as upstream does: an epsilon that became zero would divide by it.
_SMALLEST = 1e-7
#: Operators whose weights must be fp16 afterwards, or nothing was converted.
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class OnnxFp16(FileFormat):
    """See the module's text."""

    name = "onnx-fp16"
    file_name = "model.onnx"
    precision: Precision = "fp16"
    summary = "fp16 on GPUs, by ONNX Runtime: half the size; on a CPU never faster than fp32"
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "onnxconverter_common")

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Converts the run's fp32 network, checks the types in the result and looks for overflow.

        Overflow does not fail the export: it stands in the details. Raises ExportFailed for an unknown node in
        ``keep_float`` and when a weight is in fp32 that should not be."""
        import onnx

        base = base_onnx(module, example, options)
        model = onnx.load(str(base))
        check_names(model, options.keep_float, self.name)
        kept = [*normalise_nodes(model), *options.keep_float]
        weights = _large_weights(model, kept)
        model = to_fp16(model, kept)
        details = save_for_triton(model, path)
        pixels = example.numpy() if options.calibration is None else options.calibration
        largest = largest_values(measured_ranges(base, pixels, Int8Spec(method="minmax"), base.parent))
        return {
            **details,
            "fp16_weights": _assert_fp16(model, options.keep_float, self.name),
            "kept_in_fp32": list(options.keep_float),
            "overflow": [*weights, *_large_activations(model, largest)],
            "largest_activation": _largest_activation(model, largest),
            "images_measured": len(pixels),
        }


def to_fp16(model: Any, keep_float: list[str]) -> Any:
    """The model with all float tensors in fp16, but for its inputs and outputs and the nodes of these names."""
    from onnxconverter_common import float16

    casts = [node.name for node in model.graph.node if node.op_type == "Cast" and _to(node) == _FLOAT]
    blocked = [*keep_float, *casts]
    _own_constants(model, blocked)
    _drop_types_of_constants(model)
    with np.errstate(over="ignore"):  # beyond the range is infinite, and reported
        converted = float16.convert_float_to_float16(
            model,
            min_positive_val=_SMALLEST,
            max_finite_val=float("inf"),
            keep_io_types=True,
            node_block_list=blocked,
        )
    _join_casts(converted)
    return converted


def _own_constants(model: Any, names: list[str]) -> None:
    """Gives the named nodes their own copy of every float constant that others read too."""
    fixed, read = constants(model), readers(model)
    for node in model.graph.node:
        if node.name not in names:
            continue
        for index, name in enumerate(node.input):
            item = fixed.get(name)
            if item is None or item.data_type != _FLOAT or all(other.name in names for other in read[name]):
                continue
            own = model.graph.initializer.add()
            own.CopyFrom(item)
            own.name = f"{name}_of_{node.name}"
            node.input[index] = own.name


def _drop_types_of_constants(model: Any) -> None:
    fixed, types = constants(model), model.graph.value_info
    for value in [value for value in types if value.name in fixed]:
        types.remove(value)


def _join_casts(model: Any) -> None:
    """Who reads fp32 -> fp16 -> fp32 reads the first fp32 itself; casts that nobody reads any more go."""
    graph, made = model.graph, makers(model)
    joined = {}
    for node in graph.node:
        before = made.get(node.input[0]) if node.op_type == "Cast" and _to(node) == _FLOAT else None
        if before is not None and before.op_type == "Cast" and _to(before) == _FLOAT16:
            joined[node.output[0]] = before.input[0]
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        node.input[:] = [name if name in outputs else joined.get(name, name) for name in node.input]
    while unused := _unread_casts(model, outputs):
        for node in unused:
            graph.node.remove(node)


def _unread_casts(model: Any, outputs: set[str]) -> list[Any]:
    read = readers(model)
    return [
        node
        for node in model.graph.node
        if node.op_type == "Cast" and not read.get(node.output[0]) and node.output[0] not in outputs
    ]


def _assert_fp16(model: Any, keep_float: tuple[str, ...], format_name: str) -> int:
    """How many weights really are fp16; raises ExportFailed when one is not that should be, or none is."""
    fixed = constants(model)
    halves, wrong = 0, []
    for node in model.graph.node:
        if node.op_type not in _WEIGHTED or node.name in keep_float:
            continue
        kinds = {fixed[name].data_type for name in node.input if name in fixed}
        halves += _FLOAT16 in kinds
        if _FLOAT in kinds:
            wrong.append(node.name)
    if wrong or not (halves or keep_float):
        raise ExportFailed(
            f"{format_name}: the file holds weights in fp32",
            observed=", ".join(wrong[:5]) or "no weight in fp16",
            expected="every weight in fp16 but those of keep_float",
        )
    return halves


def _large_weights(model: Any, kept: list[str]) -> list[dict[str, Any]]:
    """Constants beyond fp16 that nodes in fp16 read."""
    from onnx import numpy_helper

    found = []
    fixed = constants(model)
    for node in model.graph.node:
        for name in node.input:
            if name not in fixed or node.name in kept or fixed[name].data_type != _FLOAT:
                continue
            largest = _largest(numpy_helper.to_array(fixed[name]))
            if largest > LARGEST:
                found.append(_entry("weight", node, name, largest))
    return found


def _large_activations(model: Any, largest: dict[str, float]) -> list[dict[str, Any]]:
    """Tensors that are fp16 in the file and reach beyond it in fp32, in the order of running."""
    return [
        _entry("activation", node, name, largest[name])
        for node, name in _half_tensors(model)
        if largest.get(name, 0.0) > LARGEST
    ]


def _largest_activation(model: Any, largest: dict[str, float]) -> dict[str, Any] | None:
    """The fp16 tensor that comes nearest to the limit, or passes it the most."""
    entries = [_entry("activation", node, name, largest.get(name, 0.0)) for node, name in _half_tensors(model)]
    return max(entries, key=lambda entry: float(entry["value"]), default=None)


def _half_tensors(model: Any) -> list[tuple[Any, str]]:
    """Every fp16 tensor with the node that computes it: not a cast, which passes on what another has made."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, check_type=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    made = makers(model)
    found = []
    for node in model.graph.node:
        for name in node.output:
            if types.get(name) == _FLOAT16:
                maker = made[node.input[0]] if node.op_type == "Cast" and node.input[0] in made else node
                found.append((maker, name))
    return found


def _entry(kind: str, node: Any, tensor: str, value: float) -> dict[str, Any]:
    return {"kind": kind, "node": node.name, "op": node.op_type, "tensor": tensor, "value": value, "limit": LARGEST}


def _largest(values: NDArray[Any]) -> float:
    """The largest finite absolute value: infinities that the model holds itself are masks, and fp16 has them."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _to(node: Any) -> int:
    return next(int(item.i) for item in node.attribute if item.name == "to")
