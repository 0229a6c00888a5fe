"""Gate 5, ``preprocessing``: the contract prepares images as the training did; asked once per export, of no format.

The specification names the training's own transform. It and the contract prepare the same odd photographs, and their
pixels are compared in grey levels; then the trained model answers the held-out images from both. A difference is
traced to its cause. Without a transform the gate passes and says that nothing was shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.gates.base import CONTRACT, GateResult, Reference
from export.preprocessing import labels as label_lists
from export.preprocessing.causes import Limits, explain
from export.preprocessing.named import Transform, digest_of, load_labels, load_transform
from export.preprocessing.pictures import (
    Compared,
    TransformFailed,
    compared,
    odd_pictures,
    spread,
    training_picture,
    transformed,
)
from export.statistics.verdict import ROUNDING
from slipway.errors import ImageError

if TYPE_CHECKING:
    from slipway.spec import ModelSpec
    from slipway.spec.gates_task import PreprocessingGate

NAME = "preprocessing"
_NOT_DECLARED = "NOT DECLARED: nothing shows that images are prepared as in the training"
_MOST_PICTURES = 64
_MOST_TASK_IMAGES = 2000
_BATCH = 32


def check_model(reference: Reference, spec: ModelSpec, root: Path) -> GateResult:
    """Judges the contract of ``spec``. ``root``: the project's; transform, labels and pictures may lie there.

    Raises SpecInvalid where the specification names a transform or labels that there are not, and SamplesInvalid for
    a directory of pictures without any.
    """
    rules = spec.gates.preprocessing
    measured: dict[str, Any] = {"declared": rules.transform is not None}
    reasons = _labels(rules, spec, reference, root, measured)
    found = _NOT_DECLARED
    if rules.transform is None:
        measured["warning"] = f"{_NOT_DECLARED}; name the training's transform under gates.preprocessing.transform"
    else:
        transform = load_transform(rules.transform, rules.arguments, root)
        try:
            reasons += _pixels(rules, reference, root, transform, measured)
            if reference.classes is not None:
                reasons += _task(rules, reference, transform, measured)
        except TransformFailed as problem:
            reasons.append(str(problem))
        found = _found(measured)
    threshold = rules.model_dump(mode="json", exclude_none=True)
    reason = "; ".join(reasons) or None
    return GateResult(NAME, CONTRACT, reason is None, measured, threshold, reason, found, _allowed(rules))


def _labels(
    rules: PreprocessingGate, spec: ModelSpec, reference: Reference, root: Path, measured: dict[str, Any]
) -> list[str]:
    if rules.labels is None:
        return []
    trained = load_labels(rules.labels, root)
    digest = digest_of(trained)
    measured["labels"] = {"count": len(trained), "sha256": digest}
    if rules.labels_sha256 not in (None, digest):
        return [f"the training's labels {rules.labels} have sha256 {digest}, not that of labels_sha256"]
    numbered = not isinstance(spec.labels, tuple) and spec.labels.count is not None
    problem = label_lists.difference(reference.contract.labels, trained, numbered=numbered)
    return [problem] if problem else []


def _pixels(
    rules: PreprocessingGate, reference: Reference, root: Path, transform: Transform, measured: dict[str, Any]
) -> list[str]:
    """Compares the pictures; what the contract refuses to decode is counted, not compared."""
    contract, normalise = reference.contract.preprocess, reference.contract.normalise
    place, pictures = odd_pictures(rules.images, root, reference.held_out, _MOST_PICTURES)
    pairs: list[Compared] = []
    refused = []
    for picture in pictures:
        try:
            pairs.append(compared(picture, contract, transform))
        except ImageError as problem:
            refused.append(f"{picture.name}: {problem}")
    measured |= {"pictures": place, "compared": len(pairs), "refused": refused}
    if not pairs:
        return [f"none of the pictures in {place} can be decoded: {refused[0]}"]
    largest = {pair.name: float(pair.differences(normalise).max()) for pair in pairs}
    means = {pair.name: float(pair.differences(normalise).mean()) for pair in pairs}
    worst = max(pairs, key=lambda pair: (means[pair.name], largest[pair.name])).name
    measured |= {
        "max_difference": max(largest.values()),
        "mean_difference": max(means.values()),
        "by_picture": {name: [round(largest[name], 3), round(means[name], 4)] for name in largest},
        "decoded_by_rule": {pair.name: pair.decoding for pair in pairs if pair.decoding is not None},
    }
    if measured["max_difference"] <= rules.max_difference and measured["mean_difference"] <= rules.mean_difference:
        return []
    cause = explain(pairs, contract, normalise, Limits(rules.max_difference, rules.mean_difference))
    measured["cause"] = cause
    return [
        f"pixels differ from the training's by up to {measured['max_difference']:.1f} grey levels, "
        f"{measured['mean_difference']:.2f} on average (allowed {rules.max_difference:g} and "
        f"{rules.mean_difference:g}), most with {worst}: {cause or 'nothing that trainings usually do explains it'}"
    ]


def _task(rules: PreprocessingGate, reference: Reference, transform: Transform, measured: dict[str, Any]) -> list[str]:
    """Lets the trained model answer the held-out images as the training would have prepared them."""
    images = reference.held_out.images
    chosen = spread(range(len(images)), _MOST_TASK_IMAGES)
    by_contract = np.array(reference.top1)[chosen]
    by_training = _answers(reference, transform, chosen)
    task: dict[str, Any] = {"images": len(chosen), "agreement": float(np.mean(by_contract == by_training))}
    measured["task"] = task
    if not reference.held_out.labelled:
        return []
    truth = np.array([images[index].label for index in chosen])
    right = by_contract == truth, by_training == truth
    contract, training = float(np.mean(right[0])), float(np.mean(right[1]))
    task |= {"metric": "top-1", "contract": contract, "training": training, "change": contract - training}
    task |= {"lost": int(np.sum(~right[0] & right[1])), "gained": int(np.sum(right[0] & ~right[1]))}
    if abs(contract - training) <= rules.max_task_change + ROUNDING:
        return []
    return [
        f"the trained model reaches {training:.4f} with the training's pixels and {contract:.4f} with the contract's "
        f"(allowed change {rules.max_task_change:g}, {len(chosen)} images)"
    ]


def _answers(reference: Reference, transform: Transform, chosen: list[int]) -> NDArray[np.int_]:
    """Best label of the chosen held-out images, from the transform's values, by the module without normalisation."""
    import torch

    contract = reference.contract.preprocess
    best: list[int] = []
    for start in range(0, len(chosen), _BATCH):
        batch = []
        for index in chosen[start : start + _BATCH]:
            image = reference.held_out.images[index]
            picture = training_picture(image.encoded)[0]
            batch.append(transformed(transform, picture, image.name, contract).transpose(2, 0, 1))
        with torch.inference_mode():
            logits = reference.module.module(torch.from_numpy(np.stack(batch)))
        best += logits.argmax(dim=1).tolist()
    return np.array(best)


def _found(measured: dict[str, Any]) -> str:
    if "max_difference" not in measured:
        return "not compared"
    text = (
        f"max {measured['max_difference']:.1f}, mean {measured['mean_difference']:.2f} grey levels, "
        f"{measured['compared']} pictures"
    )
    change = measured.get("task", {}).get("change")
    return text if change is None else f"{text}; task {change:+.4f}"


def _allowed(rules: PreprocessingGate) -> str:
    return f"max {rules.max_difference:g}, mean {rules.mean_difference:g}; task {rules.max_task_change:g}"
