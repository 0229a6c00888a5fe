"""The networks of migrated archives as modules that every export takes: one tensor in, one tensor out.

A specification that ``slipway migrate`` wrote names ``var.migrated.<model>.factory:build``, which calls
:func:`build_network` with its own folder. What TorchServe's stock handlers read from a network decides what is made of
its outputs: ``logits`` (image_classifier), ``maps`` (image_segmenter: entry ``out`` of a dictionary) and ``boxes``
(object_detector: one dictionary per image).
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.sources.checkpoint import read_checkpoint
from export.sources.location import Located
from export.sources.state import load_state
from export.sources.torchscript_file import load_torchscript
from slipway.errors import SourceInvalid
from slipway.files import sha256_file


class Maps(nn.Module):
    """float[N, 3, H, W] -> float[N, K, h, w]: entry ``out`` of what torchvision's segmentation networks return."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """One map of logits per class."""
        maps: Tensor = self.network(images)["out"]
        return maps


class Boxes(nn.Module):
    """float[N, 3, H, W] -> float[N, places, 4 + classes]: corners in pixels of the input and one score per class, of
    which all but one are 0. Of ``boxes``, ``labels`` and ``scores`` per image, as torchvision's detectors return them,
    the best ``places`` are kept."""

    def __init__(self, network: nn.Module, classes: Sequence[int], places: int) -> None:
        """``classes``: the numbers that the network gives its labels, in the order of the contract's labels."""
        super().__init__()
        self.network = network
        self.places = places
        self.classes = [int(number) for number in classes]

    def forward(self, images: Tensor) -> Tensor:
        """Rows without a detection are 0."""
        found = self.network(images)
        classes = torch.tensor(self.classes, dtype=torch.int64)
        rows = torch.zeros(len(found), self.places, 4 + classes.numel())
        for index in range(len(found)):
            item = found[index]
            order = item["scores"].argsort(descending=True)[: self.places]
            scores = item["scores"][order].to(torch.float32)
            belongs = item["labels"][order].unsqueeze(1) == classes.unsqueeze(0)
            rows[index, : order.numel(), :4] = item["boxes"][order].to(torch.float32)
            rows[index, : order.numel(), 4:] = belongs.to(torch.float32) * scores.unsqueeze(1)
        return rows


def build_network(
    folder: Path,
    *,
    kind: str,
    file: str | None = None,
    model_file: str | None = None,
    sha256: str | None = None,
    classes: Sequence[int] = (),
    places: int = 100,
) -> nn.Module:
    """The network in ``folder``: a TorchScript ``file``, or the class in ``model_file`` with the weights in ``file``.

    ``sha256``: of ``file``. Raises SourceInvalid for other bytes, and for what cannot be loaded."""
    if file is not None and sha256 is not None and (found := sha256_file(folder / file)) != sha256:
        raise SourceInvalid(f"{file} is not the migrated file", observed=found, expected=sha256, fix="migrate it again")
    if model_file is None:
        return _scripted(load_torchscript(Located(folder / str(file), str(file)))[0], kind, classes, places)
    network = user_network(folder / model_file)
    if file is not None:
        load_state(network, read_checkpoint(folder / file), file)
    network.eval()
    return network if kind == "logits" else Maps(network)


def _scripted(network: nn.Module, kind: str, classes: Sequence[int], places: int) -> nn.Module:
    """Loops over images survive as TorchScript only; a trace would hold as many images as it saw."""
    if kind == "logits":
        return network
    around: nn.Module = Maps(network) if kind == "maps" else Boxes(network, classes, places)
    try:
        scripted: nn.Module = torch.jit.script(around.eval())
    except Exception as problem:  # torch.jit raises its own kinds, RuntimeError and others
        raise SourceInvalid(
            "the network does not return what its handler reads",
            observed=f"{type(problem).__name__}: {(str(problem).strip().splitlines() or ['no message'])[0][:300]}",
            expected='{"out": maps}' if kind == "maps" else '[{"boxes": ..., "labels": ..., "scores": ...}]',
        ) from problem
    return scripted


def user_network(path: Path) -> nn.Module:
    """An instance of the one class in the user's model file, as TorchServe makes it (``_load_pickled_model``).

    This runs the user's code. Raises SourceInvalid."""
    name = f"slipway_migrated_{path.parent.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SourceInvalid(f"{path.name} is no Python module", observed=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # it may import its neighbours, as in TorchServe
    try:
        spec.loader.exec_module(module)
        classes = [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == name]
        made: Any = classes[0]() if len(classes) == 1 else classes
    except Exception as problem:  # the user's code: whatever it raises is the finding
        raise SourceInvalid(
            f"the archive's model file {path.name} fails", observed=f"{type(problem).__name__}: {problem}"
        ) from problem
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(made, nn.Module):
        raise SourceInvalid(
            f"{path.name} must define one class, a torch.nn.Module without arguments",
            observed=f"{len(classes)} classes: {', '.join(item.__name__ for item in classes)[:200]}",
            expected="one, as TorchServe asks for",
        )
    return made
