"""An ONNX file as a module, so that the gates have their reference: onnxruntime on the CPU, one session.

The graph must be a classifier as the others are: one input ``float[N, 3, H, W]``, normalised; one output
``[N, classes]``, or one that is chosen by name. Its batch may be fixed if it can really be opened; see onnx_batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export.sources.described import examples
from export.sources.location import Located
from export.sources.onnx_batch import open_batch, open_session, told
from slipway.errors import SourceInvalid

#: onnxruntime does not promise older ones ("only *guarantees* support for ... opset version 7 or above"), and Mul and
#: Add, which the grafted normalisation needs, broadcast otherwise there.
OLDEST_OPSET = 7
#: onnx.TensorProto's numbers of the input types that pixels can be cast to.
_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}
#: Serialised protobuf messages end here; such a graph could not be served from one file.
_MOST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class OnnxGraph:
    """The user's graph, ready to be run and grafted onto. ``model``: onnx.ModelProto with its tensors inside, one
    input, one output, a symbolic batch. ``input_type``: onnx.TensorProto number. ``batch``: how the batch was opened,
    None where it was open."""

    model: Any
    input_name: str
    input_type: int
    output_name: str
    opset: int
    batch: str | None


class OnnxModule(nn.Module):
    """Runs the graph of ``path``: float32[N, 3, H, W] -> float32[N, classes]. No tensor of it is a parameter here."""

    def __init__(self, path: Path, graph: OnnxGraph) -> None:
        super().__init__()
        self.path = path
        self.graph = graph
        self._session = open_session(graph.model)

    @property
    def weight_bytes(self) -> int:
        """Size of the graph with its tensors: it has no parameters that could be counted."""
        return int(self.graph.model.ByteSize())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """One run of the session; it copies, so there are no gradients and nothing to trace."""
        feed = images.detach().cpu().numpy().astype(_FLOATS[self.graph.input_type], copy=False)
        (logits,) = self._session.run([self.graph.output_name], {self.graph.input_name: feed})
        return torch.from_numpy(np.asarray(logits)).to(torch.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Without the session, which can be neither copied nor pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._session = open_session(self.graph.model)


def load_onnx(located: Located, output: str | None, input_size: tuple[int, int]) -> tuple[OnnxModule, str]:
    """The file as a module, and its description, e.g. ``ONNX file net.onnx, opset 17, output scores``.

    ``output``: name of the output that holds the logits, where there are several. ``input_size``: height and width.
    Raises SourceInvalid for everything that keeps the graph from being one as described above.
    """
    model = _read(located)
    opset = _opset(model, located)
    given = _input(model, located, input_size)
    chosen = _output(model, located, output)
    opened, how = open_batch(model, given, chosen, located.shown, input_size)
    graph = OnnxGraph(opened, given.name, int(given.type.tensor_type.elem_type), chosen, opset, how)
    try:
        module = OnnxModule(located.path, graph)
    except Exception as problem:  # onnxruntime's exceptions share no public base class
        raise SourceInvalid(
            f"{located.shown} cannot be opened by onnxruntime",
            observed=f"{told(problem)}; opset {opset}",
            expected="operators and an opset that the installed onnxruntime has",
            fix="export it again with an older opset, or without custom operators",
        ) from problem
    description = f"ONNX file {located.shown}, opset {opset}, output {chosen}"
    return module, description + (f", {how}" if how else "")


def _read(located: Located) -> Any:
    """The checked model with external tensors inside it."""
    import onnx
    from google.protobuf.message import DecodeError

    size = f"the file has {located.path.stat().st_size} bytes"
    try:
        model = onnx.load(str(located.path))
        if model.ByteSize() > _MOST_BYTES:
            raise SourceInvalid(f"{located.shown} is larger than one ONNX file can be", observed=size)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as problem:
        raise SourceInvalid(
            f"{located.shown} is not a whole, valid ONNX file",
            observed=f"{type(problem).__name__}: {told(problem)}; {size}",
            expected="an ONNX model, and its external data (if it has any) beside it",
            fix="copy or download it again; onnx.checker.check_model says the same about the original",
        ) from problem
    return model


def _opset(model: Any, located: Located) -> int:
    opset = next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise SourceInvalid(
            f"{located.shown} is of an opset that onnxruntime does not support",
            observed=f"opset {opset}",
            expected=f"opset {OLDEST_OPSET} or newer",
            fix="convert it: onnx.version_converter.convert_version(model, 17)",
        )
    return opset


def _input(model: Any, located: Located, input_size: tuple[int, int]) -> Any:
    """The only input that is no initialiser (old files list those too), checked: float[N, 3, H, W]."""
    tensors = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in tensors]
    if len(inputs) != 1:
        raise SourceInvalid(
            f"{located.shown} does not have one input",
            observed=f"inputs {', '.join(value.name for value in inputs) or 'none'}",
            expected="one input, the image",
        )
    (given,) = inputs
    kind = given.type.tensor_type
    shown = f"{given.name}: {_type_name(kind.elem_type)}[{', '.join(map(str, _shape(given)))}]"
    height, width = input_size
    _check_input_type(located, kind.elem_type, shown)
    _check_layout(located, _shape(given), shown)
    if any(isinstance(found, int) and found != size for found, size in zip(_shape(given)[2:], input_size, strict=True)):
        raise SourceInvalid(
            f"{located.shown} takes images of another size than the specification makes",
            observed=shown,
            expected=f"height {height}, width {width}",
            fix="correct input.height and input.width",
        )
    return given


def _check_input_type(located: Located, elem_type: int, shown: str) -> None:
    if elem_type in _FLOATS:
        return
    raise SourceInvalid(
        f"{located.shown} takes another type than normalised images have",
        observed=shown,
        expected="float32 (or float16, double): the normalisation is put before the graph",
        fix="export the network without its own conversion from pixels, and declare that as normalise",
    )


def _check_layout(located: Located, shape: list[int | str], shown: str) -> None:
    channels = shape[1] if len(shape) == 4 else None
    if channels == 3 or isinstance(channels, str):
        return  # a symbolic size is proved by running it
    if channels is not None and shape[3] == 3:
        problem, fix = "its channels last (NHWC)", "export it with channels first (tf2onnx: --inputs-as-nchw)"
    elif channels is not None:
        problem, fix = f"{channels} channels", "make the first layer take 3 channels; grey images have three equal ones"
    else:
        problem, fix = f"an input of rank {len(shape)}", "export it with a batch axis: [N, 3, height, width]"
    raise SourceInvalid(
        f"{located.shown} has {problem}", observed=shown, expected="[N, 3, height, width], channels first", fix=fix
    )


def _output(model: Any, located: Located, asked: str | None) -> str:
    names = [str(value.name) for value in model.graph.output]
    if asked is None and len(names) == 1:
        return names[0]
    if asked in names:
        return str(asked)
    if asked is None:
        raise SourceInvalid(
            f"{located.shown} has {len(names)} outputs",
            observed=", ".join(_described(value) for value in model.graph.output),
            expected="source.output: the name of the one that holds the logits",
        )
    raise SourceInvalid(
        f"{located.shown} has no output {asked!r}", expected=f"one of: {examples(asked, names, names[:5])}"
    )


def _described(value: Any) -> str:
    return f"{value.name} [{', '.join(map(str, _shape(value)))}]"


def _shape(value: Any) -> list[int | str]:
    """Sizes as numbers, symbolic axes by name, unnamed ones as a question mark."""
    axes = value.type.tensor_type.shape.dim
    return [int(axis.dim_value) if axis.dim_value > 0 else axis.dim_param or "?" for axis in axes]


def _type_name(elem_type: int) -> str:
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(elem_type)).lower()
