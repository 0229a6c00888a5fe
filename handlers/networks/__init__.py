"""Opens a network's artefact in this process: ONNX by onnxruntime, OpenVINO's IR by openvino, TorchScript and
torch.export programs by torch.

One file per runtime. Each imports its runtime itself, so a process that serves ONNX never pays for torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from handlers.calls import InProcess, RunNetwork
from handlers.memory import return_freed_memory
from handlers.networks import onnx, openvino, torch
from handlers.networks.problems import Batch
from slipway.contract import Contract
from slipway.errors import NetworkUnreadable

__all__ = ["Batch", "open_network", "open_networks"]

_OPENERS = {
    ".onnx": onnx.open_onnx,
    ".xml": openvino.open_ir,
    ".pt": torch.open_torchscript,
    ".pt2": torch.open_exported,
}


def open_network(path: Path, output: str = "logits", threads: int = 1) -> RunNetwork:
    """The network in ``path`` as a function ``uint8[N, H, W, 3] -> float32[N, ...]`` on the CPU.

    ``path``: ``.onnx``, ``.xml`` (OpenVINO IR, its weights in the ``.bin`` beside it), ``.pt`` (TorchScript) or
    ``.pt2`` (torch.export). ``output``: which output, by name, where the network has several. ``threads``: inside one
    operator; 0 leaves the runtime its own choice. torch knows only one number per process, so opening a torch network
    sets it for the process.

    Raises NetworkUnreadable (missing, corrupt, unknown kind, no such output) and EnvironmentUnfit (runtime not
    installed). The function raises NetworkFailed.
    """
    if path.suffix not in _OPENERS:
        raise NetworkUnreadable("unknown kind of network", observed=path.name, expected=", ".join(_OPENERS))
    if not path.is_file():
        raise NetworkUnreadable(
            "the network's file is missing",
            observed=str(path),
            fix="publish the version again, or set network_placement to separate where the network is not beside it",
        )
    run_network = _OPENERS[path.suffix](path, output, threads)
    return_freed_memory()
    return run_network


def open_networks(paths: Mapping[str, Path], contract: Contract, threads: int = 1) -> InProcess:
    """All networks of a contract, by its names; one file that several share is opened once. Raises as above."""
    networks = contract.networks()
    opened: dict[tuple[Path, str], RunNetwork] = {}
    for name, path in paths.items():
        key = (path, networks[name].output)
        if key not in opened:
            opened[key] = open_network(path, networks[name].output, threads)
    return InProcess({name: opened[path, networks[name].output] for name, path in paths.items()}, contract)
