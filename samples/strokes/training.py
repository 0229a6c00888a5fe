"""Trains the strokes network on pictures drawn as it goes, deterministically, and measures it on the held-out ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from export.metrics.base import once
from export.metrics.segmentation import mean_iou
from handlers.label_map import label_map
from handlers.preprocess import Preprocessor
from samples.descent import ahead, descend
from samples.deterministic import deterministic
from samples.strokes.files import HELD_OUT, held_out
from samples.strokes.network import CLASSES, build
from samples.strokes.picture import Plan, draw
from samples.strokes.plan import MEAN, PREPROCESS, SIDE, STD, Training

Batch = tuple[torch.Tensor, torch.Tensor]
_INK_WEIGHT = 2.0


def fit(settings: Training, done: Callable[[float], None]) -> nn.Module:
    """The trained module in eval mode; ``done`` is told the fraction of the steps."""
    with deterministic(settings.seed):
        module = build(settings.width)
        return descend(
            module,
            ahead(lambda step: _batch(settings, step), settings.steps),
            lambda batch: _loss(module(batch[0]), batch[1]),
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            done=done,
        )


def _loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Whether a pixel is ink, over all pixels, and of which digit, over the ink: their sum is a cross-entropy that nine
    pixels of background in ten do not drown."""
    fine = functional.interpolate(logits, scale_factor=2.0, mode="bilinear")
    ink, digits = masks > 0, fine[:, 1:]
    is_ink = functional.binary_cross_entropy_with_logits(
        digits.logsumexp(dim=1) - fine[:, 0], ink.float(), pos_weight=torch.tensor(_INK_WEIGHT)
    )
    return is_ink + functional.cross_entropy(digits.permute(0, 2, 3, 1)[ink], masks[ink] - 1)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8[N, H, W, 3] -> float32[N, 3, H, W], as the exported graph does it."""
    return (pixels.permute(0, 3, 1, 2).float() / 255.0 - MEAN) / STD


def evaluate(module: nn.Module) -> tuple[float, int]:
    """Mean intersection over union of the held-out pictures at their own sizes, and how many they are."""
    preprocessor = Preprocessor(PREPROCESS)
    truth, found = [], []
    for number in range(HELD_OUT):
        drawn = held_out(number)
        prepared = preprocessor.from_image(Image.fromarray(drawn.pixels))
        with torch.inference_mode():
            maps = module(normalised(torch.tensor(prepared.pixels[None])))[0].numpy()
        truth.append(drawn.mask)
        found.append(label_map(maps, prepared.placement, prepared.size, (SIDE, SIDE), 0))
    return once(mean_iou(truth, found, CLASSES)), len(truth)


def _batch(settings: Training, step: int) -> Batch:
    random = np.random.default_rng((settings.seed, step))
    plan = Plan((SIDE, SIDE), settings.digits, settings.heights)
    drawn = [draw(plan, "train", random) for _ in range(settings.batch_size)]
    pixels = normalised(torch.from_numpy(np.stack([picture.pixels for picture in drawn])))
    masks = torch.from_numpy(np.stack([picture.mask for picture in drawn])).long()
    return pixels.contiguous(), masks
