"""Opens a network's artefact in this process: ONNX by onnxruntime, TorchScript and torch.export programs by torch.

Each opener imports its runtime itself, so a process that serves ONNX never pays for torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.memory import return_freed_memory
from handlers.pipeline import RunNetwork
from slipway.errors import EnvironmentUnfit, NetworkFailed, NetworkUnreadable

Batch = npt.NDArray[np.uint8]


def open_network(path: Path, output: str = "logits", threads: int = 1) -> RunNetwork:
    """The network in ``path`` as a function ``uint8[N, H, W, 3] -> float32[N, ...]`` on the CPU.

    ``path``: ``.onnx``, ``.pt`` (TorchScript) or ``.pt2`` (torch.export). ``output``: which output, by name, where the
    network has several. ``threads``: inside one operator; 0 leaves the runtime its own choice. torch knows only one
    number per process, so opening a torch network sets it for the process.

    Raises NetworkUnreadable (missing, corrupt, unknown kind, no such output) and EnvironmentUnfit (runtime not
    installed). The function raises NetworkFailed.
    """
    openers = {".onnx": _open_onnx, ".pt": _open_torchscript, ".pt2": _open_exported}
    if path.suffix not in openers:
        raise NetworkUnreadable("unknown kind of network", observed=path.name, expected=", ".join(openers))
    if not path.is_file():
        raise NetworkUnreadable(
            "the network's file is missing",
            observed=str(path),
            fix="publish the version again, or set network_placement to separate where the network is not beside it",
        )
    run_network = openers[path.suffix](path, output, threads)
    return_freed_memory()
    return run_network


def _open_onnx(path: Path, output: str, threads: int) -> RunNetwork:
    try:
        import onnxruntime
    except ImportError as error:
        raise _runtime_missing("onnxruntime", path) from error
    try:
        session = onnxruntime.InferenceSession(
            str(path), _session_options(onnxruntime, threads), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise _corrupt(path, error) from error
    inputs, outputs = [value.name for value in session.get_inputs()], [value.name for value in session.get_outputs()]
    if len(inputs) != 1 or output not in outputs:
        raise NetworkUnreadable(
            f"{path.name} does not have the inputs and outputs of its contract",
            observed=f"inputs {inputs}, outputs {outputs}",
            expected=f"one input, an output {output!r}",
        )

    def run(pixels: Batch) -> npt.NDArray[np.float32]:
        try:
            result: npt.NDArray[np.float32] = session.run([output], {inputs[0]: pixels})[0]
        except Exception as error:  # as above
            raise _failed(path, pixels, error) from error
        return result

    return run


def _session_options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without the arena and its pattern a ResNet-18 process keeps 60 MB less after batches of 1 to 8, at equal CPU time.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Spinning threads burn the core that another instance needs: 21-32 against 19 CPU-ms per ResNet-18 image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _open_torchscript(path: Path, output: str, threads: int) -> RunNetwork:
    torch = _import_torch(path, threads)
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # torch raises RuntimeError, ValueError, OSError and pickle errors here
        raise _corrupt(path, error) from error
    return _torch_runner(torch, module, path, output)


def _open_exported(path: Path, output: str, threads: int) -> RunNetwork:
    torch = _import_torch(path, threads)
    try:
        module = torch.export.load(str(path)).module()
    except Exception as error:  # as above
        raise _corrupt(path, error) from error
    return _torch_runner(torch, module, path, output)


def _import_torch(path: Path, threads: int) -> Any:
    try:
        import torch
    except ImportError as error:
        raise _runtime_missing("torch", path) from error
    if threads:
        torch.set_num_threads(threads)
    return torch


def _torch_runner(torch: Any, module: Any, path: Path, output: str) -> RunNetwork:
    def run(pixels: Batch) -> npt.NDArray[np.float32]:
        try:
            with torch.inference_mode():
                result = module(torch.from_numpy(pixels))
            chosen = result[output] if isinstance(result, dict) else result
            array: npt.NDArray[np.float32] = chosen.numpy()
        except Exception as error:  # whatever the graph itself raises
            raise _failed(path, pixels, error) from error
        return array

    return run


def _runtime_missing(runtime: str, path: Path) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"{path.name} needs {runtime}, which is not installed here", fix=f"install {runtime} in this environment"
    )


def _corrupt(path: Path, error: Exception) -> NetworkUnreadable:
    return NetworkUnreadable(
        "the network's file cannot be loaded",
        observed=f"{path}: {_first_line(error)}",
        expected=f"a complete {path.suffix} file that this runtime can read",
        fix="verify the repository; publish the version again",
    )


def _failed(path: Path, pixels: Batch, error: Exception) -> NetworkFailed:
    return NetworkFailed(
        f"the network {path.name} failed", observed=f"{_first_line(error)} on {pixels.dtype}{list(pixels.shape)}"
    )


def _first_line(error: Exception) -> str:
    """Runtimes append graph listings and C++ stacks, which belong in no answer."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
