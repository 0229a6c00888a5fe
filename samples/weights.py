"""Writes weights as safetensors, in one step."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save
from torch import nn

from slipway.files import write_atomically


def write_weights(module: nn.Module, out: Path) -> None:
    """Replaces ``out`` by the module's state_dict; equal weights give equal bytes (there is no metadata in it)."""
    out.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    write_atomically(out, save(state))
