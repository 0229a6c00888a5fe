"""Turns the ``source`` of a model specification into a trained module that has been seen to answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from export.sources.answers import Expected, check_answers
from export.sources.builders import build
from export.sources.checkpoint import read_checkpoint
from export.sources.kind import WORDS, file_digest, kind_of
from export.sources.location import Located, locate_source
from export.sources.network_file import load_network_file
from export.sources.published import published_weights
from export.sources.state import load_state
from slipway.errors import SourceInvalid

if TYPE_CHECKING:
    from slipway.spec import SourceSpec


@dataclass(frozen=True)
class LoadedModel:
    """A trained module in eval mode on the CPU, float32.

    ``module``: takes normalised ``float32[N, 3, H, W]``, returns ``float32[N, classes]``.
    ``digest``: sha256 (hex) over the architecture's description and every weight, or over the file of a whole network;
    where a file lay does not count. ``description``: one line for people, without secrets: the builder, its arguments
    and the file as the specification names it. ``file_digest``: sha256 of the file with its companions, None without.
    """

    module: nn.Module
    digest: str
    description: str
    file_digest: str | None = None

    @property
    def weights(self) -> str:
        """What identifies the weights: as ``export.identity.checkpoint_digest``, where that could know it."""
        return self.file_digest or self.digest


def load(
    source: SourceSpec,
    root: Path,
    num_classes: int | None,
    cache_dir: Path,
    *,
    input_size: tuple[int, int] = (224, 224),
    activation: str | None = None,
) -> LoadedModel:
    """Builds the module, loads its weights and checks by forward passes that it gives one logit per class, or, where
    ``num_classes`` is None, one row of anything per image.

    ``root``: relative paths start there, and ``package.module`` may lie there. ``cache_dir``: downloads are kept
    there. ``input_size``: height and width of the checking input, pixels. ``activation``: what the contract applies to
    the outputs; with ``softmax``, a network that gives probabilities already is refused.

    Raises SourceInvalid for whatever is wrong with builder, weights or network, DownloadFailed for what is wrong with
    a URL or registry, EnvironmentUnfit for a package that is missing.
    """
    located = locate_source(source, root, cache_dir)
    if source.weights is not None:
        located = published_weights(source, cache_dir)
    if source.builder is None:
        loaded = _network(source, located, input_size)
    else:
        loaded = _built(source, root, num_classes, located)
    check_answers(loaded.module, loaded.description, Expected(num_classes, input_size, activation))
    return loaded if located is None else replace(loaded, file_digest=file_digest(located.path))


def _network(source: SourceSpec, located: Located | None, input_size: tuple[int, int]) -> LoadedModel:
    if located is None:
        raise SourceInvalid("the source names no builder and no file", expected="one of them: docs/spec.md lists them")
    module, description = load_network_file(source, located, input_size)
    return LoadedModel(module, file_digest(located.path), description)


def _built(source: SourceSpec, root: Path, num_classes: int | None, located: Located | None) -> LoadedModel:
    module, architecture = build(source, root, num_classes)
    description = architecture
    if located is not None:
        _refuse_network(located)
        load_state(module, read_checkpoint(located.path), located.shown)
        description += f", {'checkpoint' if source.weights is None else 'weights'} {located.shown}"
    elif source.factory is None:
        raise SourceInvalid(
            f"{architecture} has no checkpoint: its weights would be random",
            expected="source.checkpoint: a path, URL or registry address of its state_dict, or source.weights: a name",
        )
    module = module.to("cpu", torch.float32).eval()
    for parameter in module.parameters():  # one by one: a TorchScript module refuses requires_grad_
        parameter.requires_grad_(False)
    return LoadedModel(module, digest_of(module, architecture), description)


def _refuse_network(located: Located) -> None:
    kind = kind_of(located.path)
    if kind != "weights":
        raise SourceInvalid(
            f"{located.shown} is {WORDS[kind]}: a whole network, not weights for a builder",
            expected="a state_dict: .safetensors, or torch.save(module.state_dict(), ...)",
            fix=f"name it as source.{kind.replace('-', '_')} and remove the builder, or save the state_dict",
        )


def digest_of(module: nn.Module, architecture: str) -> str:
    """sha256 (hex) over the description and every parameter and buffer: name, dtype, shape and bytes."""
    digest = hashlib.sha256(architecture.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # through uint8, because numpy has no bfloat16; 0-d tensors cannot be viewed, hence reshape
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
