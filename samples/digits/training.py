"""Trains the digits network from image files, deterministically, and measures it on the held-out files."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from handlers.preprocess import Preprocessor
from samples.deterministic import deterministic
from samples.digits import images
from samples.digits.augmentation import augment
from samples.digits.network import build
from samples.digits.variants import Variant

#: Baked into the exported graph as (pixels / 255 - MEAN) / STD; config/models/digits.yaml says the same.
MEAN, STD = 0.5, 0.5
_PREPROCESSOR = Preprocessor(images.PREPROCESS)


def fit(settings: Variant, done: Callable[[float], None]) -> nn.Module:
    """The trained module in eval mode; ``done`` is told the fraction of the epochs."""
    pixels, labels = tensors("train")
    with deterministic(settings.seed):
        module = build(settings.width).train()
        step = _stepper(module, settings, epoch_steps=-(-len(labels) // settings.batch_size))
        for epoch in range(settings.epochs):
            for batch in torch.split(torch.randperm(len(labels)), settings.batch_size):
                step(augment(pixels[batch], settings.rotate, settings.shift, settings.zoom), labels[batch])
            done((epoch + 1) / settings.epochs)
        return module.eval()


def _stepper(module: nn.Module, settings: Variant, epoch_steps: int) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """One optimiser step: AdamW under the one-cycle schedule (Smith and Topin, arXiv 1708.07120)."""
    optimiser = torch.optim.AdamW(module.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs * epoch_steps
    )

    def step(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        loss = functional.cross_entropy(module(inputs), labels, label_smoothing=settings.smoothing)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()

    return step


def transform(picture: Image.Image) -> torch.Tensor:
    """A picture in RGB to normalised ``float32[3, 32, 32]``: what the network is trained on, and its specification
    names it, so that the export compares the contract with it."""
    pixels = torch.from_numpy(_PREPROCESSOR.from_image(picture).pixels)
    return (pixels.permute(2, 0, 1).float() / 255.0 - MEAN) / STD


def tensors(split: images.Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised ``float32[N, 3, 32, 32]`` and ``int64[N]`` labels of the files of a split."""
    chosen = images.indices(split)
    files = (Image.open(io.BytesIO(images.encoded(index, "both")[0])) for index in chosen)
    pictures = torch.stack([transform(file.convert("RGB")) for file in files])
    return pictures.contiguous(), torch.tensor([images.label(index) for index in chosen])


def evaluate(module: nn.Module) -> tuple[int, int]:
    """How many of the held-out files ``module``, in eval mode, answers rightly, and how many there are."""
    pixels, labels = tensors("test")
    with torch.inference_mode():
        right = (module(pixels).argmax(dim=1) == labels).sum()
    return int(right), len(labels)
