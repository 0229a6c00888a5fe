"""Calls the functions that a specification names: the user's code, under torch's own random state."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.user_code import importable
from slipway.errors import OptimiseFailed


def call(function: str, root: Path, seed: int, *values: object, **arguments: Any) -> object:
    """``package.module:function(*values, **arguments)``, gradients on, torch's random state at ``seed`` and put back.

    The package may be installed or lie below ``root``. Raises OptimiseFailed when there is no such function, and with
    whatever it raises."""
    with importable(root), seeded(seed), torch.enable_grad():
        found = _find(function)
        torch.manual_seed(seed)  # importing may have drawn from it
        try:
            return found(*values, **arguments)
        except Exception as problem:  # user code: whatever it raises is the finding
            raise OptimiseFailed(
                f"{function} raised {type(problem).__name__}",
                observed=str(problem) or "no message",
                fix="correct the function, or its arguments in the specification",
            ) from problem


def call_for_module(function: str, root: Path, seed: int, *values: object, **arguments: Any) -> nn.Module:
    """As :func:`call`, for one that must return a module."""
    module = call(function, root, seed, *values, **arguments)
    if not isinstance(module, nn.Module):
        raise OptimiseFailed(
            f"{function} returned no module", observed=type(module).__name__, expected="the trained torch.nn.Module"
        )
    return module


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch's random state starts at ``seed``; afterwards it is what it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def trainable(module: nn.Module) -> nn.Module:
    """The module in train mode, every parameter with its gradient: loaded modules are frozen."""
    return module.train().requires_grad_(True)


def frozen(module: nn.Module) -> nn.Module:
    """The module as a loaded one is: on the CPU, float32, eval mode, without gradients."""
    return module.to("cpu", torch.float32).eval().requires_grad_(False)


def _find(function: str) -> Any:
    module_name, _, name = function.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:  # importing runs user code
        raise OptimiseFailed(
            f"optimise: {module_name} cannot be imported",
            observed=f"{type(problem).__name__}: {problem}",
            expected="a module that is installed, or lies in the project's root",
        ) from problem
    found = getattr(module, name, None)
    if not callable(found):
        raise OptimiseFailed(f"optimise: {module_name} has no function {name!r}", expected=function)
    return found
