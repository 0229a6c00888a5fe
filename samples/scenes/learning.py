"""What the detector is told: which places answer for a digit, and how wrong its answers are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from samples.scenes.network import NUM_CLASSES, STRIDE

#: A place answers for a digit whose middle is this near: a share of the digit's sides, at least so many pixels, so
#: that every digit has a place.
_NEAR, _NEAR_PIXELS = 0.22, 6.0
_FOCUS = 2.0
_BOX_WEIGHT = 2.0


def targets(
    boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], side: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """int64[places]: the label that each place of a scene of ``side`` pixels answers for, -1 for none; float32[places,
    4]: the box. Smaller digits win a place that two could have."""
    cells = side // STRIDE
    classes, wanted = np.full((cells, cells), -1, np.int64), np.zeros((cells, cells, 4), np.float32)
    centres = (np.arange(cells) + 0.5) * STRIDE
    for number in np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable"):
        box = boxes[number]
        middle, reach = (box[:2] + box[2:]) / 2, np.maximum(_NEAR * (box[2:] - box[:2]), _NEAR_PIXELS)
        near = [np.abs(centres - middle[axis]) <= reach[axis] for axis in (0, 1)]
        there = near[1][:, None] & near[0][None, :]
        classes[there], wanted[there] = labels[number], box
    return classes.ravel(), wanted.reshape(-1, 4)


def loss(boxes: torch.Tensor, logits: torch.Tensor, classes: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Quality focal loss of the classes (Li et al., arXiv 2006.04388; the quality of a box lifts its score from 0.5 to
    1) plus generalised IoU of the boxes (Rezatofighi et al., arXiv 1902.09630), per place that answers for a digit."""
    answers = classes >= 0
    overlap, generalised = _overlaps(boxes[answers], wanted[answers])
    quality = torch.zeros(*classes.shape, NUM_CLASSES)
    quality[answers] = functional.one_hot(classes[answers], NUM_CLASSES) * (0.5 + 0.5 * overlap.detach())[:, None]
    focus = (quality - torch.sigmoid(logits)).abs() ** _FOCUS
    scores = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none") * focus
    return (scores.sum() + _BOX_WEIGHT * (1 - generalised).sum()) / answers.sum().clamp(min=1)


def _overlaps(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and generalised IoU of pairs: ``float32[n, 4]`` twice -> ``float32[n]`` twice."""
    common = _area(torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:]))
    around = _area(torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:]))
    union = _area(first[:, :2], first[:, 2:]) + _area(second[:, :2], second[:, 2:]) - common
    overlap = common / union
    return overlap, overlap - (around - union) / around


def _area(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    sides = (high - low).clamp(min=0)
    return sides[:, 0] * sides[:, 1]
