"""Why an export disagrees: tries the mistakes that exports are known for and names the one that explains the numbers.

Each hypothesis is tested on the same pixels: it is the cause only when undoing it brings the export back to the
trained model. Runs only after a gate has failed, and takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from export.gates.base import Candidate, Reference
from export.wrap import wrap
from slipway.contract import Normalise

#: A hypothesis explains a failure when it leaves less than this relative difference, far above rounding.
EXPLAINED = 1e-3
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


def explain(reference: Reference, candidate: Candidate) -> str | None:
    """One sentence with the cause, or None when no hypothesis explains it."""
    hypotheses: tuple[Callable[[Reference, Candidate], str | None], ...] = (
        _images_influence_each_other,
        _channels_reversed,
        _classes_shifted,
        _other_normalisation,
    )
    return next((text for hypothesis in hypotheses if (text := hypothesis(reference, candidate))), None)


def _images_influence_each_other(reference: Reference, candidate: Candidate) -> str | None:
    if _agrees(_one_by_one(candidate, reference.pixels), reference.logits):
        return "single images agree, so images of one batch influence each other (train mode left on?)"
    return None


def _channels_reversed(reference: Reference, candidate: Candidate) -> str | None:
    swapped = np.ascontiguousarray(reference.pixels[..., ::-1])
    if _agrees(_one_by_one(candidate, swapped), reference.logits):
        return f"its channels are swapped: it agrees when the {reference.contract.preprocess.colour} order is reversed"
    return None


def _classes_shifted(reference: Reference, candidate: Candidate) -> str | None:
    output = _one_by_one(candidate, reference.pixels)
    for shift in range(1, output.shape[1]):
        if _agrees(np.roll(output, shift, axis=1), reference.logits):
            return f"its outputs are shifted by {output.shape[1] - shift} places against the labels"
    return None


def _other_normalisation(reference: Reference, candidate: Candidate) -> str | None:
    """Looks for a normalisation with which the trained model would give the export's answers: first the usual ones,
    then a fit of the six numbers."""
    pixels = reference.pixels[:_FIT_IMAGES]
    target = torch.from_numpy(_one_by_one(candidate, pixels).copy())
    images = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float().contiguous()
    for usual in _USUAL:
        module = wrap(reference.module.module, usual)
        if _agrees(module.module(module.normalise(images)).numpy(), target.numpy()):
            return f"another normalisation is baked in: scale {usual.scale:g}, mean {usual.mean}, std {usual.std}"
    return _fitted_normalisation(reference, images, target)


def _fitted_normalisation(reference: Reference, images: torch.Tensor, target: torch.Tensor) -> str | None:
    module = reference.module
    # in units of the true normalisation, or the two would differ by a factor of 255 and the fit would crawl
    gain, shift = torch.ones(1, 3, 1, 1, requires_grad=True), torch.zeros(1, 3, 1, 1, requires_grad=True)
    start = module.normalise(images)
    optimiser = torch.optim.LBFGS([gain, shift], max_iter=_FIT_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        error: torch.Tensor = torch.mean((module.module(start * gain + shift) - target) ** 2)
        error.backward()  # type: ignore[no-untyped-call]
        return error

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        fitted = module.module(start * gain + shift).numpy()
        factor, offset = module.factor * gain, module.offset * gain + shift
    if not _agrees(fitted, target.numpy()):
        return None
    std = 1.0 / (reference.contract.normalise.scale * factor)
    return f"another normalisation is baked in, such as mean {_triple(-offset * std)} and std {_triple(std)}"


def _one_by_one(candidate: Candidate, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([candidate.run(pixels[i : i + 1]) for i in range(len(pixels))])


def _agrees(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    scale = float(np.max(np.abs(wanted)))
    return bool(scale > 0 and float(np.max(np.abs(found - wanted))) <= EXPLAINED * scale)


def _triple(values: torch.Tensor) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values.flatten().tolist()) + ")"
