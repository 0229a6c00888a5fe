"""Opens TorchScript files and torch.export programs with torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.calls import RunNetwork
from handlers.networks.problems import Batch, corrupt, failed, first_line, runtime_missing


def open_torchscript(path: Path, output: str, threads: int) -> RunNetwork:
    """As :func:`handlers.networks.open_network`."""
    torch = _import_torch(path, threads)
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # torch raises RuntimeError, ValueError, OSError and pickle errors here
        raise corrupt(path, first_line(error)) from error
    return _runner(torch, module, path, output)


def open_exported(path: Path, output: str, threads: int) -> RunNetwork:
    """As :func:`handlers.networks.open_network`."""
    torch = _import_torch(path, threads)
    try:
        module = torch.export.load(str(path)).module()
    except Exception as error:  # as above
        raise corrupt(path, first_line(error)) from error
    return _runner(torch, module, path, output)


def _import_torch(path: Path, threads: int) -> Any:
    try:
        import torch
    except ImportError as error:
        raise runtime_missing("torch", path) from error
    if threads:
        torch.set_num_threads(threads)
    return torch


def _runner(torch: Any, module: Any, path: Path, output: str) -> RunNetwork:
    def run(pixels: Batch) -> npt.NDArray[np.float32]:
        try:
            with torch.inference_mode():
                result = module(torch.from_numpy(pixels))
            chosen = result[output] if isinstance(result, dict) else result
            array: npt.NDArray[np.float32] = chosen.numpy()
        except Exception as error:  # whatever the graph itself raises
            raise failed(path, pixels, first_line(error)) from error
        return array

    return run
