"""Runs the ``optimise`` steps of a specification on a loaded model, and reports what each changed.

Two references follow from it. The exports compute the optimised module, so parity compares them with that one; they
replace the trained model, so the task gate compares them with the model as it was loaded.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.optimise.functions import call_for_module, frozen, seeded, trainable
from export.optimise.measure import costs
from export.optimise.prune import prune
from export.sources.answers import Expected, check_answers
from export.wrap import wrap
from slipway.errors import OptimiseFailed, SourceInvalid
from slipway.spec.optimise import DistilStep, OptimiseStep

if TYPE_CHECKING:
    from export.sources import LoadedModel
    from slipway.contract import Contract
    from slipway.settings import Settings
    from slipway.spec import ModelSpec


@dataclass(frozen=True)
class Optimised:
    """``loaded``: the optimised module with the steps in its description; ``trained``: the module as it was loaded,
    what the task gate compares with; ``report``: JSON-ready, ``steps`` and ``before`` and ``after`` (see Cost)."""

    loaded: LoadedModel
    trained: nn.Module
    report: dict[str, Any] = field(default_factory=dict)


def optimise(
    loaded: LoadedModel,
    spec: ModelSpec,
    settings: Settings,
    contract: Contract,
    pixels: NDArray[np.uint8] | None = None,
) -> Optimised:
    """Runs every step of ``spec.optimise`` in order; without steps, ``loaded`` is returned as it is.

    ``pixels``: uint8[n, H, W, 3], real images through the contract, on which the costs are measured; without them the
    report has none. ``loaded.module`` is not changed. Raises OptimiseFailed, and for a student or teacher what loading
    a source raises.
    """
    if not spec.optimise:
        return Optimised(loaded, loaded.module)
    run = _Run(loaded, settings, contract)
    stages = {"trained": loaded.module}
    steps = []
    for number, step in enumerate(spec.optimise, start=1):
        before = list(stages.values())[-1]
        module, entry = run.step(step, before)
        stages[f"{number}"] = module
        steps.append(entry)
    report: dict[str, Any] = {"steps": steps}
    if pixels is not None:
        wrapped = {name: wrap(copy.deepcopy(module), contract.normalise) for name, module in stages.items()}
        found = [cost.to_dict() for cost in costs(wrapped, pixels).values()]
        steps = [{**entry, "cost": cost} for entry, cost in zip(steps, found[1:], strict=True)]
        report = {"steps": steps, "before": found[0], "after": found[-1]}
    description = f"{loaded.description}, {', then '.join(entry['what'] for entry in steps)}"
    return Optimised(replace(loaded, module=list(stages.values())[-1], description=description), loaded.module, report)


class _Run:
    """What all steps of one run share."""

    def __init__(self, loaded: LoadedModel, settings: Settings, contract: Contract) -> None:
        self._trained = loaded.module
        self._settings = settings
        self._contract = contract

    def step(self, step: OptimiseStep, before: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
        """The module after one step, ``before`` left as it is, and what there is to say of it."""
        module = copy.deepcopy(before)
        if step.prune is not None:
            pruned = prune(module, step.prune, self._example, self._settings.root, step.seed)
            what = f"pruned by {step.prune.ratio:.0%} ({step.prune.importance})"
            channels = {name: list(counts) for name, counts in pruned.channels.items()}
            entry = {"what": what, "function": step.prune.fine_tune, "channels": channels}
            return self._checked(pruned.module, what), entry
        return self._distilled(step.distil, module, step.seed)  # type: ignore[arg-type]  # the specification has one

    def _distilled(self, step: DistilStep, module: nn.Module, seed: int) -> tuple[nn.Module, dict[str, Any]]:
        with seeded(seed):  # a student without weights begins with random ones
            student = module if step.student is None else self._load(step.student).module
        teacher = self._load(step.teacher).module if step.teacher is not None else copy.deepcopy(self._trained)
        learnt = call_for_module(
            step.function, self._settings.root, seed, trainable(student), frozen(teacher), **step.arguments
        )
        what = f"distilled by {step.function}"
        return self._checked(frozen(learnt), what), {"what": what, "function": step.function}

    def _load(self, source: Any) -> LoadedModel:
        from export import sources

        return sources.load(
            source,
            self._settings.root,
            self._contract.classes,
            self._settings.cache_dir,
            input_size=self._size,
            activation=self._contract.postprocess.activation,
        )

    def _checked(self, module: nn.Module, what: str) -> nn.Module:
        expected = Expected(self._contract.classes, self._size, self._contract.postprocess.activation)
        try:
            check_answers(module, what, expected)
        except SourceInvalid as problem:
            raise OptimiseFailed(
                f"the module that was {problem.message}", observed=problem.observed, expected=problem.expected
            ) from problem
        return module

    @property
    def _size(self) -> tuple[int, int]:
        return self._contract.preprocess.height, self._contract.preprocess.width

    @property
    def _example(self) -> torch.Tensor:
        return torch.zeros(1, 3, *self._size)
