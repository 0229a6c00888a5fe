"""Which batches the gates ask a network for: traced, so that a GPU machine can be asked for exactly those."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.gates.base import Candidate, GateResult, Reference
from export.gates.registry import judge

Judge = Callable[[Reference, Candidate], list[GateResult]]


@dataclass(frozen=True)
class Requests:
    """``pixels``: uint8[m, H, W, 3], every image once, the given ones first. ``sizes``: int64[r], images of each batch.
    ``images``: int64[sum of sizes], what each batch holds, as indices of ``pixels``."""

    pixels: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    images: NDArray[np.int64]


def image_key(image: NDArray[np.uint8]) -> bytes:
    """sha256 of an image's pixels; batches have the same of theirs."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()


def trace_requests(reference: Reference, first: NDArray[np.uint8], judge_with: Judge = judge) -> Requests:
    """Every different batch that the gates ask of a network which answers as the trained model does.

    ``first``: uint8[n, H, W, 3], images that come first in ``pixels``, asked for or not. A gate that fails asks further
    to find the cause; nobody can know those batches before, and a recording has no answer to them.
    """
    known: dict[bytes, int] = {image_key(image): index for index, image in reversed(list(enumerate(first)))}
    pixels = list(first)
    batches: dict[bytes, list[int]] = {}

    def network(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if (key := image_key(batch)) not in batches:
            batches[key] = [_index(image) for image in batch]
        return reference.run(batch)

    def _index(image: NDArray[np.uint8]) -> int:
        index = known.setdefault(image_key(image), len(pixels))
        if index == len(pixels):
            pixels.append(np.array(image))
        return index

    judge_with(reference, Candidate("traced", lambda: network))
    return Requests(
        np.stack(pixels),
        np.array([len(batch) for batch in batches.values()], dtype=np.int64),
        np.array([index for batch in batches.values() for index in batch], dtype=np.int64),
    )
