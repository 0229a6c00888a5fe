"""What a module costs: parameters, bytes, multiply-adds and time, before and after."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.speed.entrants import torch_threads
from export.speed.figures import speed
from export.speed.turns import InProcess, take_turns
from export.wrap import eager_network
from slipway.errors import EnvironmentUnfit


@dataclass(frozen=True)
class Cost:
    """``params``: number of parameters; ``mb``: 1e6 bytes of parameters and buffers; ``gmac``: 1e9 multiply-adds of
    one image (torch_pruning.utils.count_ops_and_params); ``ms_per_image``: eager, batch 1, one thread, median."""

    params: int
    mb: float
    gmac: float
    ms_per_image: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def costs(modules: Mapping[str, nn.Module], pixels: NDArray[np.uint8]) -> dict[str, Cost]:
    """The cost of each wrapped module (export.wrap); ``pixels``: uint8[n, H, W, 3]. Timed in turns, so that what
    disturbs the machine meets all of them."""
    with torch_threads(1):
        contestants = {name: InProcess(eager_network(module), pixels, 1) for name, module in modules.items()}
        turns = take_turns(contestants, seconds=0.0)
    return {name: _cost(module, pixels, speed(turns[name]).ms_per_image) for name, module in modules.items()}


def _cost(module: nn.Module, pixels: NDArray[np.uint8], milliseconds: float) -> Cost:
    tensors = [*module.parameters(), *module.buffers()]
    return Cost(
        params=sum(item.numel() for item in module.parameters()),
        mb=sum(item.numel() * item.element_size() for item in tensors) / 1e6,
        gmac=multiply_adds(module, torch.from_numpy(np.ascontiguousarray(pixels[:1]))) / 1e9,
        ms_per_image=milliseconds,
    )


def multiply_adds(module: nn.Module, example: torch.Tensor) -> float:
    """Multiply-adds of one forward pass."""
    with torch.no_grad():
        found, _ = import_torch_pruning().utils.count_ops_and_params(module, example)
    return float(found)


def import_torch_pruning() -> Any:
    """The torch_pruning package; raises EnvironmentUnfit where it is not installed."""
    try:
        return importlib.import_module("torch_pruning")
    except ImportError as problem:
        raise EnvironmentUnfit(
            "torch-pruning is not installed here",
            fix="install the project's pinned requirements: make setup",
        ) from problem
