"""Detections as sets: boxes of the same class that overlap and have about the same score are the same detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.gates.matching.assignment import assign, overlaps


@dataclass(frozen=True)
class Detections:
    """What a detector says about one image. ``boxes``: float[N, 4], x1, y1, x2, y2 in pixels; ``scores``: float[N];
    ``classes``: int[N]."""

    boxes: NDArray[np.floating]
    scores: NDArray[np.floating]
    classes: NDArray[np.integer]

    def __post_init__(self) -> None:
        count = len(self.scores)
        if np.shape(self.boxes) != (count, 4) or np.shape(self.classes) != (count,):
            raise ValueError(
                f"boxes {np.shape(self.boxes)}, scores {np.shape(self.scores)} and classes {np.shape(self.classes)} do "
                "not belong together: float[N, 4], float[N], int[N]"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: Sequence[int] | NDArray[np.integer]) -> Detections:
        """Those at ``indices``."""
        chosen = np.asarray(indices, np.int64)
        return Detections(self.boxes[chosen], self.scores[chosen], self.classes[chosen])

    def changed(self, **values: Any) -> Detections:
        """A copy with other boxes, scores or classes."""
        return replace(self, **values)


@dataclass(frozen=True)
class DetectionTolerance:
    """``iou``: least overlap of a pair; ``score``: largest difference of their scores, infinite to ignore scores.

    ``score_threshold``: the detector's own cut; a detection whose score lies within ``score`` of it may appear on
    either side and counts for nothing. Where a detector keeps its best k, the k-th score is the cut."""

    iou: float = 0.5
    score: float = 0.05
    score_threshold: float | None = None


@dataclass(frozen=True)
class DetectionMatch:
    """One image: ``pairs`` of indices (wanted, found); ``missing`` and ``extra``: indices of wanted and found ones
    without a partner; ``borderline``: how many others have none because of the cut."""

    pairs: tuple[tuple[int, int], ...]
    missing: tuple[int, ...]
    extra: tuple[int, ...]
    borderline: int = 0


@dataclass(frozen=True)
class DetectionAgreement:
    """All images. ``agreement``: matched detections among all that either side has, borderline ones left out, 0..1; NaN
    where there are none at all. ``mean_iou`` and the largest differences are those of matched pairs: pixels, scores.
    ``cause``: what explains a disagreement, None where there is none or none is known."""

    images: int
    matched: int
    missing: int
    extra: int
    borderline: int
    agreement: float
    mean_iou: float
    max_box_difference: float
    max_score_difference: float
    cause: str | None = None
    matches: tuple[DetectionMatch, ...] = field(default=(), repr=False)

    @property
    def vacuous(self) -> bool:
        """Whether nothing was matched because there was nothing to match: that proves no agreement."""
        return self.matched + self.missing + self.extra == 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, but for NaN (export.gates.base.finite)."""
        return {key: value for key, value in self.__dict__.items() if key != "matches"}


def match_detections(wanted: Detections, found: Detections, tolerance: DetectionTolerance) -> DetectionMatch:
    """One-to-one pairs of one image: same class, IoU and score within the tolerance, the largest total IoU."""
    iou = overlaps(wanted.boxes, found.boxes)
    allowed = (iou >= tolerance.iou) & (wanted.classes[:, None] == found.classes[None, :])
    allowed &= np.abs(wanted.scores[:, None] - found.scores[None, :]) <= tolerance.score
    pairs = assign(iou, allowed)
    first, second = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    missing, extra = _alone(wanted, first), _alone(found, second)
    clear = [
        tuple(index for index in alone if not _at_the_cut(item.scores[index], tolerance))
        for item, alone in ((wanted, missing), (found, extra))
    ]
    borderline = len(missing) + len(extra) - len(clear[0]) - len(clear[1])
    return DetectionMatch(tuple(pairs), clear[0], clear[1], borderline)


def compare_detections(
    wanted: Sequence[Detections], found: Sequence[Detections], tolerance: DetectionTolerance | None = None
) -> DetectionAgreement:
    """Matches image by image (equally long sequences, in the same order), and explains what does not match."""
    from export.gates.matching.detection_causes import explain_detections

    used = tolerance or DetectionTolerance()
    plain = measure(wanted, found, used)
    if not plain.missing and not plain.extra:
        return plain
    return replace(plain, cause=explain_detections(wanted, found, plain, used))


def measure(
    wanted: Sequence[Detections], found: Sequence[Detections], tolerance: DetectionTolerance
) -> DetectionAgreement:
    """As :func:`compare_detections`, without a cause."""
    matches = [match_detections(*pair, tolerance) for pair in zip(wanted, found, strict=True)]
    boxes, scores, ious = [0.0], [0.0], list[float]()
    for first, second, match in zip(wanted, found, matches, strict=True):
        for one, two in match.pairs:
            boxes.append(float(np.max(np.abs(first.boxes[one] - second.boxes[two]))))
            scores.append(float(abs(first.scores[one] - second.scores[two])))
            ious.append(float(overlaps(first.boxes[one], second.boxes[two])[0, 0]))
    matched, missing, extra = (
        sum(len(getattr(match, name)) for match in matches) for name in ("pairs", "missing", "extra")
    )
    whole = matched + missing + extra
    return DetectionAgreement(
        images=len(matches),
        matched=matched,
        missing=missing,
        extra=extra,
        borderline=sum(match.borderline for match in matches),
        agreement=matched / whole if whole else float("nan"),
        mean_iou=float(np.mean(ious)) if ious else float("nan"),
        max_box_difference=max(boxes),
        max_score_difference=max(scores),
        matches=tuple(matches),
    )


def non_maximum_suppression(detections: Detections, iou: float, *, class_aware: bool = True) -> NDArray[np.int64]:
    """Indices that greedy NMS keeps, best score first; across classes without ``class_aware``."""
    order = np.argsort(-detections.scores, kind="stable")
    overlap = overlaps(detections.boxes, detections.boxes) > iou
    if class_aware:
        overlap &= detections.classes[:, None] == detections.classes[None, :]
    kept: list[int] = []
    for index in order:
        if not overlap[index, kept].any():
            kept.append(int(index))
    return np.array(kept, np.int64)


def _alone(detections: Detections, matched: set[int]) -> tuple[int, ...]:
    return tuple(index for index in range(len(detections)) if index not in matched)


def _at_the_cut(score: float, tolerance: DetectionTolerance) -> bool:
    return tolerance.score_threshold is not None and abs(score - tolerance.score_threshold) <= tolerance.score
