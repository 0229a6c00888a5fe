"""Gate 3, ``accuracy``: the export still does the task: held-out images through the whole pipeline.

Trained model and export see the same encoded bytes, decoded and resized by the code that serves. With labels, the
accuracy of both is compared; without, a specification may accept the agreement of their best labels instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.gates.base import Candidate, GateResult, Reference
from slipway.errors import NetworkFailed


class Accuracy:
    """See the module's text."""

    name = "accuracy"

    def check(self, reference: Reference, candidate: Candidate) -> GateResult:
        """``minimum`` holds for the trained model and for the export; ``max_drop`` between the two."""
        measured: dict[str, Any] = {
            "images": len(reference.held_out.images),
            "labelled": reference.held_out.labelled,
        }
        reason = self._judge(reference, candidate, measured)
        rules = reference.gates.accuracy
        threshold = {"minimum": rules.minimum, "max_drop": rules.max_drop}
        least = "" if rules.minimum is None else f">= {rules.minimum:.4f}, "
        allowed = f"{least}drop <= {rules.max_drop:.4f}"
        found = _found(measured)
        return GateResult(self.name, candidate.format, reason is None, measured, threshold, reason, found, allowed)

    def _judge(self, reference: Reference, candidate: Candidate, measured: dict[str, Any]) -> str | None:
        rules = reference.gates.accuracy
        if not reference.held_out.labelled and not rules.accept_unlabelled:
            return (
                "the held-out images have no labels, so nothing shows that the export does its task; name them "
                "<label>_<index>.png, or set gates.accuracy.accept_unlabelled"
            )
        trained = np.array(reference.top1)
        try:
            exported = np.array(reference.predict(candidate.run))
        except NetworkFailed as problem:
            return f"the pipeline fails with it: {problem}"
        measured["agreement"] = float(np.mean(trained == exported))
        if reference.held_out.labelled:
            return _with_labels(reference, trained, exported, measured)
        return _without_labels(rules.max_drop, measured)


def _found(measured: dict[str, Any]) -> str:
    if "trained" in measured:
        return f"{measured['exported']:.4f} (trained {measured['trained']:.4f}), {measured['images']} images"
    if "agreement" in measured:
        return f"agreement {measured['agreement']:.4f}, {measured['images']} unlabelled images"
    return f"{measured['images']} images"


def _with_labels(
    reference: Reference, trained: NDArray[np.int_], exported: NDArray[np.int_], measured: dict[str, Any]
) -> str | None:
    truth = np.array([image.label for image in reference.held_out.images])
    rules = reference.gates.accuracy
    before, after = float(np.mean(trained == truth)), float(np.mean(exported == truth))
    measured.update(trained=before, exported=after, drop=before - after)
    if rules.minimum is not None and before < rules.minimum:
        hint = _label_hint(trained, truth) or _channel_hint(reference, truth, before)
        return f"the trained model itself reaches {before:.4f}, below {rules.minimum:.4f}{hint}"
    if rules.minimum is not None and after < rules.minimum:
        return f"the export reaches {after:.4f}, below {rules.minimum:.4f}{_label_hint(exported, truth)}"
    # one image more or less is not a rounding matter: the tolerance only absorbs the float subtraction
    if before - after > rules.max_drop + 1e-9:
        return f"the export loses {before - after:.4f} (allowed {rules.max_drop:.4f}){_label_hint(exported, truth)}"
    return None


def _without_labels(max_drop: float, measured: dict[str, Any]) -> str | None:
    if measured["agreement"] >= 1.0 - max_drop - 1e-9:
        return None
    return f"the best label agrees with the trained model on {measured['agreement']:.4f} (allowed {1 - max_drop:.4f})"


def _channel_hint(reference: Reference, truth: NDArray[np.int_], here: float) -> str:
    """Names a colour order that the training did not have: the trained model is better with the other one."""
    best = reference.predict(lambda pixels: reference.run(np.ascontiguousarray(pixels[..., ::-1])))
    reversed_order = float(np.mean(np.array(best) == truth))
    if reversed_order - here < 0.05:
        return ""
    colour = reference.contract.preprocess.colour
    return f": it reaches {reversed_order:.4f} with the channels reversed; input.colour {colour} looks wrong"


def _label_hint(predicted: NDArray[np.int_], truth: NDArray[np.int_]) -> str:
    """Names a label list in the wrong order: predictions that are wrong, yet a fixed function of the truth."""
    classes = int(max(predicted.max(), truth.max())) + 1
    shifts = {shift: float(np.mean((predicted + shift) % classes == truth)) for shift in range(1, classes)}
    best = max(shifts, key=lambda shift: shifts[shift]) if shifts else 0
    here = float(np.mean(predicted == truth))
    if best and shifts[best] > 0.5 and shifts[best] > 2 * here:
        signed = best if best <= classes // 2 else best - classes
        return f": labels are shifted by {signed:+d} (that way {shifts[best]:.4f} would be right); correct their order"
    if len(truth) < 5 * classes:
        return ""
    mapping = {int(p): np.bincount(truth[predicted == p]).argmax() for p in np.unique(predicted)}
    mapped = float(np.mean([mapping[int(p)] == t for p, t in zip(predicted, truth, strict=True)]))
    if mapped > 0.5 and mapped > 2 * here and len(set(mapping.values())) > 1:
        return f": the labels are in another order than the outputs ({mapped:.4f} would be right after reordering)"
    return ""
