"""Taps torch modules by submodule: the eager model, and a torch.export program unflattened into its modules.

A module's answer is the tensor of the last ONNX node that carries its path. A module that is called several times (one
``self.relu`` for a whole block) is followed call by call, where the nodes of its path divide evenly among the calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.layers.graph import Frame, Layer
from export.layers.taps import Tap, Values

_Calls = dict[str, list[torch.Tensor]]
#: The wrapper's attribute that holds the trained module: paths in the frame start behind it.
_WRAPPED = "module."


def module_tap(format_name: str, module: nn.Module, frame: Frame) -> Tap:
    """``module``: wrapped (export.wrap), uint8[N, H, W, 3] in; its leaf modules are followed, and its output."""
    groups: dict[str, list[Layer]] = {}
    for layer in frame.layers:
        groups.setdefault(layer.module, []).append(layer)

    def run(pixels: NDArray[np.uint8]) -> Values:
        with torch.inference_mode(), _recorded(module) as calls:
            output = module(torch.from_numpy(np.ascontiguousarray(pixels)))
        values = {
            layer.tensor: tensor.detach().float().numpy()
            for path, layers in groups.items()
            for layer, tensor in _paired(layers, calls.get(path, []))
        }
        return {**values, frame.output: output.detach().float().numpy()}

    return Tap(format_name, run)


def exported_tap(format_name: str, path: Path, frame: Frame) -> Tap:
    """Opens a ``.pt2`` program, after its check for pickles, with the modules that it was traced from."""
    from export.formats.torch_export import refuse_pickles

    refuse_pickles(path)
    return module_tap(format_name, torch.export.unflatten(torch.export.load(str(path))), frame)


def _paired(layers: list[Layer], calls: list[torch.Tensor]) -> Iterator[tuple[Layer, torch.Tensor]]:
    """The last layer of each call's share, with that call's answer."""
    if not calls or len(layers) % len(calls):
        return
    share = len(layers) // len(calls)
    for number, tensor in enumerate(calls, start=1):
        yield layers[number * share - 1], tensor


@contextmanager
def _recorded(module: nn.Module) -> Iterator[_Calls]:
    """The answers of every leaf module within the block, by its path in the trained module, call by call."""
    calls: _Calls = {}
    handles = [
        # unflattening gives the second call of a module a name of its own: relu, relu@1, ...
        leaf.register_forward_hook(partial(_record, calls, name.partition("@")[0].removeprefix(_WRAPPED)))
        for name, leaf in module.named_modules()
        if name and not list(leaf.children())
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _record(calls: _Calls, path: str, _module: nn.Module, _inputs: object, output: object) -> None:
    if isinstance(output, torch.Tensor):
        calls.setdefault(path, []).append(output.clone())  # an in-place ReLU writes over what it reads
