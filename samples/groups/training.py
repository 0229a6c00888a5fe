"""Trains the groups network on pictures drawn as it goes, deterministically, and measures it on the held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from handlers.preprocess import Preprocessor
from samples.descent import ahead, descend
from samples.deterministic import deterministic
from samples.groups.files import HELD_OUT, held_out
from samples.groups.network import CLASSES, STRIDE, GroupsNetwork
from samples.groups.plan import DIGITS, HEIGHTS, MEAN, PREPROCESS, SCORE_THRESHOLD, SIDE, STD, Training
from samples.strokes.picture import Drawn, Plan, draw

#: Pixels; which digits are there; and of every digit its row in the batch, its place down and across, and which it is.
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def fit(settings: Training, done: Callable[[float], None]) -> nn.Module:
    """The trained module in eval mode; ``done`` is told the fraction of the steps."""
    with deterministic(settings.seed):
        network = GroupsNetwork(settings.width)
        return descend(
            network,
            ahead(lambda step: _batch(settings, step), settings.steps),
            lambda batch: _loss(network, batch),
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            done=done,
        )


def _loss(network: GroupsNetwork, batch: Batch) -> torch.Tensor:
    """Of the whole picture, which digits are there; and at the place of each, which one: the best place alone would
    teach the network too little at a time."""
    images, there, digits = batch
    places = network.at_places(images)
    row, down, across, digit = digits.unbind(dim=1)
    named = functional.cross_entropy(places[row, :, down, across], digit)
    return functional.binary_cross_entropy_with_logits(network.best(places), there) + named


def evaluate(module: nn.Module) -> dict[str, float]:
    """Of the held-out pictures: mean over the digits of the average precision, mean over the pictures of F1 at the
    threshold, and their number."""
    from sklearn.metrics import average_precision_score, f1_score

    preprocessor = Preprocessor(PREPROCESS)
    pictures = [held_out(number) for number in range(HELD_OUT)]
    inputs = np.stack([preprocessor.from_image(Image.fromarray(drawn.pixels)).pixels for drawn in pictures])
    with torch.inference_mode():
        scores = torch.sigmoid(module(normalised(torch.from_numpy(inputs)))).numpy()
    truth = _rows(pictures)
    return {
        "mean_average_precision": float(average_precision_score(truth, scores, average="macro")),
        "f1": float(f1_score(truth, scores >= SCORE_THRESHOLD, average="samples", zero_division=0)),
        "pictures": len(pictures),
    }


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8[N, H, W, 3] -> float32[N, 3, H, W], as the exported graph does it."""
    return (pixels.permute(0, 3, 1, 2).float() / 255.0 - MEAN) / STD


def _rows(pictures: Sequence[Drawn]) -> npt.NDArray[np.float32]:
    """float32[n, 10]: 1 for the digits that are there."""
    rows = np.zeros((len(pictures), CLASSES), np.float32)
    for row, drawn in zip(rows, pictures, strict=True):
        row[list(set(drawn.digits))] = 1
    return rows


def _batch(settings: Training, step: int) -> Batch:
    random = np.random.default_rng((settings.seed, step))
    drawn = [draw(Plan((SIDE, SIDE), DIGITS, HEIGHTS), "train", random) for _ in range(settings.batch_size)]
    pixels = normalised(torch.from_numpy(np.stack([picture.pixels for picture in drawn]))).contiguous()
    digits = [
        (row, int(y) // STRIDE, int(x) // STRIDE, digit)
        for row, picture in enumerate(drawn)
        for digit, (x, y) in zip(picture.digits, picture.centres, strict=True)
    ]
    return pixels, torch.from_numpy(_rows(drawn)), torch.tensor(digits)
