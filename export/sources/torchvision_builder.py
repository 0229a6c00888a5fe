"""Builds a torchvision model by name; its weights come from the specification, never silently from torchvision."""

from __future__ import annotations

from typing import Any

from torch import nn

from export.sources.described import built, call, examples
from export.sources.torchvision_shim import import_torchvision
from slipway.errors import SourceInvalid

#: Arguments with which torchvision would download weights by itself, past sha256 and cache.
_DOWNLOADING = ("weights", "weights_backbone", "pretrained", "pretrained_backbone")


def build_from_torchvision(name: str, arguments: dict[str, Any], num_classes: int | None) -> tuple[nn.Module, str]:
    """Returns the module with random weights and its description, e.g. ``torchvision resnet18(num_classes=1000)``.

    ``num_classes`` is the number of labels, None for no classifier; ``arguments`` may override it.
    Raises SourceInvalid for an unknown name, for arguments that the builder refuses, and for those that would make
    torchvision download weights.
    """
    for key in _DOWNLOADING:
        if arguments.get(key):
            raise SourceInvalid(
                f"source.arguments.{key}: weights come from source.checkpoint only, or source.weights",
                observed=f"{key}={arguments[key]!r}",
                fix="remove it; name published weights as source.weights, a file or URL as source.checkpoint",
            )
    models = _models(name)
    settings = {**({} if num_classes is None else {"num_classes": num_classes}), **arguments}
    description = call(f"torchvision {name}", settings)
    return built(description, lambda: models.get_model(name, weights=None, **settings)), description


def torchvision_weights(name: str, weights: str) -> tuple[str, str]:
    """Name and URL of published weights, for example ``IMAGENET1K_V2``; ``DEFAULT`` gives the name it stands for.

    The enum's own name may stand before it (``ResNet50_Weights.IMAGENET1K_V2``). Raises SourceInvalid for a name that
    the architecture does not have.
    """
    enum = _models(name).get_model_weights(name)
    family, _, member = weights.rpartition(".")
    if family not in ("", enum.__name__) or member not in enum.__members__:
        raise SourceInvalid(
            f"source.weights: torchvision has no weights {weights!r} for {name}",
            expected=f"one of {', '.join(enum.__members__) or 'none: this architecture has no published weights'}",
            fix="for weights of your own give source.checkpoint instead",
        )
    found = enum[member]
    return found.name, found.url


def _models(name: str) -> Any:
    """torchvision.models; raises SourceInvalid where it has no model of this name."""
    models = import_torchvision().models
    if name not in models.list_models():
        likely = examples(name, models.list_models(), ("resnet18", "mobilenet_v3_small", "efficientnet_b0"))
        raise SourceInvalid(
            f"source.torchvision: there is no torchvision model {name!r}", expected=f"a name such as {likely}"
        )
    return models
