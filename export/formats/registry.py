"""Every export format by name: the one place to add another."""

from __future__ import annotations

from export.formats.aot_inductor import AotInductor
from export.formats.base import Format
from export.formats.onnx import Onnx
from export.formats.onnx_fp16 import OnnxFp16
from export.formats.onnx_int8 import OnnxInt8
from export.formats.onnx_int8_trt import OnnxInt8Trt
from export.formats.openvino import OpenVino
from export.formats.openvino_bf16 import OpenVinoBf16
from export.formats.openvino_int8 import OpenVinoInt8
from export.formats.tensorrt import FORMATS as TENSORRT_FORMATS
from export.formats.torch_export import TorchExport
from export.formats.torchscript import TorchScript
from slipway.errors import FormatUnavailable

_FORMATS: tuple[Format, ...] = (
    TorchScript(),
    TorchExport(),
    AotInductor(),
    Onnx(),
    OnnxFp16(),
    OnnxInt8(),
    OnnxInt8Trt(),
    OpenVino(),
    OpenVinoBf16(),
    OpenVinoInt8(),
    *TENSORRT_FORMATS,
)


def all_formats() -> tuple[Format, ...]:
    """Every format, in the order of the documentation."""
    return _FORMATS


def find_format(name: str) -> Format:
    """A format by name that can run here; raises FormatUnavailable with what is missing."""
    known = {item.name: item for item in _FORMATS}
    if name not in known:
        raise FormatUnavailable(f"there is no export format {name!r}", expected=", ".join(known))
    if (reason := known[name].available()) is not None:
        raise FormatUnavailable(f"{name} cannot be exported here", observed=reason)
    return known[name]
