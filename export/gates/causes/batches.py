"""Mistakes of the mode: images of one batch that influence each other, and modules that were left in train mode."""

from __future__ import annotations

import copy

import torch
from torch import nn

from export.gates.base import in_batches
from export.gates.causes.case import Case
from export.gates.measures import Logits
from export.wrap import eager_network

#: Layers that compute with the statistics of what is running in train mode.
_NORMALISING = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def train_mode(case: Case) -> str | None:
    """The trained model gives the same answers when its normalisation layers are in train mode."""
    module = copy.deepcopy(case.reference.module)
    layers = [layer for layer in module.modules() if isinstance(layer, _NORMALISING)]
    for layer in layers:
        layer.train()
    if not layers or not case.explains(_run(module, case), case.together):
        return None
    return (
        f"train mode was left on: it answers as the trained model does when its {len(layers)} normalisation layers "
        "take the statistics of the batch (call eval() before exporting)"
    )


def images_influence_each_other(case: Case) -> str | None:
    """Single images agree, batches do not."""
    if case.agrees(case.found, case.wanted) and not case.agrees(case.together, case.wanted):
        return "single images agree, so images of one batch influence each other (train mode left on?)"
    return None


def _run(module: nn.Module, case: Case) -> Logits:
    try:
        with torch.no_grad():
            return in_batches(eager_network(module), case.pixels, case.batch)
    except ValueError:  # a batch of one where only one value per channel is left has no statistics
        return case.wanted[:0]
