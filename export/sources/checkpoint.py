"""Reads weights from a file: safetensors, or what torch.save wrote, unpickled with ``weights_only=True`` only."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from slipway.errors import SourceInvalid

#: Under which key training scripts keep the state_dict (Lightning, timm, MMEngine, torchvision references).
_ENVELOPES = ("state_dict", "model_state_dict", "model")
#: Put before every name by DistributedDataParallel and by torch.compile.
_PREFIXES = ("module.", "_orig_mod.")


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, on the CPU; envelopes and wrappers' prefixes are removed.

    The format is told by the content, because a URL need not end in a suffix. Raises SourceInvalid for a file that is
    neither format, that holds pickled code, or whose entries are not tensors.
    """
    state = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    for key in _ENVELOPES:
        inner = state.get(key)
        if isinstance(inner, Mapping):
            state = inner
            break
    tensors: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise SourceInvalid(
                f"{path.name}: entry {name!r} is not a tensor",
                observed=type(value).__name__,
                expected=f"a state_dict, at the top or under one of {', '.join(_ENVELOPES)}",
                fix="save module.state_dict() alone",
            )
        tensors[name] = value
    if not tensors:
        raise SourceInvalid(f"{path.name} holds no tensors", expected="a state_dict")
    return _without_prefixes(tensors)


def _is_safetensors(path: Path) -> bool:
    """A safetensors file starts with the header's length (uint64, little endian) and its JSON: a brace."""
    with path.open("rb") as stream:
        return stream.read(9)[8:9] == b"{" or path.suffix == ".safetensors"


def _read_safetensors(path: Path) -> Mapping[object, object]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as problem:
        raise SourceInvalid(f"{path.name} is not a whole safetensors file", observed=problem) from problem


def _read_torch(path: Path) -> Mapping[object, object]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        raise SourceInvalid(
            f"{path.name} holds pickled Python objects, or is no checkpoint at all; it is not loaded",
            observed=f"it starts with {_head(path)!r}",
            expected="a state_dict of tensors: .safetensors, or torch.save(module.state_dict(), ...)",
            fix="where you trust the file, load it yourself and save its state_dict as safetensors",
        ) from problem
    except Exception as problem:  # torch.load raises EOFError, RuntimeError, ValueError, KeyError for damaged files
        raise SourceInvalid(
            f"{path.name} is not a readable checkpoint",
            observed=f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else 'no message'}",
            expected="a .safetensors file or a state_dict written by torch.save",
        ) from problem
    if not isinstance(state, Mapping):
        raise SourceInvalid(
            f"{path.name} holds no state_dict", observed=type(state).__name__, expected="tensors by name"
        )
    return state


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(16)


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Removes a wrapper's prefix while EVERY name carries it: then no module of the user's own can be meant."""
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors
