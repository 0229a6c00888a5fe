"""The groups network: looks for every digit at every place and takes the best place of each, built by the factory that
the model spec names."""

from __future__ import annotations

import torch
from torch import nn

from samples.strokes.network import convolution

CLASSES = 10
STRIDE = 8


class GroupsNetwork(nn.Module):
    """``float32[N, 3, 64, 64]``, normalised, to ``float32[N, 10]`` logits, each of one digit by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            convolution(3, width, 2),
            convolution(width, 2 * width),
            convolution(2 * width, 4 * width, 2),
            convolution(4 * width, 4 * width),
            convolution(4 * width, 6 * width, 2),
            convolution(6 * width, 6 * width),
        )
        self.places = nn.Conv2d(6 * width, CLASSES, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        return self.best(self.at_places(images))

    def at_places(self, images: torch.Tensor) -> torch.Tensor:
        """``float32[N, 10, H / STRIDE, W / STRIDE]`` logits of every digit at every place."""
        logits: torch.Tensor = self.places(self.stages(images))
        return logits

    def best(self, places: torch.Tensor) -> torch.Tensor:
        """``float32[N, 10]``."""
        return places.flatten(2).amax(dim=2)


def build(width: int = 16) -> nn.Module:
    """The untrained network; ``width`` is the number of channels of its first stage."""
    return GroupsNetwork(width)
