"""A small colour CNN that really learns: which of six photographs a patch was cut from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

LABELS = ("astronaut", "coffee", "chelsea", "rocket", "china", "flower")
SIZE = 32
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class SmallCnn(nn.Module):
    """Convolutions with batch normalisation, global pooling, one linear layer: float32[N, 3, H, W] -> [N, classes]."""

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(48, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).flatten(1))


def build(classes: int = len(LABELS)) -> nn.Module:
    return SmallCnn(classes)


def photographs() -> list[NDArray[np.uint8]]:
    import skimage
    from sklearn.datasets import load_sample_images

    folder = Path(skimage.__file__).parent / "data"
    pictures = [
        np.asarray(Image.open(folder / name).convert("RGB"))
        for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
    ]
    return pictures + [np.asarray(image) for image in load_sample_images().images]


def patches(seed: int, per_class: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8[n, size, size, 3] cut at random places from half-size pictures, and their classes."""
    random = np.random.default_rng(seed)
    cut, classes = [], []
    for label, picture in enumerate(photographs()):
        half = np.asarray(Image.fromarray(picture).reduce(2))
        for _ in range(per_class):
            top, left = (int(random.integers(0, side - size)) for side in half.shape[:2])
            cut.append(half[top : top + size, left : left + size])
            classes.append(label)
    return np.stack(cut), np.array(classes)


def train(seed: int = 0, epochs: int = 6) -> SmallCnn:
    """About three seconds on one core."""
    torch.manual_seed(seed)
    model = SmallCnn()
    pixels, classes = patches(seed, 120)
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    targets = torch.from_numpy(classes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[index]), targets[index]).backward()
            optimiser.step()
    return model.eval()


def write_held_out(folder: Path, per_class: int = 12, size: int = SIZE) -> None:
    """Held-out patches as ``<label>_<index>`` PNG and JPEG files."""
    folder.mkdir(parents=True)
    for index, (pixels, label) in enumerate(zip(*patches(999, per_class, size), strict=True)):
        suffix = "jpg" if index % 4 == 0 else "png"
        Image.fromarray(pixels).save(folder / f"{LABELS[label]}_{index}.{suffix}", quality=95)
