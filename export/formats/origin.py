"""What a module came from, for formats that can be made of torch code only.

A source may be a file that is a whole network; its module then runs the file, and has no code that torch could trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from slipway.errors import ExportFailed, SourceInvalid

if TYPE_CHECKING:
    import torch

Origin = Literal["onnx", "torchscript", "torch"]

#: Formats that start from torch code; every other one starts from the ONNX graph.
FROM_TORCH = ("torchscript", "torch-export", "aot-inductor")


def origin(module: torch.nn.Module) -> Origin:
    """``onnx`` and ``torchscript`` for a source that is such a file, wrapped or not; ``torch`` for all others."""
    import torch

    from export.sources.onnx_file import OnnxModule

    inner = getattr(module, "module", module)
    if isinstance(inner, torch.jit.ScriptModule):
        return "torchscript"
    return "onnx" if isinstance(inner, OnnxModule) else "torch"


def require_torch(format_name: str, module: torch.nn.Module) -> None:
    """Raises ExportFailed for a module of an ONNX file: there is no torch code to export."""
    if origin(module) == "onnx":
        raise ExportFailed(
            f"{format_name} cannot be made of an ONNX source: it holds a graph, not torch code",
            expected="a builder, a TorchScript or a torch.export file as source",
            fix=f"remove {format_name} from formats (openvino and the onnx formats start from the graph)",
        )


def check_formats(module: torch.nn.Module, formats: Sequence[str]) -> None:
    """The same for all formats at once, before the first of them is exported. Raises SourceInvalid."""
    wrong = [name for name in formats if name in FROM_TORCH]
    if wrong and origin(module) == "onnx":
        raise SourceInvalid(
            f"an ONNX source cannot give {', '.join(wrong)}: it holds a graph, not torch code",
            observed=f"formats: {', '.join(formats)}",
            expected=f"formats such as {', '.join(name for name in formats if name not in wrong) or 'onnx, openvino'}",
            fix=f"remove {', '.join(wrong)} from formats",
        )


def exportable(module: torch.nn.Module, example: torch.Tensor) -> torch.nn.Module:
    """The module itself; for a TorchScript source one of torch operators, which torch.export can take.

    By torch's own converter (``torch._export.converter``, torch 2.13), checked against the module on ``example``:
    torch.export cannot look into TorchScript (it fixes the batch, or fails). Raises ExportFailed when the converter
    has no translation, or translates wrongly.
    """
    if origin(module) != "torchscript":
        return module
    import torch
    from torch._export.converter import TS2EPConverter

    with torch.no_grad():
        traced = torch.jit.trace(module, (example,), check_trace=False)  # type: ignore[no-untyped-call]
        try:
            converted = TS2EPConverter(traced, (example,)).convert().module()
            apart = float((converted(example) - module(example)).abs().max())
        except Exception as problem:  # the converter raises whatever its passes raise
            raise ExportFailed(
                "torch.export cannot take this TorchScript source",
                observed=f"{type(problem).__name__}: {(str(problem).strip().splitlines() or ['no message'])[0][:300]}",
                fix="remove torch-export and aot-inductor from formats, or give the module's code as a factory",
            ) from problem
    if apart > 1e-4 * float(module(example).abs().max()):
        raise ExportFailed(
            "torch's converter changed this TorchScript source",
            observed=f"logits differ by {apart:.3g}",
            fix="remove torch-export and aot-inductor from formats, or give the module's code as a factory",
        )
    return _named(converted)


def _named(converted: torch.nn.Module) -> torch.nn.Module:
    """The converter calls its input otherwise; dynamic shapes are declared by name."""
    import torch

    class Converted(torch.nn.Module):
        """Takes ``pixels`` by that name."""

        def __init__(self) -> None:
            super().__init__()
            self.converted = converted

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.converted(pixels)
            return logits

    return Converted()
