"""OpenVINO IR in fp32: ``model.xml`` and ``model.bin``, for Triton's openvino backend and the fused placement.

Made from the run's ONNX file. Weights stay in fp32 (``save_model`` would halve them unasked), and the file says itself
that it is to be computed in f32: see handlers.networks.openvino.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from export.formats.base import INPUT_NAME, OUTPUT_NAME, ExportOptions, FileFormat
from export.formats.onnx import base_onnx, open_class_axis
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    import torch

Hint = Literal["f32", "bf16"]


class OpenVino(FileFormat):
    """See the module's text."""

    name = "openvino"
    file_name = "model.xml"
    summary = "fp32 on any CPU, by OpenVINO"
    companions = ("model.bin",)
    packages: tuple[str, ...] = ("torch", "onnx", "onnxscript", "openvino")
    #: What the plugin is told to compute in.
    hint: Hint = "f32"

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Converts the ONNX file and checks what was written."""
        model, details = self.convert(base_onnx(module, example, options), options)
        save(model, path, self.hint)
        return {**details, "openvino": package_version(), "computed_in": self.hint}

    def convert(self, source: Path, options: ExportOptions) -> tuple[Any, dict[str, Any]]:
        """The openvino.Model of an ONNX file, and what there is to say of it."""
        return read_onnx(source), {}


def read_onnx(source: Path) -> Any:
    """The openvino.Model of an ONNX file, its class axis opened."""
    import onnx

    from handlers.networks.openvino import import_openvino

    network = onnx.load(str(source))
    open_class_axis(network)
    return import_openvino().Core().read_model(io.BytesIO(network.SerializeToString()))


def package_version() -> str:
    """Version of the openvino package."""
    from importlib.metadata import version

    return version("openvino")


def save(model: Any, path: Path, hint: Hint) -> None:
    """Writes ``path`` and the weights beside it; raises ExportFailed when the file is not what will be served."""
    from handlers.networks.openvino import PRECISION_INFO, import_openvino

    openvino = import_openvino()
    model.set_rt_info(hint, list(PRECISION_INFO))
    openvino.save_model(model, str(path), compress_to_fp16=False)
    check(openvino.Core().read_model(str(path)), path.name)


def check(model: Any, name: str) -> None:
    """Raises ExportFailed unless ``model`` (openvino.Model) is ``uint8[?, H, W, 3] -> float32[?, ?]`` by its names.

    The class axis must be dynamic, as in ONNX (export.formats.onnx.open_class_axis): Triton's native openvino backend
    compares output dimensions exactly, and -1 in config.pbtxt is not a fixed size (``CompareDimsSupported``). Boxes and
    maps have their axes as they are.
    """
    found = {
        f"{port.any_name} {port.element_type.get_type_name()}{_dims(port.partial_shape)}"
        for port in (*model.inputs, *model.outputs)
    }
    spatial = _dims(model.inputs[0].partial_shape)[1:-1]
    rest = _dims(model.outputs[0].partial_shape)[1:]
    expected = {f"{INPUT_NAME} u8{[-1, *spatial, 3]}", f"{OUTPUT_NAME} f32{[-1, *(rest if len(rest) > 1 else [-1])]}"}
    if found != expected:
        raise ExportFailed(
            f"openvino: {name} has other inputs or outputs than it will be served with",
            observed=", ".join(sorted(found)),
            expected=", ".join(sorted(expected)),
        )


def _dims(shape: Any) -> list[int]:
    return [-1 if axis.is_dynamic else axis.get_length() for axis in shape]
