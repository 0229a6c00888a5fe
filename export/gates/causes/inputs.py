"""Mistakes before the network: swapped channels and another normalisation than the trained one."""

from __future__ import annotations

import numpy as np
import torch

from export.gates.causes.case import Case
from export.wrap import wrap
from slipway.contract import Normalise

_FIT_IMAGES = 4
_FIT_STEPS = 60
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: What people normalise with, so also what they forget or mix up: none, 0..1, -1..1, ImageNet, ImageNet in 0..255.
_USUAL = (
    Normalise(1.0),
    Normalise(255.0),
    Normalise(127.5, (1.0, 1.0, 1.0)),
    Normalise(255.0, *_IMAGENET),
    Normalise(1.0, *_IMAGENET),
    Normalise(1.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
)


def channels_reversed(case: Case) -> str | None:
    """The candidate agrees when it is given the channels in the other order."""
    swapped = np.ascontiguousarray(case.pixels[..., ::-1])
    if case.explains(case.one_by_one(swapped), case.wanted):
        colour = case.reference.contract.preprocess.colour
        return f"its channels are swapped: it agrees when the {colour} order is reversed"
    return None


def other_normalisation(case: Case) -> str | None:
    """A normalisation with which the trained model would give the export's answers: first the usual ones, then a fit
    of the six numbers on a few images that must hold on all."""
    images = torch.from_numpy(case.pixels.copy()).permute(0, 3, 1, 2).float().contiguous()
    trained = case.reference.module
    for usual in _USUAL:
        module = wrap(trained.module, usual)
        with torch.inference_mode():
            few = module.module(module.normalise(images[:_FIT_IMAGES])).float().numpy()
        if case.explains(few, case.found[:_FIT_IMAGES]):
            return f"another normalisation is baked in: scale {usual.scale:g}, mean {usual.mean}, std {usual.std}"
    return _fitted(case, images)


def _fitted(case: Case, images: torch.Tensor) -> str | None:
    module, target = case.reference.module, torch.from_numpy(case.found[:_FIT_IMAGES].copy())
    # in units of the true normalisation, or the two would differ by a factor of 255 and the fit would crawl
    gain, shift = torch.ones(1, 3, 1, 1, requires_grad=True), torch.zeros(1, 3, 1, 1, requires_grad=True)
    start = module.normalise(images)
    optimiser = torch.optim.LBFGS([gain, shift], max_iter=_FIT_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        error: torch.Tensor = torch.mean((module.module(start[:_FIT_IMAGES] * gain + shift) - target) ** 2)
        error.backward()  # type: ignore[no-untyped-call]
        return error

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        fitted = module.module(start * gain + shift).numpy()
        factor, offset = module.factor * gain, module.offset * gain + shift
    if not case.explains(fitted, case.found):
        return None
    std = 1.0 / (case.reference.contract.normalise.scale * factor)
    return f"another normalisation is baked in, such as mean {_triple(-offset * std)} and std {_triple(std)}"


def _triple(values: torch.Tensor) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values.flatten().tolist()) + ")"
