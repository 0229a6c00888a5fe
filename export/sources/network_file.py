"""A file that is a whole network: ONNX, TorchScript or torch.export, opened by what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from export.sources.exported_program import load_program
from export.sources.kind import WORDS, Kind, kind_of
from export.sources.location import Located
from export.sources.onnx_file import load_onnx
from export.sources.pickled_module import is_pickled_module, load_pickled
from export.sources.torchscript_file import load_torchscript
from slipway.errors import SourceInvalid

if TYPE_CHECKING:
    from slipway.spec import SourceSpec

#: What a key of the specification says that the file is; the others leave it to the file.
_SAID: dict[str, Kind] = {"onnx": "onnx", "torchscript": "torchscript", "torch_export": "torch-export"}


def load_network_file(source: SourceSpec, located: Located, input_size: tuple[int, int]) -> tuple[nn.Module, str]:
    """The network as a module in eval mode, and its description.

    Raises SourceInvalid for a file that is not what its key says, for weights without a builder, and for what the
    kinds themselves refuse.
    """
    kind = kind_of(located.path)
    said = _SAID.get(source.file_key or "")
    # an address need not end in .onnx, and a truncated archive has no entries: the key decides, the loader judges
    if said is not None and kind not in (said, "weights"):
        raise SourceInvalid(
            f"{located.shown} is not what source.{source.file_key} says",
            observed=WORDS[kind],
            expected=WORDS[said],
            fix=f"name it as source.{kind.replace('-', '_')}",
        )
    kind = said or kind
    if kind == "onnx":
        return load_onnx(located, source.output, input_size)
    if source.output is not None:
        raise SourceInvalid(
            "source.output chooses among the outputs of an ONNX file", observed=f"{located.shown} is {WORDS[kind]}"
        )
    if kind == "torchscript":
        return load_torchscript(located)
    if kind == "torch-export":
        return load_program(located)
    return _pickled(source, located)


def _pickled(source: SourceSpec, located: Located) -> tuple[nn.Module, str]:
    """A pickled module of MLflow's pytorch flavour, if the specification allows it by name."""
    if not is_pickled_module(located):
        raise SourceInvalid(
            f"{located.shown} is no whole network",
            observed=f"{located.path.name}: {WORDS['weights']}, so weights at best ({_head(located.path)})",
            expected=".onnx, TorchScript or torch.export; or a builder for its weights: factory, torchvision or timm",
            fix="add the builder that the weights belong to",
        )
    if not source.allow_pickle:
        raise SourceInvalid(
            f"{located.shown} is a pickled Python module, and unpickling runs the code that it names",
            expected="the onnx flavour, TorchScript, serialization_format='pt2', or a state_dict and a builder here",
            fix="log it so; or, where you trust everyone who can write to that registry, set source.allow_pickle: true",
        )
    return load_pickled(located)


def _head(path: Path) -> str:
    with path.open("rb") as stream:
        return f"it starts with {stream.read(16)!r}"
