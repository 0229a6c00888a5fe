"""Builds a module by calling a Python factory, ``package.module:function``, with the specification's arguments."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from export.sources.described import call
from export.user_code import importable
from slipway.errors import SourceInvalid


def build_from_factory(factory: str, arguments: dict[str, Any], root: Path) -> tuple[nn.Module, str]:
    """Returns the module and its description, for example ``factory samples.digits:build(width=16)``.

    The package may be installed or lie under ``root``. Raises SourceInvalid when it cannot be imported, when the
    function does not exist or raises, and when it returns something else than a ``torch.nn.Module``.
    """
    description = call(f"factory {factory}", arguments)
    with importable(root):
        function = _find(factory)
        try:
            module = function(**arguments)
        except Exception as problem:  # user code: whatever it raises is the finding
            raise SourceInvalid(
                f"{description} raised {type(problem).__name__}",
                observed=str(problem) or "no message",
                expected="a torch.nn.Module",
                fix="correct source.arguments, or the factory",
            ) from problem
    if not isinstance(module, nn.Module):
        raise SourceInvalid(
            f"{description} returned no module", observed=type(module).__name__, expected="a torch.nn.Module"
        )
    return module, description


def _find(factory: str) -> Callable[..., object]:
    module_name, _, function_name = factory.partition(":")
    if not module_name or not function_name:
        raise SourceInvalid("source.factory has the wrong form", observed=factory, expected="package.module:function")
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:  # importing runs user code
        raise SourceInvalid(
            f"source.factory: {module_name} cannot be imported",
            observed=f"{type(problem).__name__}: {problem}",
            expected="a module that is installed, or lies in the project's root",
        ) from problem
    function = getattr(module, function_name, None)
    if not callable(function):
        near = difflib.get_close_matches(function_name, [name for name in dir(module) if name[0] != "_"], n=3)
        raise SourceInvalid(
            f"source.factory: {module_name} has no function {function_name!r}",
            expected=f"one of its functions{', for example ' + ', '.join(near) if near else ''}",
        )
    return function  # type: ignore[no-any-return]  # callable() narrows to object's own __call__
