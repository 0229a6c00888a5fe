"""Small random turns, shifts and zooms, so that 900 scans stand for more hands than wrote them."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


def augment(images: torch.Tensor, rotate: float, shift: float, zoom: float) -> torch.Tensor:
    """``float32[N, C, H, W]`` to the same shape; each image gets its own affine map, paper is continued at the edges.

    ``rotate``: at most so many degrees; ``shift``: of the side; ``zoom``: of the size. Uses torch's random state.
    """
    count = len(images)
    angle = _uniform(count) * math.radians(rotate)
    scale = 1.0 + _uniform(count) * zoom
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    # affine_grid's coordinates run from -1 to 1: a shift of one side is 2
    rows = (cosine, -sine, 2 * shift * _uniform(count), sine, cosine, 2 * shift * _uniform(count))
    maps = torch.stack(rows, dim=1).view(count, 2, 3)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _uniform(count: int) -> torch.Tensor:
    """``float32[count]`` in -1..1."""
    return torch.rand(count) * 2.0 - 1.0
