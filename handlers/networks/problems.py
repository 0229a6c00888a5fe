"""The words in which every runtime's failures are reported: one line each, without stacks or graph listings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from slipway.errors import EnvironmentUnfit, NetworkFailed, NetworkUnreadable

Batch = npt.NDArray[np.uint8]


def runtime_missing(runtime: str, path: Path) -> EnvironmentUnfit:
    """The runtime that ``path`` needs is not installed."""
    return EnvironmentUnfit(
        f"{path.name} needs {runtime}, which is not installed here", fix=f"install {runtime} in this environment"
    )


def corrupt(path: Path, reason: str) -> NetworkUnreadable:
    """The runtime cannot read ``path``."""
    return NetworkUnreadable(
        "the network's file cannot be loaded",
        observed=f"{path}: {reason}",
        expected=f"a complete {path.suffix} file that this runtime can read",
        fix="verify the repository; publish the version again",
    )


def other_tensors(path: Path, inputs: list[str], outputs: list[str], output: str) -> NetworkUnreadable:
    """The network has not one input, or not the output that is asked for."""
    return NetworkUnreadable(
        f"{path.name} does not have the inputs and outputs of its contract",
        observed=f"inputs {inputs}, outputs {outputs}",
        expected=f"one input, an output {output!r}",
    )


def failed(path: Path, pixels: Batch, reason: str) -> NetworkFailed:
    """The network ran and failed."""
    return NetworkFailed(f"the network {path.name} failed", observed=f"{reason} on {pixels.dtype}{list(pixels.shape)}")


def first_line(error: Exception) -> str:
    """Runtimes append graph listings and C++ stacks, which belong in no answer."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
