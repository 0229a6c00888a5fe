"""A small network of the MobileNet kind that really learns, and two ways in which fewer bits break such networks."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tests.export.small_model import LABELS, MEAN, STD, patches


class Layered(nn.Module):
    """A stem, three pairs of depthwise and pointwise convolutions, pooling, a head: float32[N, 3, H, W] to logits."""

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.stem = block(3, 16, stride=2)
        self.pairs = nn.ModuleList(
            nn.Sequential(block(inside, inside, groups=inside), block(inside, outside, size=1))
            for inside, outside in ((16, 32), (32, 48), (48, 64))
        )
        self.head = nn.Linear(64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stem(images)
        for pair in self.pairs:
            features = pair(features)
        return self.head(features.mean((2, 3)))


def block(inside: int, outside: int, *, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


def train(epochs: int = 8) -> Layered:
    """About three seconds on one core."""
    torch.manual_seed(0)
    model = Layered()
    pixels, classes = patches(0, 60)
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    targets = torch.from_numpy(classes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=8e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[index]), targets[index]).backward()
            optimiser.step()
    return model.eval()


def scaled(model: Layered, factor: float, channels: slice) -> Layered:
    """The same function: channels of the first pointwise layer's output times ``factor``, divided out behind its ReLU.

    With every channel and a factor of 2e4 the values leave fp16; with one channel and 3000 that channel takes the
    whole INT8 range of the tensor and leaves one step to the others. In fp32 nothing changes.
    """
    changed = copy.deepcopy(model)
    norm, reader = changed.pairs[0][1][1], changed.pairs[1][0][0]
    with torch.no_grad():
        norm.weight[channels] *= factor
        norm.bias[channels] *= factor
        reader.weight[channels] /= factor
    return changed
