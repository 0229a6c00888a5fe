"""Which layers a runtime runs as one: nodes as written in the file, kernels as the runtime runs them.

Batch normalisation disappears when a file is written (exporters and ``torch.jit.freeze`` fold it into the layer
before it); activations and additions disappear when a runtime opens the file. Read from each runtime's own account:
onnxruntime's optimised model, OpenVINO's runtime model, TorchScript's last executed graph.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import root_cause
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    from torch import nn

    from export.formats.base import Artifact

#: How the runtimes call what can be fused into the layer before it.
_ACTIVATIONS = frozenset(
    ("relu", "relu6", "leakyrelu", "clip", "clamp", "sigmoid", "hardsigmoid", "hardswish", "gelu", "silu", "swish")
)
_ADDITIONS = frozenset(("add", "add_", "eltwise", "qlinearadd"))
_NORMS = frozenset(("batchnormalization", "batchnorminference", "batch_norm"))
#: No computation of a layer: constants, the network's ends, and shapes.
_SILENT = frozenset(("constant", "const", "input", "parameter", "output", "result", "listconstruct"))


@dataclass(frozen=True)
class Fusion:
    """One artefact. ``written``: nodes of the file by op; ``run``: kernels by name; ``batch_norms``, ``activations``,
    ``additions``: how many there are before (in the trained module, in the file, in the file) and how many are left
    (in the file, running by themselves, running by themselves); ``together``: nodes that run as one kernel, where the
    runtime names them."""

    format: str
    written: dict[str, int]
    run: dict[str, int]
    batch_norms: tuple[int, int]
    activations: tuple[int, int]
    additions: tuple[int, int]
    together: tuple[tuple[str, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the totals ``nodes`` and ``kernels``."""
        totals = {"nodes": sum(self.written.values()), "kernels": sum(self.run.values())}
        return {**asdict(self), **totals}


@dataclass(frozen=True)
class _Account:
    written: Counter[str]
    run: Counter[str]
    together: tuple[tuple[str, ...], ...] = ()


def fusion(artifact: Artifact, module: nn.Module, pixels: NDArray[np.uint8]) -> Fusion | None:
    """What the runtime of an artefact fuses; None for formats whose runtime does not tell (torch-export runs its graph
    as written, AOTInductor compiles it whole, a TensorRT plan needs its GPU).

    ``module``: the wrapped module; ``pixels``: uint8[n, H, W, 3]. Raises ExportFailed when it cannot be opened."""
    readers = {".onnx": _onnx, ".xml": _openvino, ".pt": _torchscript}
    reader = readers.get(artifact.path.suffix)
    if reader is None:
        return None
    try:
        account = reader(artifact.path, pixels)
    except Exception as problem:  # each runtime has its own exceptions for a file that it cannot read
        raise ExportFailed(f"{artifact.format}: its runtime does not open it: {root_cause(problem)}") from problem
    written, run = account.written, account.run
    return Fusion(
        artifact.format,
        dict(written),
        dict(run),
        (_batch_norms(module), _count(written, _NORMS)),
        (_count(written, _ACTIVATIONS), _count(run, _ACTIVATIONS)),
        (_count(written, _ADDITIONS), _count(run, _ADDITIONS)),
        account.together,
    )


def _batch_norms(module: nn.Module) -> int:
    from torch.nn.modules.batchnorm import _BatchNorm

    return sum(isinstance(layer, _BatchNorm) for layer in module.modules())


def _count(ops: Counter[str], kinds: frozenset[str]) -> int:
    return sum(number for name, number in ops.items() if name.rpartition(".")[2].lower() in kinds)


def _tally(names: Iterable[str]) -> Counter[str]:
    return Counter(name for name in names if name.lower() not in _SILENT)


def _onnx(path: Path, pixels: NDArray[np.uint8]) -> _Account:
    import onnx
    import onnxruntime

    written = onnx.load(str(path))
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # it warns that such a file is for this machine only; it is read and removed
        options.optimized_model_filepath = str(optimised)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        run = onnx.load(str(optimised))
    return _Account(_tally(map(_onnx_name, written.graph.node)), _tally(map(_onnx_name, run.graph.node)))


def _onnx_name(node: Any) -> str:
    """``nchwc.Conv+Relu``: the short domain, the op, and the activation that it does as well."""
    domain = node.domain.rpartition(".")[2]
    activation = next((item.s.decode() for item in node.attribute if item.name == "activation" and item.s), "")
    name = f"{domain}.{node.op_type}" if domain else str(node.op_type)
    return f"{name}+{activation}" if activation else name


def _openvino(path: Path, pixels: NDArray[np.uint8]) -> _Account:
    from handlers.networks.openvino import compile_options, import_openvino

    core = import_openvino().Core()
    model = core.read_model(str(path))
    written = _tally(operation.get_type_name() for operation in model.get_ordered_ops())
    kernels: list[str] = []
    together: list[tuple[str, ...]] = []
    compiled = core.compile_model(model, "CPU", compile_options(model, 0))
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        kernels.append(str(facts["layerType"].value))
        names = tuple(name for name in str(facts["originalLayersNames"].value).split(",") if name)
        if len(names) > 1:
            together.append(names)
    return _Account(written, _tally(kernels), tuple(together))


def _torchscript(path: Path, pixels: NDArray[np.uint8]) -> _Account:
    import torch

    script = torch.jit.load(str(path)).eval()  # type: ignore[no-untyped-call]
    written = _tally(node.kind().partition("::")[2] for node in script.inlined_graph.nodes())
    with torch.inference_mode():
        for _ in range(3):  # the profiling executor optimises after it has seen some runs
            script(torch.from_numpy(np.ascontiguousarray(pixels[:1])))
        executed = torch._C._last_executed_optimized_graph()
    return _Account(written, _tally(node.kind().partition("::")[2] for node in executed.nodes()))
