"""Every export format by name: the one place to add another."""

from __future__ import annotations

from export.formats.base import Format
from export.formats.onnx import Onnx
from export.formats.torch_export import TorchExport
from export.formats.torchscript import TorchScript
from slipway.errors import FormatUnavailable

_FORMATS: tuple[Format, ...] = (Onnx(), TorchScript(), TorchExport())


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
