"""Imports torchvision on a CPU build of torch, where torchvision's compiled operators cannot be loaded.

Why: the torchvision wheel of the package index is built against CUDA. Beside a CPU build of torch its ``_C.so`` misses
``libc10_cuda.so``, so ``torchvision::nms`` is never defined, and ``torchvision/_meta_registrations.py`` then fails
the whole import ("operator torchvision::nms does not exist"). The classification models need none of these operators.
Here the two that are registered unconditionally are defined in Python first: ``nms`` really works, ``qnms`` is only
declared. The real operators are used wherever they load. Seen with torch 2.13.0+cpu and torchvision 0.28.0; this file
can go when ``python -c "import torchvision"`` succeeds in the CPU environment.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import torch

from slipway.errors import EnvironmentUnfit

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.lru_cache(maxsize=1)
def import_torchvision() -> ModuleType:
    """The torchvision package, imported once; raises EnvironmentUnfit when it is absent or does not fit torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentUnfit(
            "torchvision is not installed",
            expected="the torchvision release that belongs to this torch",
            fix="install the project's pinned requirements: make setup",
        )
    if not real_operators_load(Path(spec.submodule_search_locations[0])):
        _define_operators()
    try:
        with warnings.catch_warnings():
            # torchvision.io's own compiled part fails for the same reason; nothing here decodes images with it
            warnings.filterwarnings("ignore", message="Failed to load image Python extension")
            torchvision = importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as problem:
        raise EnvironmentUnfit(
            "torchvision cannot be imported",
            observed=f"{type(problem).__name__}: {problem}; torch {torch.__version__}",
            fix="install the project's pinned requirements: make setup",
        ) from problem
    if shim_in_use():
        # the operators of the shim carry torchvision.ops.nms; its own check asks for the compiled library
        torchvision.ops.boxes._assert_has_ops = _operators_are_there
    return torchvision


def shim_in_use() -> bool:
    """Whether the Python operators of this file stand in for the compiled ones."""
    return _define_operators.cache_info().currsize > 0


def real_operators_load(package: Path) -> bool:
    """Whether the compiled operators can be loaded; the same call as in torchvision/extension.py."""
    for library in sorted(package.glob("_C*.so")):
        try:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
        except OSError:
            return False
        return True
    return False


@functools.lru_cache(maxsize=1)
def _define_operators() -> torch.library.Library:
    """Defines both operators once. The cache keeps the library alive: torch forgets its operators with the object."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(f"nms{_SCHEMA}")  # type: ignore[no-untyped-call]
    library.define(f"qnms{_SCHEMA}")  # type: ignore[no-untyped-call]
    library.impl("nms", non_maximum_suppression, "CPU")  # type: ignore[no-untyped-call]
    return library


def non_maximum_suppression(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy NMS as in torchvision's nms_kernel.cpp.

    ``dets``: float[N, 4] as x1, y1, x2, y2; ``scores``: float[N]. Returns int64[K]: the boxes kept, best first.
    """
    boxes, order = dets.detach(), scores.detach().argsort(descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(int(best))
        corner_low = torch.maximum(boxes[rest, :2], boxes[best, :2])
        corner_high = torch.minimum(boxes[rest, 2:], boxes[best, 2:])
        overlap = (corner_high - corner_low).clamp(min=0).prod(dim=1)
        order = rest[overlap / (areas[rest] + areas[best] - overlap) <= iou_threshold]
    return torch.tensor(kept, dtype=torch.int64, device=dets.device)


def _operators_are_there() -> None:
    """Replaces torchvision's check; a real function, because torch.jit.script compiles it with torchvision.ops.nms."""
