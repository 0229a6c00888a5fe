"""Masks: semantic label maps pixel by pixel, instance masks as sets, both by intersection over union."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.gates.matching.assignment import assign

#: How far a map is moved to find a shift, pixels: aligned corners and half-pixel mistakes stay below.
_FARTHEST = 4
_EXPLAINED = 0.5


@dataclass(frozen=True)
class MaskAgreement:
    """``mean_iou``: over the classes of label maps, or over all instances, unmatched ones counting 0; ``min_iou``: the
    worst class or instance; ``pixels``: part of equal pixels (label maps only, else NaN); ``missing``, ``extra``:
    instances or classes of one side only; ``cause``: what explains a disagreement."""

    images: int
    compared: int
    mean_iou: float
    min_iou: float
    pixels: float
    missing: int
    extra: int
    cause: str | None = None

    @property
    def vacuous(self) -> bool:
        """Whether there was nothing to compare, or one class alone everywhere."""
        return self.compared <= 1 if not np.isnan(self.pixels) else self.compared == 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, but for NaN (export.gates.base.finite)."""
        return asdict(self)


def compare_label_maps(
    wanted: Sequence[NDArray[np.integer]], found: Sequence[NDArray[np.integer]], ignore: int | None = None
) -> MaskAgreement:
    """``wanted``, ``found``: int[H, W] per image, the class of every pixel, numbers of a few hundred at most.
    ``ignore``: a class of ``wanted`` whose pixels count for nothing. IoU is taken per class over all images. Raises
    ValueError for different sizes."""
    for first, second in zip(wanted, found, strict=True):
        if first.shape != second.shape:
            raise ValueError(f"label maps of shapes {first.shape} and {second.shape} cannot be compared")
    ious, equal = _class_ious(wanted, found, ignore)
    plain = list(ious.values())
    sides = [{int(label) for item in maps for label in np.unique(item)} - {ignore} for maps in (wanted, found)]
    return MaskAgreement(
        images=len(wanted),
        compared=len(ious),
        mean_iou=float(np.mean(plain)) if plain else float("nan"),
        min_iou=min(plain, default=float("nan")),
        pixels=equal,
        missing=len(sides[0] - sides[1]),
        extra=len(sides[1] - sides[0]),
        cause=_map_cause(wanted, found, ignore, float(np.mean(plain))) if plain and equal < 1.0 else None,
    )


def compare_masks(
    wanted: Sequence[NDArray[np.bool_]], found: Sequence[NDArray[np.bool_]], *, iou: float = 0.5
) -> MaskAgreement:
    """``wanted``, ``found``: bool[N, H, W] per image, a mask per instance; matched one to one by IoU."""
    ious, missing, extra = list[float](), 0, 0
    for first, second in zip(wanted, found, strict=True):
        overlap = _mask_ious(first, second)
        pairs = assign(overlap, overlap >= iou)
        ious += [float(overlap[pair]) for pair in pairs]
        missing, extra = missing + len(first) - len(pairs), extra + len(second) - len(pairs)
    scores = ious + [0.0] * (missing + extra)
    return MaskAgreement(
        images=len(wanted),
        compared=len(scores),
        mean_iou=float(np.mean(scores)) if scores else float("nan"),
        min_iou=min(scores, default=float("nan")),
        pixels=float("nan"),
        missing=missing,
        extra=extra,
    )


def _class_ious(
    wanted: Sequence[NDArray[np.integer]], found: Sequence[NDArray[np.integer]], ignore: int | None
) -> tuple[dict[int, float], float]:
    """IoU by class, of classes that either side has, and the part of equal pixels."""
    low = min(int(item.min()) for item in (*wanted, *found))
    count = max(int(item.max()) for item in (*wanted, *found)) - low + 1
    confusion = np.zeros(count * count, np.int64)
    for first, second in zip(wanted, found, strict=True):
        used = slice(None) if ignore is None else first != ignore
        pairs = (first[used].astype(np.int64) - low) * count + (second[used] - low)
        confusion += np.bincount(pairs.ravel(), minlength=count * count)
    table = confusion.reshape(count, count)
    common, either = np.diag(table), table.sum(0) + table.sum(1) - np.diag(table)
    ious = {low + int(index): float(common[index] / either[index]) for index in np.flatnonzero(either)}
    return ious, float(common.sum() / table.sum()) if table.sum() else float("nan")


def _map_cause(
    wanted: Sequence[NDArray[np.integer]], found: Sequence[NDArray[np.integer]], ignore: int | None, plain: float
) -> str | None:
    """The change of the export's maps that takes back most of what is lost, where one does."""
    best, text = plain, None
    for name, changed in _changes(wanted, found):
        ious, _ = _class_ious(wanted, changed, ignore)
        score = float(np.mean(list(ious.values())))
        if score > best:
            best, text = score, name
    return text if best - plain >= _EXPLAINED * (1.0 - plain) else None


def _changes(
    wanted: Sequence[NDArray[np.integer]], found: Sequence[NDArray[np.integer]]
) -> list[tuple[str, list[NDArray[np.integer]]]]:
    changes = [(f"its class numbers are shifted by {shift:+d}", [item - shift for item in found]) for shift in (1, -1)]
    changes += [
        ("its maps are mirrored", [item[:, ::-1] for item in found]),
        ("its maps are upside down", [item[::-1] for item in found]),
    ]
    if all(first.shape == second.T.shape for first, second in zip(wanted, found, strict=True)):
        changes.append(("its maps are transposed", [item.T for item in found]))
    steps = range(-_FARTHEST, _FARTHEST + 1)
    changes += [
        (f"its maps are moved by {x:+d}, {y:+d} pixels", [np.roll(item, (-y, -x), (0, 1)) for item in found])
        for y in steps
        for x in steps
        if x or y
    ]
    return changes


def _mask_ious(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    one, two = (
        masks.reshape(len(masks), int(np.prod(masks.shape[1:]))).astype(np.float64) for masks in (first, second)
    )
    common = one @ two.T if len(one) and len(two) else np.zeros((len(one), len(two)))
    union = one.sum(1)[:, None] + two.sum(1)[None, :] - common
    found: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found
