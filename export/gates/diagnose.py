"""Why an export disagrees: tries the mistakes that exports are known for and names the one that explains the numbers.

Each hypothesis is tested on the same pixels: it is the cause only when undoing it brings the export back to the
trained model, or when its own measurement shows it. Runs only after a gate has failed, and takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from export.gates.causes.batches import images_influence_each_other, train_mode
from export.gates.causes.case import Case
from export.gates.causes.earlier import stale
from export.gates.causes.inputs import channels_reversed, other_normalisation
from export.gates.causes.outputs import classes_reordered, classes_shifted, ignores_the_image, unrelated
from export.gates.causes.precision import (
    first_different_layer,
    integer_kernels,
    lower_arithmetic,
    other_calibration,
    overflow,
)

Hypothesis = Callable[[Case], str | None]

#: What can make logits NaN or infinite.
_NOT_FINITE: tuple[Hypothesis, ...] = (overflow, first_different_layer)
#: What can be wrong where the logits agree and something else does not: labels that are close, ranges that clip.
_CLOSE: tuple[Hypothesis, ...] = (
    images_influence_each_other,
    overflow,
    integer_kernels,
    other_calibration,
    first_different_layer,
)
#: Cheap and certain ones first; what always finds something last.
_DIFFERENT: tuple[Hypothesis, ...] = (
    ignores_the_image,
    train_mode,
    images_influence_each_other,
    stale,
    channels_reversed,
    classes_shifted,
    classes_reordered,
    overflow,
    integer_kernels,
    other_calibration,
    lower_arithmetic,
    other_normalisation,
    unrelated,
    first_different_layer,
)


def explain(case: Case) -> str | None:
    """One sentence with the cause, or None when no hypothesis explains it."""
    try:
        finite = bool(np.isfinite(case.found).all())
    except Exception:  # it does not even run one image: the gate has said so, with the runtime's own words
        return None
    if not finite:
        return _first(case, _NOT_FINITE)
    return _first(case, _CLOSE if case.agrees(case.found, case.wanted) else _DIFFERENT)


def _first(case: Case, hypotheses: Iterable[Hypothesis]) -> str | None:
    for hypothesis in hypotheses:
        try:
            text = hypothesis(case)
        except Exception:  # noqa: S112 - a hypothesis that cannot be tested on this model explains nothing
            continue
        if text is not None:
            return text
    return None
