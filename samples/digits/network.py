"""The digits network: four convolution stages and a linear layer, built by the factory that the model spec names."""

from __future__ import annotations

import torch
from torch import nn

NUM_CLASSES = 10


class DigitsNetwork(nn.Module):
    """``float32[N, 3, 32, 32]``, normalised, to ``float32[N, 10]`` logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            *_convolution(3, width, stride=2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 2 * width),
            *_convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
        )
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4 * width * 4, NUM_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        features = self.pool(self.stages(images)).flatten(1)
        logits: torch.Tensor = self.head(self.dropout(features))
        return logits


def build(width: int = 16) -> nn.Module:
    """The untrained network; ``width`` is the number of channels of its first stage."""
    return DigitsNetwork(width)


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
