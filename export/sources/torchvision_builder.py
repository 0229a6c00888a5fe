"""Builds a torchvision model by name; its weights come from the specification's checkpoint, never from torchvision."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from export.sources.torchvision_shim import import_torchvision
from slipway.errors import SourceInvalid

#: Arguments with which torchvision would download weights by itself, past checkpoint, sha256 and cache.
_DOWNLOADING = ("weights", "weights_backbone", "pretrained", "pretrained_backbone")


def build_from_torchvision(name: str, arguments: dict[str, Any], num_classes: int) -> tuple[nn.Module, str]:
    """Returns the module with random weights and its description, e.g. ``torchvision resnet18(num_classes=1000)``.

    ``num_classes`` is the number of labels; ``arguments`` may override it. Raises SourceInvalid for an unknown name,
    for arguments that the builder refuses, and for those that would make torchvision download weights.
    """
    for key in _DOWNLOADING:
        if arguments.get(key):
            raise SourceInvalid(
                f"source.arguments.{key}: weights come from source.checkpoint only",
                observed=f"{key}={arguments[key]!r}",
                fix="remove it and give source.checkpoint the path or URL of the state_dict, with its sha256",
            )
    models = import_torchvision().models
    if name not in models.list_models():
        near = difflib.get_close_matches(name, models.list_models(), n=3)
        raise SourceInvalid(
            f"source.torchvision: there is no torchvision model {name!r}",
            expected=f"a name such as {', '.join(near or ['resnet18', 'mobilenet_v3_small', 'efficientnet_b0'])}",
        )
    settings = {"num_classes": num_classes, **arguments}
    description = f"torchvision {name}({', '.join(f'{key}={settings[key]!r}' for key in sorted(settings))})"
    try:
        module = models.get_model(name, weights=None, **settings)
    except Exception as problem:  # builders raise TypeError, ValueError or AssertionError for their arguments
        raise SourceInvalid(
            f"{description} cannot be built",
            observed=f"{type(problem).__name__}: {problem}",
            fix="correct source.arguments",
        ) from problem
    if not isinstance(module, nn.Module):
        raise SourceInvalid(f"{description} is no module", observed=type(module).__name__)
    return module, description
