"""Structured pruning by torch-pruning: whole channels go, in every layer that depends on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.optimise.functions import call, call_for_module, frozen, trainable
from export.optimise.measure import import_torch_pruning
from slipway.errors import OptimiseFailed, SlipwayError
from slipway.spec.optimise import PruneStep


@dataclass(frozen=True)
class Pruned:
    """``channels``: output channels of every convolution and linear layer, before and after, by module path."""

    module: nn.Module
    channels: dict[str, tuple[int, int]]


def prune(module: nn.Module, step: PruneStep, example: torch.Tensor, root: Path, seed: int) -> Pruned:
    """Prunes ``module`` in place and trains what is left; ``example``: what it takes, float32[1, 3, H, W].

    The layer that makes the classes is kept. Raises OptimiseFailed when torch-pruning cannot follow the module, when
    nothing could be pruned, and for what the specification's functions do.
    """
    before = _channels(module)
    for _ in _rounds(module, step, example, root, seed):
        if step.fine_tune is not None:
            tuned = call_for_module(step.fine_tune, root, seed, trainable(module), **step.arguments)
            if step.steps > 1 and tuned is not module:
                raise OptimiseFailed(
                    f"{step.fine_tune} returned another module, which the next step of pruning does not know",
                    expected="the module that it was given, trained in place",
                )
            module = tuned
    module = frozen(module)
    after = _channels(module)
    if before == after:
        raise OptimiseFailed(
            "pruning has removed nothing",
            observed=f"ratio {step.ratio:g}, kept {', '.join(step.keep) or 'the last layer only'}",
            fix="raise ratio, or keep fewer layers",
        )
    return Pruned(module, {name: (count, after.get(name, 0)) for name, count in before.items()})


def _rounds(module: nn.Module, step: PruneStep, example: torch.Tensor, root: Path, seed: int) -> Iterator[None]:
    """Prunes once more before each yield; the fine-tuning between must keep the module's layers, as training does."""
    try:
        pruner = _pruner(module.requires_grad_(True), step, example)
    except SlipwayError:
        raise
    except Exception as problem:  # its graph tracing raises whatever the module's forward leads it to
        raise _cannot(problem) from problem
    for _ in range(step.steps):
        if step.loss is not None:
            module.zero_grad()
            loss = call(step.loss, root, seed, trainable(module))
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
                raise OptimiseFailed(f"{step.loss} returned no loss", observed=type(loss).__name__, expected="a scalar")
            loss.backward()  # type: ignore[no-untyped-call]
        try:
            pruner.step()
        except Exception as problem:  # as above
            raise _cannot(problem) from problem
        yield


def _cannot(problem: Exception) -> OptimiseFailed:
    return OptimiseFailed(
        "torch-pruning cannot prune this module",
        observed=f"{type(problem).__name__}: {(str(problem) or 'no message').splitlines()[0]}",
        fix="name layers that it should leave alone in keep, or remove the step",
    )


def _pruner(module: nn.Module, step: PruneStep, example: torch.Tensor) -> Any:
    torch_pruning = import_torch_pruning()
    kinds = torch_pruning.importance
    importance = {
        "magnitude": kinds.GroupMagnitudeImportance,
        "taylor": kinds.GroupTaylorImportance,
        "lamp": kinds.LAMPImportance,
    }[step.importance]()
    return torch_pruning.pruner.BasePruner(
        module,
        example,
        importance,
        global_pruning=step.across_layers,
        pruning_ratio=step.ratio,
        iterative_steps=step.steps,
        ignored_layers=_kept(module, step, example),
        round_to=step.round_to,
    )


def _kept(module: nn.Module, step: PruneStep, example: torch.Tensor) -> list[nn.Module]:
    """The layers whose outputs stay: those named, and whichever makes the classes (the last that runs)."""
    layers = dict(module.named_modules())
    unknown = [name for name in step.keep if name not in layers]
    if unknown:
        raise OptimiseFailed(
            f"prune.keep: the module has no {unknown[0]!r}",
            expected=f"module paths, for example {', '.join(name for name in list(layers)[1:6])}",
        )
    ran: list[nn.Module] = []
    handles = [
        layer.register_forward_hook(lambda item, _inputs, _output: ran.append(item))
        for layer in layers.values()
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd))
    ]
    with torch.no_grad():
        module.eval()(example)
    for handle in handles:
        handle.remove()
    return [*(layers[name] for name in step.keep), *ran[-1:]]


def _channels(module: nn.Module) -> dict[str, int]:
    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            found[name] = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    return found
