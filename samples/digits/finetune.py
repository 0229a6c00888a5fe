"""What config/models/digits.yaml can name under ``optimise``: training on after pruning, and distillation.

```
slipway export digits --set 'optimise=[{prune: {ratio: 0.3, fine_tune: "samples.digits.finetune:fine_tune"}}]'
```
prunes the network by 30 % and publishes it when it is not worse than the one that was trained.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from samples.deterministic import deterministic
from samples.digits.augmentation import augment
from samples.digits.training import tensors
from samples.digits.variants import VARIANTS

#: Answers, images and labels of one batch -> its loss.
Criterion = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
#: The augmentation and the schedule of the training itself.
_SETTINGS = VARIANTS["base"]


def fine_tune(module: nn.Module, epochs: int = 12, learning_rate: float = 0.003) -> nn.Module:
    """Trains ``module`` on the training images; half a second per epoch on one core."""
    return _learn(
        module, epochs, learning_rate, lambda answers, _images, labels: functional.cross_entropy(answers, labels)
    )


def loss(module: nn.Module, images: int = 256) -> torch.Tensor:
    """The loss of some training images: its gradients rank channels (``importance: taylor``)."""
    pixels, labels = tensors("train")
    return functional.cross_entropy(module.eval()(pixels[:images]), labels[:images])


def distil(
    student: nn.Module,
    teacher: nn.Module,
    epochs: int = 24,
    learning_rate: float = 0.006,
    temperature: float = 3.0,
    weight: float = 0.7,
) -> nn.Module:
    """Trains ``student`` on the training images and on the teacher's softened answers for the same pictures.

    Loss and ``temperature``: Hinton, Vinyals and Dean, arXiv 1503.02531. ``weight``: the teacher's share of it.
    """

    def criterion(answers: torch.Tensor, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            soft = functional.softmax(teacher(images) / temperature, dim=1)
        taught = functional.kl_div(functional.log_softmax(answers / temperature, dim=1), soft, reduction="batchmean")
        return weight * temperature**2 * taught + (1 - weight) * functional.cross_entropy(answers, labels)

    return _learn(student, epochs, learning_rate, criterion)


def _learn(module: nn.Module, epochs: int, learning_rate: float, criterion: Criterion) -> nn.Module:
    """AdamW under the one-cycle schedule, deterministic as the training is; returns ``module`` itself."""
    pixels, labels = tensors("train")
    settings = _SETTINGS
    with deterministic(settings.seed):
        module.train()
        optimiser = torch.optim.AdamW(module.parameters(), learning_rate, weight_decay=settings.weight_decay)
        steps = epochs * -(-len(labels) // settings.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(labels)), settings.batch_size):
                images = augment(pixels[batch], settings.rotate, settings.shift, settings.zoom)
                optimiser.zero_grad()
                criterion(module(images), images, labels[batch]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
        return module.eval()
