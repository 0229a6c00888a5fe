"""The strokes network: a small U-Net (Ronneberger et al., arXiv 1505.04597), built by the factory that the model spec
names."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

CLASSES = 11


class StrokesNetwork(nn.Module):
    """``float32[N, 3, H, W]``, normalised, H and W multiples of 16, to ``float32[N, classes, H/2, W/2]`` logits."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 6 * width]
        self.down = nn.ModuleList(
            nn.Sequential(convolution(before, after, 2), convolution(after, after))
            for before, after in zip([3, *widths], widths, strict=False)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(below, here, 1) for below, here in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.up = nn.ModuleList(convolution(here, here) for here in widths[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        levels = []
        features = images
        for stage in self.down:
            features = stage(features)
            levels.append(features)
        levels.pop()
        for narrow, up in zip(self.narrow, self.up, strict=True):
            around = functional.interpolate(narrow(features), scale_factor=2.0, mode="nearest")
            features = up(levels.pop() + around)
        logits: torch.Tensor = self.head(features)
        return logits


def build(width: int = 16) -> nn.Module:
    """The untrained network; ``width`` is the number of channels of its first stage."""
    return StrokesNetwork(width, CLASSES)


def convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """3x3, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
