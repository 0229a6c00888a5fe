"""Loads tensors into a module; every name and shape must fit, and what does not is listed with the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch
from torch import nn

from slipway.errors import SourceInvalid

#: How many names or shapes one message lists.
_SHOWN = 5
#: Counts training batches and is not read in eval mode; checkpoints written before torch 0.4.1 have none.
_OPTIONAL = "num_batches_tracked"


def load_state(module: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Copies ``tensors`` into ``module``; ``where`` names the checkpoint in messages.

    Raises SourceInvalid for missing and unexpected names, other shapes, and weights that are NaN or infinite.
    """
    wanted = module.state_dict()
    _check_names(wanted, tensors, where)
    _check_shapes(wanted, tensors, where)
    _check_finite(tensors, where)
    module.load_state_dict(dict(tensors), strict=False)


def _check_names(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], where: str) -> None:
    missing = [name for name in wanted if name not in given and not name.endswith(_OPTIONAL)]
    unexpected = [name for name in given if name not in wanted]
    if not missing and not unexpected:
        return
    observed = []
    if missing:
        observed.append(f"{len(missing)} missing: {_listed(missing, unexpected)}")
    if unexpected:
        observed.append(f"{len(unexpected)} unexpected: {_listed(unexpected, missing)}")
    raise SourceInvalid(
        f"{where} does not fit the module: names differ",
        observed="; ".join(observed),
        expected=f"the module's {len(wanted)} names",
        fix="correct the builder or its arguments, or take the checkpoint of this architecture",
    )


def _listed(names: list[str], others: list[str]) -> str:
    """The first names, each with the nearest of ``others``: a renamed layer shows itself."""
    shown = []
    for name in names[:_SHOWN]:
        near = difflib.get_close_matches(name, others[:1000], n=1, cutoff=0.6)
        shown.append(f"{name} (nearest: {near[0]})" if near else name)
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")


def _check_shapes(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], where: str) -> None:
    wrong = [
        f"{name} {tuple(given[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        raise SourceInvalid(
            f"{where} does not fit the module: {len(wrong)} shapes differ (the checkpoint's for the module's)",
            observed=", ".join(wrong[:_SHOWN]) + (", ..." if len(wrong) > _SHOWN else ""),
            expected="equal shapes",
            fix="correct source.arguments, or the number of labels when only the last layer differs",
        )


def _check_finite(tensors: Mapping[str, torch.Tensor], where: str) -> None:
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise SourceInvalid(
            f"{where} holds NaN or infinite weights",
            observed=", ".join(bad[:_SHOWN]) + (", ..." if len(bad) > _SHOWN else ""),
            expected="finite weights",
            fix="check the training: such weights cannot be served",
        )
