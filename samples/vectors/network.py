"""The vectors network: the stages of the digits network and a linear layer to the vector, built by the factory that the
model spec names."""

from __future__ import annotations

import torch
from torch import nn

from samples.digits.network import DigitsNetwork


class VectorsNetwork(nn.Module):
    """``float32[N, 3, 32, 32]``, normalised, to ``float32[N, dimension]``, of any length."""

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        trunk = DigitsNetwork(width)
        self.stages, self.pool = trunk.stages, trunk.pool
        self.head = nn.Linear(trunk.head.in_features, dimension, bias=False)
        self.scale = nn.BatchNorm1d(dimension, affine=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Vectors of a batch."""
        vectors: torch.Tensor = self.scale(self.head(self.pool(self.stages(images)).flatten(1)))
        return vectors


def build(width: int = 16, dimension: int = 64) -> nn.Module:
    """The untrained network; ``width`` is the number of channels of its first stage."""
    return VectorsNetwork(width, dimension)
