"""Opens TorchScript files and torch.export programs with torch."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path, PurePosixPath
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
    """As :func:`handlers.networks.open_network`. A program that would be unpickled is refused as a corrupt one."""
    torch = _import_torch(path, threads)
    try:
        refuse_pickles(torch, path)
        module = torch.export.load(str(path)).module()
    except Exception as error:  # as above
        raise corrupt(path, first_line(error)) from error
    return _runner(torch, module, path, output)


class Pickled(ValueError):
    """An archive would be unpickled."""


def refuse_pickles(torch: Any, path: Path) -> None:
    """Raises Pickled for a program of which torch.export.load (torch 2.13) would read a pickle, which can run any
    code: entries marked ``use_pickle`` of whatever model in the archive, sample inputs that are more than tensors, and
    the form before ``archive_format``."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: PurePosixPath(name) for name in archive.namelist()}
        if not any(entry.name == "archive_format" for entry in entries.values()):
            raise Pickled("it has no archive_format: written by an older torch")
        for name, entry in entries.items():
            if entry.name.endswith("_config.json"):
                payloads = json.loads(archive.read(name)).get("config", {})
                if marked := [key for key, payload in payloads.items() if payload.get("use_pickle")]:
                    raise Pickled(f"{entry.name} marks pickled entries: {', '.join(marked[:5])}")
            if entry.parent.name == "sample_inputs":
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)


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
