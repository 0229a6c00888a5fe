"""Why detections disagree: mistakes of the steps behind the network, each tested by undoing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from export.gates.matching.assignment import overlaps
from export.gates.matching.detections import DetectionAgreement, Detections, DetectionTolerance, measure

#: A hypothesis explains a disagreement when it leaves less than this part of it, and of what it is about.
_EXPLAINED = 0.9
#: Boxes of one object that NMS is to tell apart overlap by at least this.
_SUPPRESSING = 0.3
#: Kept boxes of two classes that overlap by more than this were not suppressed across classes; and how exact an IoU is.
_APART, _NEARLY = 0.95, 0.02
_MOST_SHIFT = 2
Boxes = NDArray[np.floating]


def explain_detections(
    wanted: Sequence[Detections],
    found: Sequence[Detections],
    plain: DetectionAgreement,
    tolerance: DetectionTolerance,
) -> str | None:
    """One sentence with the cause; None when no hypothesis explains ``plain``, the agreement as it is."""
    for text, changed in _undone(wanted, found):
        if _explains(measure(wanted, changed, tolerance), plain):
            return text
    if (cause := _other_scores(wanted, found, plain, tolerance)) is not None:
        return cause
    for hypothesis in (_other_cut, _class_agnostic, _not_suppressed):
        if (cause := hypothesis(wanted, found, plain)) is not None:
            return cause
    return None


def _explains(better: DetectionAgreement, plain: DetectionAgreement) -> bool:
    before, after = plain.missing + plain.extra, better.missing + better.extra
    return better.matched > plain.matched and after <= (1 - _EXPLAINED) * before


def _undone(wanted: Sequence[Detections], found: Sequence[Detections]) -> Iterator[tuple[str, list[Detections]]]:
    """What each mistake about classes and coordinates would look like when it is taken back."""
    for shift in (step for size in range(1, _MOST_SHIFT + 1) for step in (size, -size)):
        text = f"its class numbers are shifted by {shift:+d} (a background class counted on one side only?)"
        yield text, [item.changed(classes=item.classes - shift) for item in found]
    for text, change in _COORDINATES:
        yield text, [item.changed(boxes=change(item.boxes)) for item in found]
    fitted = _fitted(wanted, found)
    if fitted is not None:
        yield fitted


def _swapped(boxes: Boxes) -> Boxes:
    return boxes[:, [1, 0, 3, 2]]


def _from_centre(boxes: Boxes) -> Boxes:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def _from_corner(boxes: Boxes) -> Boxes:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


_COORDINATES: tuple[tuple[str, Callable[[Boxes], Boxes]], ...] = (
    ("its boxes are y1, x1, y2, x2 instead of x1, y1, x2, y2", _swapped),
    ("its boxes are centre and size instead of two corners", _from_centre),
    ("its boxes are corner and size instead of two corners", _from_corner),
)


def _fitted(wanted: Sequence[Detections], found: Sequence[Detections]) -> tuple[str, list[Detections]] | None:
    """Boxes of another image size, or with a letterbox that was not undone: one scale and offset per axis, the same
    for all images, fitted on detections that class and score alone identify."""
    pairs = [pair for first, second in zip(wanted, found, strict=True) for pair in _same_score(first, second)]
    if len(pairs) < 3:
        return None
    target, source = (np.stack(boxes).astype(np.float64) for boxes in zip(*pairs, strict=True))
    fits = []
    for axis in (0, 1):
        x, y = source[:, axis::2].ravel(), target[:, axis::2].ravel()
        if np.ptp(x) == 0:
            return None
        fits.append(np.polyfit(x, y, 1))
    scale, offset = ([float(fit[part]) for fit in fits] for part in (0, 1))
    text = (
        f"its boxes are in another frame: x is {1 / scale[0]:.4g} and y {1 / scale[1]:.4g} times as large, moved by "
        f"{-offset[0] / scale[0]:.4g} and {-offset[1] / scale[1]:.4g} (another image size, or a letterbox not undone?)"
    )
    factors, offsets = np.array([*scale, *scale]), np.array([*offset, *offset])
    return text, [item.changed(boxes=item.boxes * factors + offsets) for item in found]


def _same_score(first: Detections, second: Detections) -> Iterator[tuple[Boxes, Boxes]]:
    for index, score in enumerate(first.scores):
        near = np.flatnonzero((np.abs(second.scores - score) <= 1e-3) & (second.classes == first.classes[index]))
        alone = np.count_nonzero((np.abs(first.scores - score) <= 2e-3) & (first.classes == first.classes[index])) == 1
        if len(near) == 1 and alone:
            yield first.boxes[index], second.boxes[near[0]]


def _class_agnostic(wanted: Sequence[Detections], found: Sequence[Detections], plain: DetectionAgreement) -> str | None:
    """The NMS class bug: what is missing lies under a better box of another class, further than any box that was
    kept. Without the second half the overlaps would be the images', and another mistake the cause."""
    if not plain.missing:
        return None
    threshold = max((float(_covered(item, item).max(initial=0.0)) for item in found), default=0.0)
    covered = [
        _covered(first.take(match.missing), second)
        for first, second, match in zip(wanted, found, plain.matches, strict=True)
    ]
    explained = np.concatenate(covered)
    explained = explained[explained > max(threshold - _NEARLY, _SUPPRESSING)]
    if threshold > _APART or len(explained) < _EXPLAINED * plain.missing:
        return None
    return (
        f"class-agnostic NMS: {len(explained)} of {plain.missing} missing boxes overlap (IoU {explained.min():.2f} or "
        "more) with a better box of another class, so suppression runs across classes instead of within each"
    )


def _covered(detections: Detections, others: Detections) -> NDArray[np.float64]:
    """float64[N]: how far each detection lies under a better one of another class, IoU; 0 where there is none."""
    overlap = overlaps(detections.boxes, others.boxes)
    overlap[detections.classes[:, None] == others.classes[None, :]] = 0.0
    overlap[detections.scores[:, None] >= others.scores[None, :]] = 0.0
    return np.asarray(overlap.max(axis=1, initial=0.0), np.float64)


def _not_suppressed(wanted: Sequence[Detections], found: Sequence[Detections], plain: DetectionAgreement) -> str | None:
    """NMS that does not happen: what is extra lies under a better box of its own class."""
    del wanted
    explained, least = 0, 1.0
    for second, match in zip(found, plain.matches, strict=True):
        for index in match.extra:
            above = (second.classes == second.classes[index]) & (second.scores >= second.scores[index])
            above[index] = False
            overlap = overlaps(second.boxes[index], second.boxes[above])
            if overlap.size and overlap.max() > _SUPPRESSING:
                explained += 1
                least = min(least, float(overlap.max()))
    if not plain.extra or explained < _EXPLAINED * plain.extra:
        return None
    return (
        f"NMS is missing or its IoU threshold is higher: {explained} of {plain.extra} extra boxes overlap (IoU "
        f"{least:.2f} or more) with a better box of their own class"
    )


def _other_cut(wanted: Sequence[Detections], found: Sequence[Detections], plain: DetectionAgreement) -> str | None:
    """Another score threshold, or another number of kept boxes: one side ends earlier, the other side is whole."""
    missing, extra = ([match.missing for match in plain.matches], [match.extra for match in plain.matches])
    if plain.missing and not plain.extra:
        return _ends_earlier("the export", wanted, found, missing)
    if plain.extra and not plain.missing:
        return _ends_earlier("the trained model", found, wanted, extra)
    return None


def _ends_earlier(
    who: str, longer: Sequence[Detections], shorter: Sequence[Detections], alone: Sequence[Sequence[int]]
) -> str | None:
    lost = [longer[image].scores[list(indices)] for image, indices in enumerate(alone)]
    count = sum(len(scores) for scores in lost)
    lengths = {len(item) for item in shorter}
    below = all(
        not len(scores) or not len(item) or scores.max() <= item.scores.min()
        for scores, item in zip(lost, shorter, strict=True)
    )
    if below and len(lengths) == 1 and len(shorter) > 1 and max(len(item) for item in longer) > max(lengths):
        return f"{who} keeps {max(lengths)} boxes of an image at most: the {count} boxes of one side only are worse"
    ends = [float(item.scores.min()) for item in shorter if len(item)]
    if ends and max(float(scores.max()) for scores in lost if len(scores)) <= min(ends):
        return f"{who} cuts at a score of about {min(ends):.3g}: the {count} boxes of one side only are below"
    return None


def _other_scores(
    wanted: Sequence[Detections], found: Sequence[Detections], plain: DetectionAgreement, tolerance: DetectionTolerance
) -> str | None:
    free = measure(wanted, found, replace(tolerance, score=float("inf"), score_threshold=None))
    if not _explains(free, plain):
        return None
    return (
        f"boxes and classes agree, the scores do not, by up to {free.max_score_difference:.3g} (another activation, "
        "softmax against sigmoid, or a temperature?)"
    )
