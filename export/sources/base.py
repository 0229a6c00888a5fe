"""Turns the ``source`` of a model specification into a trained module that has been seen to answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from export.sources.checkpoint import read_checkpoint
from export.sources.download import shown
from export.sources.factory import build_from_factory
from export.sources.fetch import fetch
from export.sources.state import load_state
from export.sources.torchvision_builder import build_from_torchvision
from slipway.errors import SourceInvalid


class Source(Protocol):
    """What is read of ``ModelSpec.source``: exactly one of ``factory`` and ``torchvision`` is set."""

    @property
    def factory(self) -> str | None:
        """``package.module:function`` that returns the module."""

    @property
    def torchvision(self) -> str | None:
        """Name of a torchvision model builder."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Keyword arguments of the builder."""

    @property
    def checkpoint(self) -> str | None:
        """Path, ``file:`` or ``http(s):`` URL of the weights."""

    @property
    def sha256(self) -> str | None:
        """sha256 (hex) of the checkpoint file."""


@dataclass(frozen=True)
class LoadedModel:
    """A trained module in eval mode on the CPU, float32.

    ``module``: takes normalised ``float32[N, 3, H, W]``, returns ``float32[N, classes]``.
    ``digest``: sha256 (hex) over the architecture's description and every weight; where the file lay does not count.
    ``description``: one line for people: the builder, its arguments and the checkpoint as the specification names it.
    """

    module: nn.Module
    digest: str
    description: str


def load(
    source: Source,
    root: Path,
    num_classes: int,
    cache_dir: Path,
    *,
    input_size: tuple[int, int] = (224, 224),
) -> LoadedModel:
    """Builds the module, loads its weights and checks by a forward pass that it gives one logit per class.

    ``root``: relative checkpoint paths start there, and ``package.module`` may lie there.
    ``cache_dir``: downloads are kept there. ``input_size``: height and width of the checking input, pixels.

    Raises SourceInvalid for whatever is wrong with builder or weights, DownloadFailed for what is wrong with a URL.
    """
    module, architecture = _build(source, root, num_classes)
    description = architecture
    if source.checkpoint is not None:
        path = fetch(source.checkpoint, root, cache_dir, sha256=source.sha256)
        load_state(module, read_checkpoint(path), shown(source.checkpoint))
        description += f", checkpoint {shown(source.checkpoint)}"
    elif source.torchvision is not None:
        raise SourceInvalid(
            f"{architecture} has no checkpoint: its weights would be random",
            expected="source.checkpoint: a path, or a file:, http: or https: URL of its state_dict",
        )
    module = module.to("cpu", torch.float32).eval().requires_grad_(False)
    _check_answers(module, architecture, num_classes, input_size)
    return LoadedModel(module, digest_of(module, architecture), description)


def digest_of(module: nn.Module, architecture: str) -> str:
    """sha256 (hex) over the description and every parameter and buffer: name, dtype, shape and bytes."""
    digest = hashlib.sha256(architecture.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # through uint8, because numpy has no bfloat16; 0-d tensors cannot be viewed, hence reshape
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _build(source: Source, root: Path, num_classes: int) -> tuple[nn.Module, str]:
    arguments = dict(source.arguments)
    if source.factory is not None and source.torchvision is None:
        return build_from_factory(source.factory, arguments, root)
    if source.torchvision is not None and source.factory is None:
        return build_from_torchvision(source.torchvision, arguments, num_classes)
    raise SourceInvalid(
        "the source names no builder, or two",
        observed=f"factory {source.factory!r}, torchvision {source.torchvision!r}",
        expected="exactly one of source.factory and source.torchvision",
    )


def _check_answers(module: nn.Module, architecture: str, num_classes: int, input_size: tuple[int, int]) -> None:
    """A batch of two grey images must give ``float32[2, num_classes]``, all finite."""
    images = torch.zeros(2, 3, *input_size)
    try:
        with torch.inference_mode():
            logits = module(images)
    except Exception as problem:  # the module is the user's code: whatever it raises is the finding
        raise SourceInvalid(
            f"{architecture} fails on an input of shape {tuple(images.shape)}",
            observed=f"{type(problem).__name__}: {_first_line(problem)}",
            expected="a module that takes normalised float32[N, 3, height, width]",
            fix="correct input.height and input.width, or the module",
        ) from problem
    if not isinstance(logits, torch.Tensor):
        raise SourceInvalid(
            f"{architecture} returns no tensor",
            observed=type(logits).__name__,
            expected="one tensor of logits [N, classes]",
            fix="wrap the module in a factory that returns the logits alone",
        )
    if tuple(logits.shape) != (2, num_classes):
        raise SourceInvalid(
            f"{architecture} does not give one logit per label",
            observed=f"output {tuple(logits.shape)} for 2 images",
            expected=f"(2, {num_classes}), because the specification has {num_classes} labels",
            fix="correct labels, or the builder's number of classes in source.arguments",
        )
    if not bool(torch.isfinite(logits).all()):
        raise SourceInvalid(
            f"{architecture} gives infinite logits or NaN for a grey image",
            observed=f"{int((~torch.isfinite(logits)).sum())} of {logits.numel()} logits",
            expected="finite logits",
            fix="check the training: such weights cannot be served",
        )


def _first_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0] if str(problem).strip() else "no message"
