"""Gate 2, ``parity``: the same bytes give the same logits as the trained model, at every batch size.

fp32 formats are held to the largest absolute difference over the largest absolute logit of the trained model on real
images. What computes in fewer bits (fp16, bf16, INT8) is held to the signal over noise of its logits and to its best
labels over all held-out images. Neither passes where it could not have failed: a scale near zero, outputs that do not
depend on the image, a reduced format that turns out to be computed in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import root_cause
from export.gates.base import Candidate, GateResult, Reference, batch_sizes, in_batches
from export.gates.causes.case import Case
from export.gates.causes.layers import calibrated_ranges, describe
from export.gates.causes.precision import largest_activation, overflow
from export.gates.diagnose import explain
from export.gates.measures import agreement
from export.gates.parity_rules import Problem, Rule, rule_for
from slipway.errors import NetworkFailed, SlipwayError

#: Below this largest logit, float32 rounding (about 1e-7 of intermediate values near 1) is as large as the answer.
SMALLEST_SCALE = 1e-4
#: The images' logits must differ among each other by this part of the scale.
SMALLEST_SPREAD = 1e-5


class Parity:
    """See the module's text."""

    name = "parity"

    def check(self, reference: Reference, candidate: Candidate) -> GateResult:
        """Compares at every batch size of the specification, 1 and the largest always among them, and on all held-out
        images through the whole pipeline."""
        rule = rule_for(reference, candidate.precision)
        threshold = {"precision": candidate.precision, **rule.threshold, "smallest_scale": SMALLEST_SCALE}
        measured: dict[str, Any] = {"images": len(reference.pixels), **_scale(reference.logits)}
        if (vacuous := _vacuous(measured)) is not None:
            found = f"scale {measured['scale']:.1e}"
            return GateResult(self.name, candidate.format, False, measured, threshold, vacuous, found, rule.allowed)
        with Case(reference, candidate) as case:
            problems = list(_compare(case, rule, measured))
            reason = _told(problems[0], case) if problems else None
        found = f"{rule.found(measured)}, {measured['held_out']} images"
        return GateResult(self.name, candidate.format, reason is None, measured, threshold, reason, found, rule.allowed)


def _told(problem: Problem, case: Case) -> str:
    cause = None if problem.known else explain(case)
    return f"{problem.text}: {cause}" if cause else problem.text


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


def _compare(case: Case, rule: Rule, measured: dict[str, Any]) -> Iterator[Problem]:
    """Fills ``measured`` and yields what is wrong, the most telling first."""
    yield from _by_batch_size(case, rule, measured)
    yield from _on_all_images(case, rule, measured)
    if case.candidate.precision == "fp16":
        yield from _overflow(case, measured)
    elif case.candidate.precision == "int8":
        yield from _clipped(case, measured)


def _by_batch_size(case: Case, rule: Rule, measured: dict[str, Any]) -> Iterator[Problem]:
    reference = case.reference
    by_size: dict[str, float] = {}
    for size in batch_sizes(reference.gates.parity.batch_sizes, reference.contract.network.max_batch_size):
        by_size[str(size)], problem = _at_batch(reference, case.candidate, size, rule, measured["scale"])
        if problem is not None:
            yield problem
    measured["by_batch_size"] = by_size
    measured[rule.name] = rule.worst(list(by_size.values()))


def _on_all_images(case: Case, rule: Rule, measured: dict[str, Any]) -> Iterator[Problem]:
    names, wanted = case.reference.names, case.reference.outcome.logits
    measured["held_out"] = len(names)
    try:
        found = case.candidate.outcome(case.reference).logits
    except NetworkFailed as problem:
        yield Problem(f"the pipeline fails with it: {problem}")
        return
    overall = rule.measure(found, wanted, measured["scale"])
    measured[rule.name] = rule.worst([measured[rule.name], overall])
    yield from rule.problems(overall, "on all held-out images")
    if case.reference.classes is None:
        return  # what its outputs stand for is seen by gate 3, in whole answers
    labels = agreement(found, wanted, case.candidate.precision)
    measured.update(agreement=labels.share, ties=labels.ties, predicted_classes=labels.classes)
    yield from rule.label_problems(labels, [names[index] for index in labels.disagreeing[:5]])


def _overflow(case: Case, measured: dict[str, Any]) -> Iterator[Problem]:
    """A CPU that computes fp16 files in fp32 shows no overflow in its answers; what the layers reach shows it."""
    largest = largest_activation(case)
    measured["largest_activation"] = largest.value if largest else None
    if (text := overflow(case)) is not None:
        yield Problem(text, known=True)


def _clipped(case: Case, measured: dict[str, Any]) -> Iterator[Problem]:
    """Ranges that real images leave lose what no label of a few images shows. Where the file tells its ranges."""
    try:
        ranges = calibrated_ranges(case)
    except SlipwayError as problem:
        measured["calibration"] = {"unreadable": str(problem)}
        return
    if not ranges:
        return
    worst, limit = max(ranges, key=lambda item: item.clipped), case.reference.gates.parity.int8.max_clipped
    measured["calibration"] = {
        "ranges": len(ranges),
        "clipped": worst.clipped,
        "narrowest": min(item.width for item in ranges),
        "widest": max(item.width for item in ranges),
    }
    if worst.clipped > limit:
        yield Problem(f"{worst.clipped:.1%} of the values of {describe(worst.layer)} are clipped (allowed {limit:.1%})")


def _at_batch(
    reference: Reference, candidate: Candidate, size: int, rule: Rule, scale: float
) -> tuple[float, Problem | None]:
    """The measure at one batch size, and what is wrong, if anything."""
    try:
        output = in_batches(candidate.run, reference.pixels, size)
    except Exception as problem:  # each runtime has its own; the text is the finding
        return rule.nothing, Problem(f"batch {size} does not run: {root_cause(problem)}")
    if output.shape != reference.logits.shape:
        return rule.nothing, Problem(f"batch {size} gives shape {output.shape}, not {reference.logits.shape}")
    if bad := int(np.count_nonzero(~np.isfinite(output))):
        return rule.nothing, Problem(f"{bad} of {output.size} logits are NaN or infinite at batch {size}")
    value = rule.measure(output, reference.logits, scale)
    return value, next(rule.problems(value, f"at batch {size}"), None)
