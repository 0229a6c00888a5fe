"""What comes of a comparison, and from where on two answers agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Found:
    """``agree`` and ``distance`` (0 the same .. 1) are None where the two cannot be compared; ``detail``: JSON-ready,
    with a ``reason`` then."""

    agree: bool | None
    distance: float | None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Thresholds:
    """From where on two answers to one image agree; classes and sets of labels must be equal.

    ``same_box``: intersection over union from which two boxes are the same object (as mAP@50 of PASCAL VOC and COCO).
    ``boxes``: least F1 of the matched boxes; of up to 9 objects in both answers none may then be missing.
    ``text``: most characters that differ, of those of the longer text (normalised edit distance): 1 of 50.
    ``vector``: least cosine of embeddings; different formats of one network lie at 0.999 and above.
    ``label_map``: least mean intersection over union of the labels in two maps.
    """

    same_box: float = 0.5
    boxes: float = 0.9
    text: float = 0.02
    vector: float = 0.99
    label_map: float = 0.9


class Incomparable(Exception):
    """A summary has not its task's form, or the two are of different kinds; says why."""
