"""Builds a timm model by name; its weights come from the specification, never silently from a hub.

timm imports torchvision, so torchvision is imported first, with the operators that it may lack here.
"""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType
from typing import Any

from torch import nn

from export.sources.described import built, call, examples
from export.sources.torchvision_shim import import_torchvision
from slipway.errors import EnvironmentUnfit, SourceInvalid

#: Arguments with which timm would fetch or read weights by itself, past sha256, cache and weights_only.
_LOADING = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
_HUB = "https://huggingface.co"


def build_from_timm(name: str, arguments: dict[str, Any], num_classes: int | None) -> tuple[nn.Module, str]:
    """Returns the module with random weights and its description, e.g. ``timm resnet10t(num_classes=10)``.

    ``num_classes`` is the number of labels, None for no classifier; ``arguments`` may override it.
    Raises SourceInvalid for an unknown name, for arguments that the model refuses, and for those that would make timm
    load weights.
    """
    for key in _LOADING:
        if arguments.get(key):
            raise SourceInvalid(
                f"source.arguments.{key}: weights come from source.checkpoint or source.weights",
                observed=f"{key}={arguments[key]!r}",
                fix="remove it; name a published tag as source.weights, a file or URL as source.checkpoint",
            )
    timm = _timm_with(name)
    settings = {**({} if num_classes is None else {"num_classes": num_classes}), **arguments}
    description = call(f"timm {name}", settings)
    return built(description, lambda: timm.create_model(name, pretrained=False, **settings)), description


def timm_weights(name: str, tag: str) -> tuple[str, str]:
    """Tag and URL of published weights, for example ``a1_in1k``; ``HF_ENDPOINT`` names another hub than the usual.

    Raises SourceInvalid for a tag that the architecture does not have, and for weights that need timm's own loader.
    """
    timm = _timm_with(name)
    known = [item.partition(".")[2] for item in timm.list_pretrained(f"{name}*") if item.partition(".")[0] == name]
    if tag not in known:
        raise SourceInvalid(
            f"source.weights: timm has no weights {tag!r} for {name}",
            expected=f"one of {', '.join(known) or 'none: this architecture has no published weights'}",
            fix="for weights of your own give source.checkpoint instead",
        )
    published = timm.get_pretrained_cfg(f"{name}.{tag}")
    if published.custom_load:
        raise SourceInvalid(
            f"source.weights: {name}.{tag} needs timm's own converter",
            fix="load it with timm once, save module.state_dict() as safetensors and give that as source.checkpoint",
        )
    if not published.hf_hub_id:
        return tag, str(published.url)
    hub = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    return tag, f"{hub}/{published.hf_hub_id}/resolve/main/{published.hf_hub_filename or 'model.safetensors'}"


def _timm_with(name: str) -> ModuleType:
    """timm; raises SourceInvalid where it has no architecture of this name."""
    timm = _import_timm()
    if ":" in name or "/" in name:
        # "hf-hub:someone/model" would fetch a configuration, and whatever it says, without being asked
        raise SourceInvalid(
            "source.timm names a place", observed=name, expected="an architecture, for example mobilenetv3_small_050"
        )
    if "." in name and timm.is_model(name.partition(".")[0]):
        raise SourceInvalid(
            "source.timm carries the tag of its weights",
            observed=name,
            expected=f"timm: {name.partition('.')[0]}, and weights: {name.partition('.')[2]}",
        )
    if not timm.is_model(name):
        likely = examples(name, timm.list_models(), ("resnet18", "mobilenetv3_small_050"))
        raise SourceInvalid(f"source.timm: there is no timm model {name!r}", expected=f"a name such as {likely}")
    return timm


@functools.lru_cache(maxsize=1)
def _import_timm() -> ModuleType:
    import_torchvision()
    try:
        return importlib.import_module("timm")
    except ImportError as problem:
        raise EnvironmentUnfit("timm cannot be imported", observed=str(problem), fix="make setup") from problem
