"""The export formats by name, and which of them a model server can serve."""

from __future__ import annotations

from typing import Literal

FormatName = Literal[
    "torchscript",
    "torch-export",
    "aot-inductor",
    "onnx",
    "onnx-fp16",
    "onnx-int8",
    "onnx-int8-trt",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "tensorrt",
    "tensorrt-fp16",
    "tensorrt-bf16",
    "tensorrt-int8",
]
#: Formats that a model server can serve: the artefact's file name. The network's model is ``<model>.<format>``.
NETWORK_FILES: dict[str, str] = {
    "onnx": "model.onnx",
    "torchscript": "model.pt",
}
