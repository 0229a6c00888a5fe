"""ONNX in INT8 for x86: Q/DQ, activations uint8, weights int8 per output channel, ranges from real images.

Weights use 7 of their 8 bits (``int8.reduce_range``). Processors without VNNI multiply uint8 by int8 with
``vpmaddubsw``, which adds two products in 16 bits and saturates: two products of 255 and 127 do not fit, of 255 and 64
they do. The file is served on other machines than it was judged on, and a gate on a machine with VNNI would see
nothing, so the default is right on both. Measured on AVX2; what VNNI computes is the graph without fused kernels:

=============================  ==============  ==============  =========================  ==============
                               7 bits, AVX2    7 bits, VNNI    8 bits, AVX2               8 bits, VNNI
=============================  ==============  ==============  =========================  ==============
digits (fp32: 99.7 %)          35.5 dB 99.6 %  35.5 dB 99.6 %  **6.7 dB 95.5 %**          39.2 dB 99.6 %
ResNet-18, random weights      17.1 dB         17.1 dB         **11.0 dB**                18.4 dB
ResNet-18, ms per image        22.5            not measured    22.4                       not measured
=============================  ==============  ==============  =========================  ==============

Ranges are extremes; percentiles were no better on either (35.2 and 15.8 dB) and take six times as long. onnxruntime's
entropy method is not offered: with its own 128 bins it gives the extremes again, with 2048 it takes a minute and a half
for ResNet-18 and gives 5 dB.

Additions and products are quantized in convolutional networks: kept in float they cost EfficientNet-B0 19 instead of
14 ms and gain nothing. Not so in networks with layer normalisation: their residual carries a few values that are
hundreds of times the others, and 8 bits for it leave 9 dB of a small ViT; without it there are 28, in less time.
Softmax and normalisations are float everywhere. MobileNetV3 gains no speed from INT8 here, only size.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.formats.base import ExportOptions, FileFormat, Precision
from export.formats.onnx import save_for_triton
from export.formats.quantise import Scheme, quantise

if TYPE_CHECKING:
    import torch

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_POINTWISE = ("Add", "Mul", "Sigmoid")
#: What passes integers on as they are, or picks among them.
_PASSING = (
    *("Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Split", "Slice", "Pad"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Gather", "Resize"),
)


class OnnxInt8(FileFormat):
    """See the module's text."""

    name = "onnx-int8"
    file_name = "model.onnx"
    precision: Precision = "int8"
    summary = "INT8 on x86, by ONNX Runtime: a quarter of the size"
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Quantizes the run's fp32 network; raises as :func:`export.formats.quantise.quantise`."""
        reduce_range = options.int8.reduce_range
        made = quantise(module, example, options, Scheme(self.name, lambda model: _arguments(model, reduce_range)))
        return {**save_for_triton(made.model, path), **made.details, "reduce_range": reduce_range}


def _arguments(model: Any, reduce_range: bool) -> dict[str, Any]:
    from onnxruntime.quantization import QuantType

    # What a matrix product gives stays in float: its readers are softmax, GELU or the residual, which need the range.
    return {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "reduce_range": reduce_range,
        "op_types_to_quantize": operators(model),
        "extra_options": {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    }


def operators(model: Any) -> list[str]:
    """The types of the operators that are quantized: see the module's text."""
    has_stream = any(node.op_type == "LayerNormalization" for node in model.graph.node)
    return [*_WEIGHTED, *_PASSING, *(() if has_stream else _POINTWISE)]
