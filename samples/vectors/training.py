"""Trains the vectors network deterministically, and measures it by what lies next to each held-out scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional

from export.metrics.retrieval import recall_hits
from samples.descent import descend
from samples.deterministic import deterministic
from samples.digits.augmentation import augment
from samples.digits.images import LABELS
from samples.digits.training import tensors
from samples.vectors.network import build
from samples.vectors.plan import Training

Batch = tuple[torch.Tensor, torch.Tensor]


def fit(settings: Training, done: Callable[[float], None]) -> nn.Module:
    """The trained module in eval mode; ``done`` is told the fraction of the steps.

    Loss: cross-entropy of ``scale`` times the cosine to one direction per kind, which has to win by ``margin``
    (CosFace, Wang et al., arXiv 1801.09414). The directions are thrown away afterwards.
    """
    pixels, labels = tensors("train")
    with deterministic(settings.seed):
        module = build(settings.width, settings.dimension)
        kinds = nn.Parameter(torch.randn(len(LABELS), settings.dimension))

        def loss(batch: Batch) -> torch.Tensor:
            cosines = functional.normalize(module(batch[0])) @ functional.normalize(kinds).T
            margins = settings.margin * functional.one_hot(batch[1], len(LABELS))
            return functional.cross_entropy(settings.scale * (cosines - margins), batch[1])

        steps = settings.epochs * -(-len(labels) // settings.batch_size)
        trained = nn.ModuleDict({"module": module, "kinds": nn.ParameterList([kinds])})
        descend(
            trained,
            _batches(settings, pixels, labels),
            loss,
            steps=steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            done=done,
        )
        return module


def evaluate(module: nn.Module) -> tuple[float, int]:
    """Recall@1 of the held-out scans among each other: whether the nearest other one shows the same digit; their
    number."""
    pixels, labels = tensors("test")
    with torch.inference_mode():
        vectors = module(pixels).numpy()
    return float(recall_hits(vectors, labels.numpy()).mean()), len(labels)


def _batches(settings: Training, pixels: torch.Tensor, labels: torch.Tensor) -> Iterator[Batch]:
    while True:
        for batch in torch.split(torch.randperm(len(labels)), settings.batch_size):
            yield augment(pixels[batch], settings.rotate, settings.shift, settings.zoom), labels[batch]
