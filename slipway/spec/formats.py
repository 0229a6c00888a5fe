"""The export formats by name, and which of them a model server can serve."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal, cast, get_args

from slipway.errors import SpecInvalid

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
    "onnx-fp16": "model.onnx",
    "onnx-int8": "model.onnx",
    "torchscript": "model.pt",
    "openvino": "model.xml",
    "openvino-bf16": "model.xml",
    "openvino-int8": "model.xml",
    # names the plan for each GPU, which lie beside it: see export/tensorrt/plans.py
    "tensorrt": "plans.json",
    "tensorrt-fp16": "plans.json",
    "tensorrt-bf16": "plans.json",
    "tensorrt-int8": "plans.json",
}


def format_names(names: Iterable[str]) -> tuple[FormatName, ...]:
    """The same names, checked, each once; raises SpecInvalid for one that is no format."""
    known: tuple[str, ...] = get_args(FormatName)
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise SpecInvalid(
                f"there is no format {name!r}" + (f"; did you mean {near[0]}?" if near else ""),
                expected=f"one of {', '.join(known)}",
                fix="`slipway doctor` lists them",
            )
    return cast("tuple[FormatName, ...]", found)
