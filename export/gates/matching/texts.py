"""Recognised texts as sets of regions: matched by place and by edit distance, not by reading order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.gates.matching.assignment import assign, overlaps


@dataclass(frozen=True)
class TextRegion:
    """One piece of text. ``box``: x1, y1, x2, y2 in pixels, None for texts without a place."""

    text: str
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class TextAgreement:
    """``equal``: pairs with the very same text; ``missing``, ``extra``: regions of one side only; ``agreement``: equal
    ones among all, 0..1, NaN where there are none; ``character_error_rate``: edits (Levenshtein) per character of the
    trained model's text, missing and extra regions counted whole; ``mean_iou``: of pairs that have places."""

    images: int
    pairs: int
    equal: int
    missing: int
    extra: int
    agreement: float
    character_error_rate: float
    mean_iou: float
    cause: str | None = None

    @property
    def vacuous(self) -> bool:
        """Whether neither side has any text: that proves no agreement."""
        return self.pairs + self.missing + self.extra == 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, but for NaN (export.gates.base.finite)."""
        return asdict(self)


def compare_texts(
    wanted: Sequence[Sequence[TextRegion]],
    found: Sequence[Sequence[TextRegion]],
    *,
    iou: float = 0.3,
    similarity: float = 0.5,
) -> TextAgreement:
    """Matches the regions of every image (equally long sequences, in the same order).

    A pair overlaps by ``iou`` at least where both have a box; where they have none, its texts have a normalised
    Levenshtein similarity (rapidfuzz) of ``similarity`` at least. Among those the total similarity decides.
    """
    pairs, missing, extra, ious = _match(wanted, found, iou, similarity)
    edits, characters = _edits(pairs, missing, extra)
    equal = sum(first.text == second.text for first, second in pairs)
    whole = len(pairs) + len(missing) + len(extra)
    return TextAgreement(
        images=len(wanted),
        pairs=len(pairs),
        equal=equal,
        missing=len(missing),
        extra=len(extra),
        agreement=equal / whole if whole else float("nan"),
        character_error_rate=edits / characters if characters else float(edits > 0),
        mean_iou=float(np.mean(ious)) if ious else float("nan"),
        cause=_cause(pairs) if equal < len(pairs) else None,
    )


def _match(
    wanted: Sequence[Sequence[TextRegion]], found: Sequence[Sequence[TextRegion]], iou: float, similarity: float
) -> tuple[list[tuple[TextRegion, TextRegion]], list[TextRegion], list[TextRegion], list[float]]:
    pairs, missing, extra, ious = list[tuple[TextRegion, TextRegion]](), list[TextRegion](), list[TextRegion](), []
    for first, second in zip(wanted, found, strict=True):
        alike, overlap = _similarities(first, second), _overlaps(first, second)
        placed = overlap >= 0.0  # not NaN
        allowed = np.where(placed, np.nan_to_num(overlap) >= iou, alike >= similarity)
        worth = np.where(placed, (alike + np.nan_to_num(overlap)) / 2, alike)
        chosen = assign(worth, allowed)
        pairs += [(first[one], second[two]) for one, two in chosen]
        ious += [float(overlap[one, two]) for one, two in chosen if placed[one, two]]
        missing += [item for index, item in enumerate(first) if index not in {one for one, _ in chosen}]
        extra += [item for index, item in enumerate(second) if index not in {two for _, two in chosen}]
    return pairs, missing, extra, ious


def _similarities(first: Sequence[TextRegion], second: Sequence[TextRegion]) -> NDArray[np.float64]:
    from rapidfuzz.distance import Levenshtein

    values = [[Levenshtein.normalized_similarity(one.text, two.text) for two in second] for one in first]
    return np.array(values, np.float64).reshape(len(first), len(second))


def _overlaps(first: Sequence[TextRegion], second: Sequence[TextRegion]) -> NDArray[np.float64]:
    """IoU, NaN where one of the two has no box."""
    nowhere = (np.nan,) * 4
    boxes = [np.array([item.box or nowhere for item in items], np.float64).reshape(-1, 4) for items in (first, second)]
    unplaced = [np.isnan(item[:, 0]) for item in boxes]
    found = overlaps(np.nan_to_num(boxes[0]), np.nan_to_num(boxes[1]))
    found[unplaced[0]] = np.nan
    found[:, unplaced[1]] = np.nan
    return found


def _edits(
    pairs: Sequence[tuple[TextRegion, TextRegion]], missing: Sequence[TextRegion], extra: Sequence[TextRegion]
) -> tuple[int, int]:
    from rapidfuzz.distance import Levenshtein

    edits = sum(Levenshtein.distance(first.text, second.text) for first, second in pairs)
    edits += sum(len(item.text) for item in (*missing, *extra))
    return edits, sum(len(first.text) for first, _ in pairs) + sum(len(item.text) for item in missing)


def _cause(pairs: Sequence[tuple[TextRegion, TextRegion]]) -> str | None:
    """What makes all unequal pairs equal."""
    unequal = [(first.text, second.text) for first, second in pairs if first.text != second.text]
    for text, change in _DIFFERENCES:
        if all(change(first) == change(second) for first, second in unequal):
            return text
    return _shifted_alphabet(unequal)


_DIFFERENCES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("only the case of letters differs", str.casefold),
    ("only spaces differ (the decoder drops or adds the blank)", lambda text: "".join(text.split())),
    ("doubled letters are lost or repeated: CTC decoding merges without the blank between", lambda text: _merged(text)),
)


def _merged(text: str) -> str:
    return "".join(letter for index, letter in enumerate(text) if not index or letter != text[index - 1])


def _shifted_alphabet(unequal: Sequence[tuple[str, str]]) -> str | None:
    """One letter always read as another: the alphabet of the decoder is in another order than the outputs."""
    mapping: dict[str, str] = {}
    for first, second in unequal:
        if len(first) != len(second):
            return None
        for one, two in zip(first, second, strict=True):
            if mapping.setdefault(one, two) != two:
                return None
    moved = {one: two for one, two in mapping.items() if one != two}
    if len(moved) < 3 or len(moved) < len(mapping) / 2:
        return None
    shown = ", ".join(f"{one!r} as {two!r}" for one, two in sorted(moved.items())[:3])
    return f"its alphabet is in another order: it reads {shown}"
