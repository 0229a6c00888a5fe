"""Gate 2, ``parity``: the same pixels give the same logits as the trained model, at every batch size.

The measure is the largest absolute difference over the largest absolute logit of the trained model on real images.
It fails when it could not have failed otherwise: a scale near zero or outputs that do not depend on the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import root_cause
from export.gates.base import Candidate, GateResult, Reference, batch_sizes, in_batches
from export.gates.diagnose import explain

#: Below this largest logit, float32 rounding (about 1e-7 of intermediate values near 1) is as large as the answer.
SMALLEST_SCALE = 1e-4
#: The images' logits must differ among each other by this part of the scale.
SMALLEST_SPREAD = 1e-5


class Parity:
    """See the module's text."""

    name = "parity"

    def check(self, reference: Reference, candidate: Candidate) -> GateResult:
        """Compares at every batch size of the specification, 1 and the largest always among them."""
        limit = reference.gates.parity.max_relative_difference
        threshold: dict[str, Any] = {"max_relative_difference": limit, "smallest_scale": SMALLEST_SCALE}
        measured: dict[str, Any] = {"images": len(reference.pixels), **_scale(reference.logits)}
        allowed = f"<= {limit:.1e} of scale"
        if (vacuous := _vacuous(measured)) is not None:
            found = f"scale {measured['scale']:.1e}"
            return GateResult(self.name, candidate.format, False, measured, threshold, vacuous, found, allowed)
        by_size: dict[str, float] = {}
        reason = None
        for size in batch_sizes(reference.gates.parity.batch_sizes, reference.contract.network.max_batch_size):
            by_size[str(size)], problem = _difference(reference, candidate, size, measured["scale"], limit)
            reason = reason or problem
        measured["by_batch_size"] = by_size
        measured["max_relative_difference"] = float(np.max(list(by_size.values())))
        found = f"{measured['max_relative_difference']:.1e} of scale, {len(reference.pixels)} images"
        return GateResult(self.name, candidate.format, reason is None, measured, threshold, reason, found, allowed)


def _scale(logits: NDArray[np.float32]) -> dict[str, float]:
    spread = float(np.max(np.ptp(logits, axis=0))) if len(logits) > 1 else float("nan")
    return {"scale": float(np.max(np.abs(logits))), "spread_between_images": spread}


def _vacuous(measured: dict[str, Any]) -> str | None:
    scale, spread = measured["scale"], measured["spread_between_images"]
    if not np.isfinite(scale):
        return "the trained model itself gives NaN or infinite logits on the held-out images"
    if scale < SMALLEST_SCALE:
        return (
            f"vacuous: the trained model's largest logit is {scale:.3g}, so agreement would mean nothing; "
            "is the head untrained or zero-initialised?"
        )
    if spread < SMALLEST_SPREAD * scale:
        return f"vacuous: the trained model's logits do not depend on the image (spread {spread:.3g})"
    return None


def _difference(
    reference: Reference, candidate: Candidate, size: int, scale: float, limit: float
) -> tuple[float, str | None]:
    """Largest relative difference at one batch size, and what is wrong, if anything."""
    try:
        output = in_batches(candidate.run, reference.pixels, size)
    except Exception as problem:  # each runtime has its own; the text is the finding
        return float("inf"), f"batch {size} does not run: {root_cause(problem)}"
    if output.shape != reference.logits.shape:
        return float("inf"), f"batch {size} gives shape {output.shape}, not {reference.logits.shape}"
    if bad := int(np.count_nonzero(~np.isfinite(output))):
        return float("inf"), f"{bad} of {output.size} logits are NaN or infinite at batch {size}"
    worst = float(np.max(np.abs(output - reference.logits))) / scale
    if worst <= limit:
        return worst, None
    text = f"logits differ by {worst:.3g} of their scale at batch {size} (allowed {limit:.3g})"
    cause = explain(reference, candidate)
    return worst, f"{text}: {cause}" if cause else text
