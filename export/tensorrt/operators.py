"""Operators that TensorRT's ONNX parser takes, by version, and whether a graph has others.

The tables are facts from docs/operators.md and docs/Changelog.md of onnx/onnx-tensorrt (Apache-2.0). 8.6: the page of
8.5 with the changelog's additions for 8.6. 10.15 is the newest page that was read, so it stands for 11 too: a builder
that takes less says so itself. UINT8 is for network inputs and outputs alone, and only Cast takes it.
"""

from __future__ import annotations

from typing import Any

#: version -> types -> operators, names apart by spaces.
_TABLES: dict[str, dict[str, str]] = {
    "8.6": {
        "FP32 FP16": (
            "Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization Ceil Celu Cos Cosh CumSum Dropout "
            "Einsum Erf Exp Floor GRU GridSample GroupNormalization ImageScaler InstanceNormalization IsInf LRN LSTM "
            "LayerNormalization Log LogSoftmax LpNormalization MatMul MeanVarianceNormalization NonMaxSuppression "
            "NonZero Pow QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Reciprocal "
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
            "ReduceSumSquare Resize ReverseSequence RoiAlign Scan Sin Sinh Softmax Sqrt Tan Upsample"
        ),
        "FP32 FP16 INT32": (
            "Abs Add DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min Mod Mul Neg "
            "Range Shrink SpaceToDepth Sub Sum TopK"
        ),
        "FP32 FP16 INT8": (
            "Clip Conv ConvTranspose Elu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid HardSwish "
            "LeakyRelu LpPool MaxPool PRelu ParametricSoftplus Relu Round ScaledTanh Selu Sigmoid Softplus Softsign "
            "Tanh ThresholdedRelu"
        ),
        "FP32 FP16 INT8 INT32": "AveragePool Pad Scatter ScatterElements ScatterND Sign",
        "FP32 FP16 INT32 BOOL": "Expand EyeLike Flatten If Loop OneHot Split Tile Where",
        "FP32 FP16 INT8 INT32 BOOL": (
            "Cast Concat Constant Gather GatherElements GatherND Identity Reshape Shape Size Slice Squeeze Transpose "
            "Trilu Unsqueeze"
        ),
        "FP32": "ConstantOfShape",
        "INT8": "DequantizeLinear",
        "BOOL": "And Not Or Xor",
    },
    "10.15": {
        "FP32 FP16 BF16": (
            "Acos Acosh Asin Asinh Atan Atanh Attention AveragePool BatchNormalization Ceil Celu Clip Conv "
            "ConvTranspose Cos Cosh CumSum Dropout Einsum Elu Erf Exp Floor GRU Gemm GlobalAveragePool GlobalLpPool "
            "GlobalMaxPool GroupNormalization HardSigmoid HardSwish Hardmax ImageScaler InstanceNormalization IsInf "
            "LRN LSTM LayerNormalization LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul MaxPool "
            "MeanVarianceNormalization PRelu ParametricSoftplus QuantizeLinear RMSNormalization RNN RandomNormal "
            "RandomNormalLike RandomUniform RandomUniformLike Reciprocal Resize RotaryEmbedding Round ScaledTanh Scan "
            "Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample"
        ),
        "FP32 FP16 BF16 INT32 INT64": (
            "Abs Add ArgMax ArgMin DepthToSpace Div Equal Gelu Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean "
            "Min Mod Mul Neg Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean "
            "ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Scatter ScatterElements ScatterND Shrink Sign "
            "SpaceToDepth Sub Sum TopK"
        ),
        "FP32 FP16 BF16 INT32 INT64 BOOL": (
            "Cast CastLike Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND "
            "Identity If Loop OneHot Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu "
            "Unsqueeze Where"
        ),
        "FP32 FP16 BF16 INT32": "TensorScatter",
        "FP32 FP16": (
            "BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish NonMaxSuppression NonZero RoiAlign"
        ),
        "FP32": "STFT",
        "INT8 FP8 FP4 INT4": "DequantizeLinear",
        "BOOL": "And Not Or Xor",
    },
}
#: The opsets that each version reads.
OPSETS: dict[str, tuple[int, int]] = {"8.6": (9, 17), "10.15": (9, 24)}
VERSIONS = tuple(_TABLES)
_NAMES = {1: "FP32", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "FP16", 16: "BF16"}


def table_for(version: str) -> str:
    """The table that speaks for a TensorRT version: ``8.6`` for 8 and 9, ``10.15`` for 10 and newer."""
    return "8.6" if int(version.split(".")[0]) < 10 else "10.15"


def unsupported(model: Any, version: str) -> list[str]:
    """What the parser of ``version`` would refuse of a graph, a sentence each: opset, domain, operator or type."""
    table = table_for(version)
    types = {name: kinds.split() for kinds, names in _TABLES[table].items() for name in names.split()}
    found = []
    low, high = OPSETS[table]
    opset = next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not low <= opset <= high:
        found.append(f"opset {opset}: TensorRT {table} reads {low} to {high}")
    kinds = _element_types(model)
    for node in model.graph.node:
        where = f"{node.op_type} ({node.name or node.output[0]})"
        if node.domain not in ("", "ai.onnx"):
            found.append(f"{where}: domain {node.domain} is unknown to TensorRT")
        elif node.op_type not in types:
            found.append(f"{where}: not an operator of TensorRT {table}'s parser")
        elif _BFLOAT16 in {kinds.get(name) for name in node.input} and "BF16" not in types[node.op_type]:
            found.append(f"{where}: not in bf16 with TensorRT {table}")
    return found


_BFLOAT16 = 16


def _element_types(model: Any) -> dict[str, int]:
    """Element type by tensor name, by ONNX's own inference; tensors that it cannot type are left out."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    kinds = {item.name: int(item.data_type) for item in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        kinds[value.name] = int(value.type.tensor_type.elem_type)
    return kinds
