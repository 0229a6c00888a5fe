"""Which part of a picture becomes which part of the network's input: arithmetic only, no pixels.

``shorter_side`` reproduces torchvision's ``Resize(n)`` + ``CenterCrop((H, W))`` to the pixel: the longer side is
truncated, ``int(n * long / short)``, and the crop's corner is ``int(round((side - crop) / 2.0))``, half to even
(torchvision.transforms.functional._compute_resized_output_size and center_crop, 0.28).
"""

from __future__ import annotations

from dataclasses import dataclass

from slipway.contract import Preprocess
from slipway.errors import ContractInvalid


@dataclass(frozen=True)
class Placement:
    """``box`` (left, top, right, bottom in source pixels, fractions allowed) is resampled to ``patch`` (width, height)
    and lands at ``offset`` (left, top) of the input; the rest of the input, if any, is filled. ``resized`` is the
    (width, height) that the whole picture would have at that scale."""

    box: tuple[float, float, float, float]
    patch: tuple[int, int]
    offset: tuple[int, int]
    resized: tuple[int, int]


def shorter_side_target(contract: Preprocess) -> int:
    """``resize_to``, or the larger side of the input where it is 0. Raises ContractInvalid when the crop cannot fit."""
    least = max(contract.height, contract.width)
    target = contract.resize_to or least
    if target < least:
        raise ContractInvalid(
            "preprocess.resize_to is smaller than the crop",
            observed=target,
            expected=f"0 or at least {least}",
            fix="raise resize_to, or lower height and width",
        )
    return target


def place(size: tuple[int, int], contract: Preprocess) -> Placement:
    """Where a picture of ``size`` (width, height) goes."""
    if contract.resize == "shorter_side":
        return _shorter_side(size, (contract.width, contract.height), shorter_side_target(contract))
    if contract.resize == "letterbox":
        return _letterbox(size, (contract.width, contract.height))
    target = (contract.width, contract.height)
    return Placement((0, 0, *size), target, (0, 0), target)


def _shorter_side(size: tuple[int, int], crop: tuple[int, int], target: int) -> Placement:
    width, height = size
    longer = int(target * max(size) / min(size))
    resized = (target, longer) if width <= height else (longer, target)
    left, top = round((resized[0] - crop[0]) / 2.0), round((resized[1] - crop[1]) / 2.0)
    box = (
        left * width / resized[0],
        top * height / resized[1],
        (left + crop[0]) * width / resized[0],
        (top + crop[1]) * height / resized[1],
    )
    return Placement(box, crop, (0, 0), resized)


def _letterbox(size: tuple[int, int], target: tuple[int, int]) -> Placement:
    scale = min(target[0] / size[0], target[1] / size[1])
    patch = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    offset = ((target[0] - patch[0]) // 2, (target[1] - patch[1]) // 2)
    return Placement((0, 0, *size), patch, offset, patch)
