"""What a specification names of the training: its transform, and its labels."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from export.user_code import importable
from slipway.errors import SpecInvalid

#: A picture in mode RGB to float32[3, H, W], normalised as in the training.
Transform = Callable[[Image.Image], npt.NDArray[np.float32]]


def load_transform(name: str, arguments: dict[str, Any], root: Path) -> Transform:
    """The training's transform by ``package.module:function``.

    What can be called without arguments, or has ``arguments``, makes the transform; anything else is it. It may return
    a torch tensor or an array, with or without a batch axis of one. The package may be installed or lie under ``root``.
    torchvision can be imported by it: see export.sources.torchvision_shim. Raises SpecInvalid when there is no such
    function and when making the transform fails.
    """
    key = "gates.preprocessing.transform"
    with importable(root):
        found = _find(name, key, root)
        if arguments or _makes_one(found):
            try:
                found = found(**arguments)
            except Exception as problem:  # the user's code: whatever it raises is the finding
                raise SpecInvalid(f"{key}: {name} raised {type(problem).__name__}", observed=str(problem)) from problem
    if not callable(found):
        raise SpecInvalid(
            f"{key}: {name} gives nothing that can be called",
            observed=type(found).__name__,
            expected="a transform: a picture in RGB to float[3, H, W]",
        )
    return lambda picture: _array(found(picture))


def load_labels(name: str, root: Path) -> tuple[str, ...]:
    """The training's labels: a file with one per line, or ``package.module:NAME``, a sequence or what returns one.

    Raises SpecInvalid."""
    key = "gates.preprocessing.labels"
    path = root / name
    if ":" not in name or path.is_file():
        try:
            return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as problem:
            raise SpecInvalid(f"{key}: {path} cannot be read", observed=problem) from problem
    with importable(root):
        found = _find(name, key, root)
        if callable(found):
            try:
                found = found()
            except Exception as problem:  # the user's code, as above
                raise SpecInvalid(f"{key}: {name} raised {type(problem).__name__}", observed=str(problem)) from problem
    if isinstance(found, dict):  # class_to_idx of torchvision's ImageFolder: name -> index
        found = sorted(found, key=lambda label: found[label])
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise SpecInvalid(f"{key}: {name} is no list of labels", observed=type(found).__name__)
    return tuple(str(label) for label in found)


def digest_of(labels: Sequence[str]) -> str:
    """sha256 (hex) of labels joined by line feeds, UTF-8."""
    return hashlib.sha256("\n".join(labels).encode()).hexdigest()


def module_file(name: str, root: Path) -> Path | None:
    """The file of the module in ``package.module:NAME``, found without importing it; None where there is none."""
    module = name.partition(":")[0]
    local = root.joinpath(*module.split("."))
    for path in (local.with_suffix(".py"), local / "__init__.py"):
        if path.is_file():
            return path
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None  # load_transform reports it, in its own words
    return Path(found.origin) if found and found.origin else None


def _find(name: str, key: str, root: Path) -> Any:
    module_name, _, attribute = name.partition(":")
    _prepare_torchvision()
    try:
        module = importlib.import_module(module_name)
    except Exception as problem:  # importing runs user code
        raise SpecInvalid(
            f"{key}: {module_name} cannot be imported",
            observed=f"{type(problem).__name__}: {problem}",
            expected=f"a module that is installed, or lies in {root}",
        ) from problem
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, [item for item in dir(module) if item[0] != "_"], n=3)
        raise SpecInvalid(
            f"{key}: {module_name} has no {attribute!r}", expected=f"for example {', '.join(near)}" if near else None
        )
    return getattr(module, attribute)


def _prepare_torchvision() -> None:
    """Before foreign code imports torchvision: beside a CPU build of torch it fails without the shim."""
    if importlib.util.find_spec("torchvision") is not None:
        from export.sources.torchvision_shim import import_torchvision

        import_torchvision()


def _makes_one(found: Any) -> bool:
    """Whether it can be called without arguments, so that it makes a transform and is none."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(item.default is not inspect.Parameter.empty or item.kind in variable for item in parameters)


def _array(output: Any) -> npt.NDArray[np.float32]:
    """float32 of a tensor or an array, without a batch axis of one."""
    if hasattr(output, "detach"):
        output = output.detach().cpu().numpy()
    pixels = np.asarray(output, np.float32)
    return pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
