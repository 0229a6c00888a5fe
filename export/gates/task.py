"""Gate 3, ``task``: the export still does the task: held-out images through the whole pipeline.

Trained model and export see the same encoded bytes, decoded and resized by the code that serves. With labels the gate
asks whether the export is non-inferior: with the declared confidence it loses no more than the margin. Too few labels
to say so fail, with the number that would do; without labels a specification may accept agreement instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.gates.answers import judge_answers
from export.gates.base import Candidate, GateResult, Reference
from export.statistics.proportions import compare_answers
from export.statistics.verdict import ROUNDING, Comparison
from handlers.calls import only
from slipway.errors import NetworkFailed

if TYPE_CHECKING:
    from handlers.classification import ClassificationResult
    from slipway.spec.gates_task import TaskGate

Answers = NDArray[np.int_]
_MOST_SHOWN = 20


class Task:
    """See the module's text."""

    name = "task"

    def check(self, reference: Reference, candidate: Candidate) -> GateResult:
        """``minimum`` holds for the trained model and for the export; ``margin`` between the two."""
        if reference.whole is not None:
            return judge_answers(reference.whole, only(candidate.run, reference.contract), candidate.format)
        rules = reference.gates.task
        measured: dict[str, Any] = {
            "metric": "top-1",
            "images": len(reference.held_out.images),
            "labelled": reference.held_out.labelled,
        }
        reason = _judge(reference, candidate, measured)
        threshold = rules.model_dump(mode="json")
        found, allowed = _found(measured), _allowed(rules, reference.held_out.labelled)
        return GateResult(self.name, candidate.format, reason is None, measured, threshold, reason, found, allowed)


def _judge(reference: Reference, candidate: Candidate, measured: dict[str, Any]) -> str | None:
    rules = reference.gates.task
    if not reference.held_out.labelled and not rules.accept_unlabelled:
        return (
            "the held-out images have no labels, so nothing shows that the export does its task; name them "
            "<label>_<index>.png, or set gates.task.accept_unlabelled"
        )
    try:
        exported = _best(reference, candidate.outcome(reference).answers)
    except NetworkFailed as problem:
        return f"the pipeline fails with it: {problem}"
    trained = np.array(reference.trained_top1)
    measured["agreement"] = float(np.mean(trained == exported))
    measured["disagreements"] = _disagreements(reference, trained, exported)
    if reference.held_out.labelled:
        return _with_labels(reference, trained, exported, measured)
    return _without_labels(rules, measured)


def _disagreements(reference: Reference, trained: Answers, exported: Answers) -> list[dict[str, Any]]:
    """The first images that the two answer differently, by name and label, for people to look at."""
    labels, images = reference.contract.labels, reference.held_out.images
    differ = np.flatnonzero(trained != exported)[:_MOST_SHOWN].tolist()
    return [
        {
            "image": images[index].name,
            "label": None if (truth := images[index].label) is None else labels[truth],
            "trained": labels[trained[index]],
            "exported": labels[exported[index]],
        }
        for index in differ
    ]


def _best(reference: Reference, answers: Sequence[ClassificationResult]) -> Answers:
    index = {label: number for number, label in enumerate(reference.contract.labels)}
    return np.array([index[answer.labels[0]] for answer in answers])


def _with_labels(reference: Reference, trained: Answers, exported: Answers, measured: dict[str, Any]) -> str | None:
    truth = np.array([image.label for image in reference.held_out.images])
    rules = reference.gates.task
    found = compare_answers(trained == truth, exported == truth, rules.margin, rules.confidence)
    measured.update(found.to_dict())
    if rules.minimum is not None and found.trained < rules.minimum:
        hint = _label_hint(trained, truth) or _channel_hint(reference, truth, found.trained)
        return f"the trained model itself reaches {found.trained:.4f}, below {rules.minimum:.4f}{hint}"
    if rules.minimum is not None and found.exported < rules.minimum:
        return f"the export reaches {found.exported:.4f}, below {rules.minimum:.4f}{_label_hint(exported, truth)}"
    if (cause := _label_hint(trained, truth)) or (cause := _no_better_than_guessing(trained, truth)):
        return f"the trained model itself is right on {found.trained:.4f}{cause}"
    if found.verdict == "worse":
        return (
            f"the export loses {found.drop:.4f} (allowed {rules.margin:g}): of {found.images} images "
            f"{found.details['lost']} lost, {found.details['gained']} gained{_label_hint(exported, truth)}"
        )
    if found.verdict == "undecided" and not rules.accept_undecided:
        return _too_few(found)
    return None


def _no_better_than_guessing(trained: Answers, truth: Answers) -> str:
    """Agreement with a model that does not do the task would show nothing."""
    classes, counts = np.unique(truth, return_counts=True)
    most = float(np.max(counts)) / len(truth)
    if len(classes) == 1 or float(np.mean(trained == truth)) > most:
        return ""
    return f", no more than always answering the most frequent label ({most:.4f}): wrong labels, images or weights?"


def _too_few(found: Comparison) -> str:
    """Why the labels do not decide, and how many would."""
    shares = "without a difference" if found.details["lost"] == found.details["gained"] == 0 else "like these"
    needed = "no number of them" if found.needed is None else f"about {found.needed}"
    return (
        f"too few labels to decide: {found.images} images, {found.details['lost']} lost, {found.details['gained']} "
        f"gained, so the export may lose {found.upper:.4f} at {found.confidence:.0%} confidence (allowed "
        f"{found.margin:g}); {needed} {shares} would decide; label more, raise gates.task.margin, or set "
        "gates.task.accept_undecided"
    )


def _without_labels(rules: TaskGate, measured: dict[str, Any]) -> str | None:
    least = _least_agreement(rules)
    if measured["agreement"] >= least - ROUNDING:
        return None
    return f"the best label agrees with the trained model on {measured['agreement']:.4f} (allowed {least:.4f})"


def _least_agreement(rules: TaskGate) -> float:
    return 1 - rules.margin if rules.min_agreement is None else rules.min_agreement


def _found(measured: dict[str, Any]) -> str:
    if "trained" in measured:
        undecided = ", UNDECIDED" if measured["verdict"] == "undecided" else ""
        return (
            f"{measured['exported']:.4f} (trained {measured['trained']:.4f}), {measured['images']} images: "
            f"{measured['lost']} lost, {measured['gained']} gained, drop <= {measured['upper']:.4f}{undecided}"
        )
    if "agreement" in measured:
        return f"agreement {measured['agreement']:.4f}, {measured['images']} unlabelled images"
    return f"{measured['images']} images"


def _allowed(rules: TaskGate, labelled: bool) -> str:
    if not labelled and rules.accept_unlabelled:
        return f"agreement >= {_least_agreement(rules):.4f}"
    least = "" if rules.minimum is None else f">= {rules.minimum:.4f}, "
    return f"{least}drop <= {rules.margin:.4f} at {rules.confidence:.0%}"


def _channel_hint(reference: Reference, truth: Answers, here: float) -> str:
    """Names a colour order that the training did not have: the trained model is better with the other one."""
    best = reference.predict(lambda pixels: reference.run(np.ascontiguousarray(pixels[..., ::-1])))
    reversed_order = float(np.mean(np.array(best) == truth))
    if reversed_order - here < 0.05:
        return ""
    colour = reference.contract.preprocess.colour
    return f": it reaches {reversed_order:.4f} with the channels reversed; input.colour {colour} looks wrong"


def _label_hint(predicted: Answers, truth: Answers) -> str:
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
