"""Why the training's pixels differ from the contract's: tries what trainings do, and names what explains the numbers.

A cause is named only when undoing it brings every picture that was tried back within the limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.preprocessing.alternatives import Alternative, alternatives, resize_sides
from export.preprocessing.pictures import Compared, Levels, levels
from slipway.contract import Normalise, Preprocess

Triple = tuple[float, float, float]

_PICTURES = 4
#: Larger pictures take too long to be prepared a hundred times.
_MOST_BYTES = 600_000
#: Fitted and declared values are the same when they differ by less than this part.
_SAME = 0.02
#: A std of fewer grey levels is one of values that were never divided by 255.
_GREY_LEVELS = 5


@dataclass(frozen=True)
class Limits:
    """Grey levels that a picture's largest and mean difference may have."""

    largest: float
    mean: float


def explain(pictures: Sequence[Compared], contract: Preprocess, normalise: Normalise, limits: Limits) -> str | None:
    """One sentence with the cause, or None when nothing that is known explains it."""
    told = _telling(pictures, normalise)
    found = _first(alternatives(contract), told, contract, normalise, limits)
    # a side between the usual ones: a picture alone finds it, the others confirm
    if found is None and contract.resize == "shorter_side":
        sides = (other for other in resize_sides(contract) if _cause(other, told[:1], contract, normalise, limits))
        found = _first(sides, told, contract, normalise, limits)
    return found


def _telling(pictures: Sequence[Compared], normalise: Normalise) -> list[Compared]:
    """The pictures that differ most, of those that are quickly prepared and have detail."""
    quick = [each for each in pictures if len(each.encoded) <= _MOST_BYTES and each.contract.std() > 5]
    return sorted(quick or pictures, key=lambda each: -float(each.differences(normalise).mean()))[:_PICTURES]


def _first(
    others: Iterable[Alternative],
    pictures: Sequence[Compared],
    contract: Preprocess,
    normalise: Normalise,
    limits: Limits,
) -> str | None:
    return next((text for other in others if (text := _cause(other, pictures, contract, normalise, limits))), None)


def _cause(
    other: Alternative, pictures: Sequence[Compared], contract: Preprocess, normalise: Normalise, limits: Limits
) -> str | None:
    """What the training does, where this alternative explains its pixels; None where it does not."""
    pixels: list[Levels] = []
    trained = [picture.training for picture in pictures]
    for picture in pictures:
        pixels.append(np.asarray(other.prepare(picture.encoded), np.float32))
        # most alternatives are out after one picture
        if len(pixels) == 1 and not _related(trained[:1], pixels, contract, normalise, limits):
            return None
    related = _related(trained, pixels, contract, normalise, limits)
    return None if related is None else "; ".join(part for part in (other.text, *related) if part)


def _related(
    trained: Sequence[Levels],
    pixels: Sequence[Levels],
    contract: Preprocess,
    normalise: Normalise,
    limits: Limits,
) -> list[str] | None:
    """What must be said beside the alternative: nothing, swapped channels, another normalisation; None: unrelated."""
    swapped = [each[..., ::-1] for each in pixels]
    order = f"the training's channels are swapped: input.colour {contract.colour} is not its order"
    declared = [levels(each, normalise) for each in trained]
    if _within(declared, pixels, limits):
        return [""]
    if _within(declared, swapped, limits):
        return [order]
    for candidates, said in ((pixels, ""), (swapped, order)):
        fitted = _fit(trained, candidates, normalise.scale)
        if fitted is not None and _within([levels(each, fitted) for each in trained], candidates, limits):
            return [said, _difference(fitted, normalise)]
    return None


def _within(found: Sequence[Levels], pixels: Sequence[Levels], limits: Limits) -> bool:
    apart = (np.abs(a - b) for a, b in zip(found, pixels, strict=True))
    return all(each.max() <= limits.largest and each.mean() <= limits.mean for each in apart)


def _fit(trained: Sequence[Levels], pixels: Sequence[Levels], scale: float) -> Normalise | None:
    """The normalisation, at this scale, that makes the training's values of these pixels: least squares per channel."""
    means, stds = [], []
    for channel in range(3):
        x = np.concatenate([each[..., channel].ravel() for each in pixels]).astype(np.float64)
        y = np.concatenate([each[..., channel].ravel() for each in trained]).astype(np.float64)
        spread = x.var()
        factor = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread > 0 else 0.0
        if factor <= 0:
            return None
        stds.append(1 / (factor * scale))
        means.append(-float(y.mean() - factor * x.mean()) * stds[-1])
    return Normalise(scale, _triple(means), _triple(stds))


def _triple(values: Sequence[float]) -> Triple:
    return values[0], values[1], values[2]


def _difference(fitted: Normalise, declared: Normalise) -> str:
    """Which of scale, mean and std differ. A scale shows as a common factor of mean and std."""
    factors = np.array(fitted.std) / np.array(declared.std)
    common = float(factors.mean())
    if np.ptp(factors) < _SAME * common and _same(fitted.mean, [m * common for m in declared.mean], common):
        return f"the training's scale differs: normalise.scale {_number(declared.scale * common)}, not " + _number(
            declared.scale
        )
    if max(fitted.std) < _GREY_LEVELS / declared.scale:
        # Caffe's way, or none: in units of grey levels the numbers are those of its source
        mean, std = (np.array(values) * declared.scale for values in (fitted.mean, fitted.std))
        return f"the training's normalisation differs: scale 1, mean {_shown(mean)}, std {_shown(std)}"
    parts = []
    if not _same(fitted.mean, declared.mean, 1.0):
        parts.append(f"mean differs: normalise.mean {_shown(fitted.mean)}, not {_shown(declared.mean)}")
    if not _same(fitted.std, declared.std, 1.0):
        parts.append(f"std differs: normalise.std {_shown(fitted.std)}, not {_shown(declared.std)}")
    return f"the training's {' and its '.join(parts)} (at scale {_number(declared.scale)})"


def _same(found: Sequence[float], declared: Sequence[float], unit: float) -> bool:
    return bool(np.max(np.abs(np.array(found) - np.array(declared))) < _SAME * max(1.0, float(np.max(declared))) * unit)


def _shown(values: npt.ArrayLike) -> str:
    rounded = np.round(np.asarray(values, np.float64), 3) + 0.0  # no minus before a zero
    return f"[{', '.join(f'{value:.3f}' for value in rounded)}]"


def _number(value: float) -> str:
    return f"{value:.4g}"
