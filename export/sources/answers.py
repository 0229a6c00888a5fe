"""Checks by forward passes that a module answers as a classifier must, before anything is exported from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from slipway.errors import SourceInvalid

#: Two passes over one image may differ by this much of the largest logit: kernels of other batch sizes round
#: otherwise (float16 networks by 1e-3), while batch statistics or dropout change a tenth and more.
_SAME = 1e-2
#: Logits that all lie in 0..1 and sum to one within this are probabilities.
_SUMS_TO_ONE = 1e-4


@dataclass(frozen=True)
class Expected:
    """``num_classes``: None for a network that is no classifier. ``input_size``: height and width. ``activation``: what
    the contract applies to the outputs, None for unknown."""

    num_classes: int | None
    input_size: tuple[int, int]
    activation: str | None = None


def check_answers(module: nn.Module, name: str, expected: Expected) -> None:
    """A batch of a grey and a noisy image must give ``float[2, num_classes]``, of another network ``float[2, ...]``:
    finite, repeatable, each image alone.

    Raises SourceInvalid with what the module does instead.
    """
    images = _images(expected.input_size)
    logits = _run(module, name, images)
    if expected.num_classes is None:
        _check_rows(logits, name)
    elif tuple(logits.shape) != (2, expected.num_classes):
        raise SourceInvalid(
            f"{name} does not give one logit per label",
            observed=f"output {tuple(logits.shape)} for 2 images",
            expected=f"(2, {expected.num_classes}), because the specification has {expected.num_classes} labels",
            fix="correct labels, or the builder's number of classes in source.arguments"
            if logits.ndim == 2
            else "flatten the output to [N, classes] in the network",
        )
    if not bool(torch.isfinite(logits).all()):
        raise SourceInvalid(
            f"{name} gives infinite logits or NaN for a grey image or noise",
            observed=f"{int((~torch.isfinite(logits)).sum())} of {logits.numel()} logits",
            expected="finite logits",
            fix="check the training: such weights cannot be served",
        )
    _check_repeatable(module, name, images, logits)
    if expected.num_classes is not None:
        _check_no_probabilities(name, logits, expected.activation)


def _check_rows(outputs: torch.Tensor, name: str) -> None:
    if outputs.ndim >= 2 and len(outputs) == 2:
        return
    raise SourceInvalid(
        f"{name} does not give one row per image",
        observed=f"output {tuple(outputs.shape)} for 2 images",
        expected="(2, ...): the batch is the first axis of one output",
        fix="return one tensor with the batch first; join several along another axis",
    )


def _images(input_size: tuple[int, int]) -> torch.Tensor:
    """float32[2, 3, H, W]: grey, and noise of the usual scale of normalised images."""
    images = torch.zeros(2, 3, *input_size)
    images[1].normal_(generator=torch.Generator().manual_seed(0))
    return images


def _run(module: nn.Module, name: str, images: torch.Tensor) -> torch.Tensor:
    try:
        with torch.inference_mode():
            logits = module(images)
    except SourceInvalid:
        raise
    except Exception as problem:  # the module is the user's code: whatever it raises is the finding
        raise SourceInvalid(
            f"{name} fails on an input of shape {tuple(images.shape)}",
            observed=f"{type(problem).__name__}: {_told(problem)}",
            expected="a module that takes normalised float32[N, 3, height, width], with N from 1 up",
            fix="correct input.height and input.width, or the module (a batch size that is baked in shows here)",
        ) from problem
    if not isinstance(logits, torch.Tensor):
        raise SourceInvalid(
            f"{name} returns no tensor",
            observed=type(logits).__name__,
            expected="one tensor of logits [N, classes]",
            fix="wrap the module in a factory that returns the logits alone",
        )
    return logits.to(torch.float32)


def _check_repeatable(module: nn.Module, name: str, images: torch.Tensor, logits: torch.Tensor) -> None:
    """A network saved in train mode cannot be put into eval mode from outside (files), but it can be found out."""
    allowed = _SAME * float(logits.abs().max())
    again = float((_run(module, name, images) - logits).abs().max())
    if again > allowed:
        raise SourceInvalid(
            f"{name} gives another answer for the same images each time",
            observed=f"logits differ by {again:.3g}",
            expected="the same logits: dropout is off in eval mode",
            fix="call eval() before the network is saved",
        )
    alone = torch.cat([_run(module, name, images[:1]), _run(module, name, images[1:])])
    apart = float((alone - logits).abs().max()) if alone.shape == logits.shape else float("inf")
    if apart > allowed:
        raise SourceInvalid(
            f"{name}: images of one batch influence each other",
            observed=f"an image alone gives logits that differ by {apart:.3g}",
            expected="the same logits, whatever else is in the batch: batch normalisation uses its running statistics",
            fix="call eval() before the network is saved",
        )


def _check_no_probabilities(name: str, logits: torch.Tensor, activation: str | None) -> None:
    """Softmax over probabilities keeps the order but flattens every score, which no comparison of formats can see."""
    if activation != "softmax" or logits.shape[1] < 2:
        return
    sums = logits.sum(dim=1)
    if float(logits.min()) >= 0 and bool(((sums - 1).abs() < _SUMS_TO_ONE).all()):
        raise SourceInvalid(
            f"{name} gives probabilities, and postprocess.activation is softmax: scores would be flattened",
            observed=f"outputs sum to {', '.join(f'{value:.5f}' for value in sums.tolist())}",
            expected="logits, or postprocess.activation: none",
            fix="set postprocess.activation to none, or take the output before the Softmax",
        )


def _told(problem: Exception) -> str:
    """The first line that says something; TorchScript's first ones only announce its traceback."""
    lines = [line.strip() for line in str(problem).strip().splitlines() if line.strip()]
    if lines and lines[0].startswith("The following operation failed"):
        return lines[-1][:400]
    return lines[0][:400] if lines else "no message"
