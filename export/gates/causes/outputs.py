"""Mistakes behind the network: outputs that are shifted, in another order, or no answer to the image at all."""

from __future__ import annotations

import numpy as np

from export.gates.causes.case import Case

#: Outputs that differ between images by less than this part of the largest one do not look at the image.
_CONSTANT = 1e-5
#: Two networks that were trained on the same task correlate well above this; other tasks and random weights below.
_UNRELATED = 0.3


def ignores_the_image(case: Case) -> str | None:
    """Every image gets the same logits."""
    spread, largest = float(np.max(np.ptp(case.found, axis=0))), float(np.max(np.abs(case.found)))
    if len(case.found) > 1 and spread <= _CONSTANT * largest:
        return "its logits are the same for every image: the input does not reach the output"
    return None


def classes_shifted(case: Case) -> str | None:
    """All outputs moved by the same number of places."""
    for shift in range(1, case.found.shape[1]):
        if case.explains(np.roll(case.found, shift, axis=1), case.wanted):
            return f"its outputs are shifted by {case.found.shape[1] - shift} places against the labels"
    return None


def classes_reordered(case: Case) -> str | None:
    """Each output is that of another label: the order that fits best makes it agree."""
    from scipy.optimize import linear_sum_assignment

    if len(case.found) < 2:
        return None
    found, wanted = case.found.astype(np.float64), case.wanted.astype(np.float64)
    distances = (found**2).sum(0)[:, None] + (wanted**2).sum(0)[None, :] - 2.0 * found.T @ wanted
    source, target = linear_sum_assignment(distances)
    order = np.empty_like(source)
    order[target] = source
    moved = int(np.count_nonzero(order != np.arange(len(order))))
    if not moved or not case.explains(case.found[:, order], case.wanted):
        return None
    example = int(np.flatnonzero(order != np.arange(len(order)))[0])
    labels = case.reference.contract.labels
    return (
        f"its outputs are in another order than the labels: {moved} of {len(order)} are elsewhere, {labels[example]!r} "
        f"is output {int(order[example])} instead of {example}"
    )


def unrelated(case: Case) -> str | None:
    """The last resort: logits that have nothing to do with the trained model's."""
    if len(case.found) < 2 or not np.isfinite(case.found).all():
        return None
    found, wanted = (array - array.mean(axis=0) for array in (case.found, case.wanted))
    power = float(np.sqrt(np.sum(found.astype(np.float64) ** 2) * np.sum(wanted.astype(np.float64) ** 2)))
    correlation = float(np.sum(found.astype(np.float64) * wanted)) / power if power else 0.0
    if correlation > _UNRELATED:
        return None
    return (
        f"its answers are another model's: over the images its logits correlate with the trained model's by "
        f"{correlation:.2f} only (stale weights, or the file of another model?)"
    )
