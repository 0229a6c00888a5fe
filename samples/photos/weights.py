"""Random weights for torchvision networks: they prove the plumbing (loading, parity, throughput) and know nothing.

A plain random initialisation makes a poor test: without batch statistics activations grow or vanish, and every image
gets nearly the same logits, so that a broken export could hide behind a tolerance. Here the statistics are those of
real photographs, and the last layer is centred and scaled so that photographs get different answers (data-dependent
initialisation in the manner of Mishkin and Matas, arXiv 1511.06422).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from handlers.preprocess import preprocess
from samples.deterministic import deterministic
from samples.photos.catalogue import PHOTOS
from samples.photos.plan import MEAN, PREPROCESS, STD
from samples.weights import write_weights
from slipway.errors import SampleUnavailable

#: Standard deviation of the logits over the photographs: that of a trained ImageNet network is about 1 to 3.
_LOGIT_SPREAD = 2.0
_CALIBRATION_PHOTOS = 16


@dataclass(frozen=True)
class RandomWeights:
    """``different_answers``: how many classes came first over ``photos`` photographs; 1 would be a useless network."""

    parameters: int
    photos: int
    different_answers: int


def random_weights(arch: str, out: Path, seed: int) -> RandomWeights:
    """Writes a torchvision network's seeded random state_dict to ``out`` (safetensors), 1000 classes.

    ``arch``: a torchvision classification model that ends in a linear layer, e.g. ``resnet18``. Equal seeds give
    equal bytes. Raises SampleUnavailable when all photographs get the same answer.
    """
    from export.sources.torchvision_shim import import_torchvision

    torchvision = import_torchvision()
    images = _photographs()
    with deterministic(seed):
        module: nn.Module = torchvision.models.get_model(arch, weights=None)
        _set_batch_statistics(module, images)
        _spread_logits(module, images)
        with torch.inference_mode():
            answers = module(images).argmax(dim=1)
    different = int(answers.unique().numel())
    if different < 2:
        raise SampleUnavailable(f"random {arch}, seed {seed}, gives all photographs one answer", fix="use another seed")
    write_weights(module, out)
    return RandomWeights(sum(p.numel() for p in module.parameters()), len(images), different)


def _photographs() -> torch.Tensor:
    """``float32[N, 3, 224, 224]``, normalised: the catalogue's first photographs through the serving code."""
    pixels = np.stack([preprocess(photo.encoded(), PREPROCESS) for photo in PHOTOS[:_CALIBRATION_PHOTOS]])
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0
    return (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _set_batch_statistics(module: nn.Module, images: torch.Tensor) -> None:
    """One pass in train mode; momentum None makes the running statistics exactly those of this batch."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = None
    with torch.no_grad():
        module.train()(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    module.eval()


def _spread_logits(module: nn.Module, images: torch.Tensor) -> None:
    """Centres the last layer on the photographs' mean features and scales its logits to ``_LOGIT_SPREAD``."""
    head = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        module(images)
        hook.remove()
        centre = seen[0].mean(dim=0)
        spread = ((seen[0] - centre) @ head.weight.T).std()
        head.weight.mul_(_LOGIT_SPREAD / spread)
        head.bias.copy_(-(head.weight @ centre))
