"""The optimisation that small samples share: AdamW under the one-cycle schedule, over batches drawn ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

Batch = TypeVar("Batch")


def descend(
    module: nn.Module,
    batches: Iterator[Batch],
    loss: Callable[[Batch], torch.Tensor],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    done: Callable[[float], None],
) -> nn.Module:
    """Takes ``steps`` batches, one optimiser step each (Smith and Topin, arXiv 1708.07120); ``done`` is told the
    fraction. Returns the module in eval mode."""
    module.train()
    optimiser = torch.optim.AdamW(module.parameters(), learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=0.2)
    for step, batch in zip(range(steps), batches, strict=False):
        optimiser.zero_grad()
        loss(batch).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        done((step + 1) / steps)
    return module.eval()


def ahead(draw: Callable[[int], Batch], steps: int) -> Iterator[Batch]:
    """``draw(0)``, ``draw(1)``, ...: the next one is drawn on another core while this one is learnt from. The results
    do not depend on timing as long as ``draw`` depends on its number alone."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(draw, step) for step in range(min(2, steps))]
        for step in range(steps):
            if step + len(waiting) < steps:
                waiting.append(pool.submit(draw, step + len(waiting)))
            yield waiting.pop(0).result()
