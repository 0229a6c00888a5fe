"""What both INT8 formats of ONNX share: ranges, onnxruntime's quantizer, logits that stay in float."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.formats.base import OUTPUT_NAME, ExportOptions
from export.formats.onnx import base_onnx
from export.formats.onnx_graph import check_names, makers, normalise_nodes, opset, readers
from export.formats.qdq_lint import DEQUANTIZE, QUANTIZE
from export.formats.ranges import calibration_images, measured_ranges, method
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    import torch

#: The first opset with one scale per channel.
_OPSET = 13
#: Operators that only move values: behind the last real layer they need no range of their own.
_MOVES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"}


@dataclass(frozen=True)
class Scheme:
    """How a format quantizes. ``arguments``: for an ``onnx.ModelProto``, those of ``quantize_static`` beside what both
    formats share."""

    format: str
    arguments: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Quantised:
    """``model``: the onnx.ModelProto with its Q/DQ nodes; ``ranges``: the calibration cache it was made from;
    ``details``: what there is to say of it."""

    model: Any
    ranges: Path
    details: dict[str, Any]


def quantise(module: torch.nn.Module, example: torch.Tensor, options: ExportOptions, scheme: Scheme) -> Quantised:
    """The run's fp32 network with Q/DQ nodes by ``scheme``; normalisation, logits and ``keep_float`` stay in fp32.

    Raises SamplesInvalid without enough calibration images and ExportFailed for an unknown node, an opset without
    scales per channel, or when nothing was quantized.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, quantize_static

    pixels = calibration_images(scheme.format, options.calibration)
    base = base_onnx(module, example, options)
    source = onnx.load(str(base))
    _check_opset(source, scheme.format)
    check_names(source, options.keep_float, scheme.format)
    ranges = measured_ranges(base, pixels, options.int8, base.parent)
    with tempfile.TemporaryDirectory(prefix="quantise-", dir=base.parent) as folder:
        prepared, target = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        onnx.save(_prepared(source), str(prepared))
        quantize_static(
            str(prepared),
            str(target),
            None,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            nodes_to_exclude=[*normalise_nodes(source), *options.keep_float],
            calibrate_method=method(options.int8),
            calibration_cache_path=str(ranges),
            **scheme.arguments(source),
        )
        model = onnx.load(str(target))
    float_logits(model)
    layers = sum(node.op_type == QUANTIZE for node in model.graph.node)
    if not layers:
        raise ExportFailed(f"{scheme.format}: nothing was quantized", observed=f"kept in fp32: {options.keep_float}")
    return Quantised(model, ranges, {**_described(options), "quantizers": layers, "calibration_images": len(pixels)})


def float_logits(model: Any) -> None:
    """Takes the Q/DQ pairs out that stand between the last real layer and the output, in place.

    A softmax over logits of 8 bits cannot tell close classes apart: 21.6 instead of 35.1 dB on digits.
    """
    made, read = makers(model), readers(model)
    tensor = OUTPUT_NAME
    while (node := made.get(tensor)) is not None:
        before = made.get(node.input[0])
        if node.op_type == DEQUANTIZE and before is not None and before.op_type == QUANTIZE:
            _bypass(model, before, node)
            _drop_unread(model)
            made, read = makers(model), readers(model)
        elif node.op_type in _MOVES and len(read[node.input[0]]) == 1:
            tensor = node.input[0]
        else:
            return


def _bypass(model: Any, quantize: Any, dequantize: Any) -> None:
    """Whoever read what a pair gives reads what the pair was given; its maker is renamed where that is the output."""
    graph, source, result = model.graph, quantize.input[0], dequantize.output[0]
    outputs = {value.name for value in graph.output}
    old, new = (source, result) if result in outputs else (result, source)
    for node in graph.node:
        if node is not quantize and node is not dequantize:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
    graph.node.remove(dequantize)
    if not any(quantize.output[0] in node.input for node in graph.node):
        graph.node.remove(quantize)
    elif old == source:
        quantize.input[0] = new


def _drop_unread(model: Any) -> None:
    """Removes the constants that no node reads: onnxruntime warns of each whenever the file is opened."""
    read, items = readers(model), model.graph.initializer
    for item in [item for item in items if item.name not in read]:
        items.remove(item)


def _prepared(model: Any) -> Any:
    """A copy that says of itself that it is prepared, which it is: shapes known, constants folded, by the exporter.

    onnxruntime's own preparation would fuse nodes, and the names in ``keep_float`` would be gone; without the note
    it advises to run it at every export.
    """
    import onnx
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    add_pre_process_metadata(copy)
    return copy


def _described(options: ExportOptions) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "onnxruntime": version("onnxruntime"),
        "method": options.int8.method,
        "kept_in_fp32": list(options.keep_float),
    }


def _check_opset(model: Any, format_name: str) -> None:
    if (found := opset(model)) < _OPSET:
        raise ExportFailed(
            f"{format_name}: the network's ONNX knows no scales per channel",
            observed=f"opset {found}",
            expected=f"opset {_OPSET} or newer",
            fix="convert the source with onnx.version_converter, or drop the format",
        )
