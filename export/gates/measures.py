"""How much two sets of logits differ: relative to their scale, as signal over noise, and in what they predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.layers.compare import sqnr_db

if TYPE_CHECKING:
    from export.formats.base import Precision

Logits = NDArray[np.float32]

#: What one step of a precision is worth at the scale of the outputs: 2^-11 and 2^-8 are half a unit in the last place
#: of fp16 and bfloat16, 2^-8 is one of INT8's 256 steps. Two labels that are closer in the trained model are tied.
STEPS: dict[Precision, float] = {"fp32": 2.0**-20, "fp16": 2.0**-11, "bf16": 2.0**-8, "int8": 2.0**-8}


@dataclass(frozen=True)
class Agreement:
    """``share``: of images whose best label agrees, ties included; ``ties``: how many agree only because one of the two
    models is undecided between two labels; ``disagreeing``: indices of the others; ``classes``: how many different
    labels the trained model predicts."""

    share: float
    ties: int
    disagreeing: tuple[int, ...]
    classes: int


def relative_difference(found: Logits, wanted: Logits, scale: float) -> float:
    """Largest absolute difference over ``scale``; infinite for outputs that are not finite."""
    worst = float(np.max(np.abs(found.astype(np.float64) - wanted)))
    return worst / scale if np.isfinite(worst) else float("inf")


def signal_to_noise(found: Logits, wanted: Logits) -> float:
    """10 log10 of signal over noise power, dB, in -200..200; -inf for outputs that are not finite.

    The signal is what distinguishes the images: each logit less its mean over them. Logits that are large and the same
    for every image would otherwise make any noise look small. A single image has no such mean and keeps its logits.
    """
    exact = wanted.astype(np.float64)
    signal = exact - exact.mean(axis=0) if len(exact) > 1 else exact
    noise = float(np.sum((found.astype(np.float64) - exact) ** 2))
    return sqnr_db(float(np.sum(signal**2)), noise)


def agreement(found: Logits, wanted: Logits, precision: Precision) -> Agreement:
    """Compares the best labels of float32[n, classes] logits; never by index where ties can reorder.

    A label agrees when the trained model itself gives it no less than its best one, within one step of the precision
    at the scale of the outputs: rounding may turn such a pair around, and neither order is wrong. Where the export
    gives several labels exactly the same logit, as INT8 outputs do, one of them must agree.
    """
    step = STEPS[precision] * float(np.max(np.abs(wanted)))
    right = wanted >= wanted.max(axis=1, keepdims=True) - step
    agrees = np.any((found == found.max(axis=1, keepdims=True)) & right, axis=1)
    best = wanted.argmax(axis=1)
    return Agreement(
        float(np.mean(agrees)),
        int(np.count_nonzero(agrees & (found.argmax(axis=1) != best))),
        tuple(int(index) for index in np.flatnonzero(~agrees)),
        len(np.unique(best)),
    )
