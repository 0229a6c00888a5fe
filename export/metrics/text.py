"""Text recognition: character or word error rate, the edits of all images over the length of their true texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from export.metrics.base import SumMetric, ratio


def error_rate(
    truth: Sequence[str], recognised: Sequence[str], unit: Literal["character", "word"] = "character"
) -> SumMetric:
    """One text per image, compared as it is: case, spaces and Unicode form count, so normalise before where they
    should not. ``word``: words are what lies between white space. Levenshtein distance by rapidfuzz; lower is better,
    and values above 1 are possible. An image that was not read costs its whole text.
    """
    from rapidfuzz.distance import Levenshtein

    true, found = ([_units(text, unit) for text in texts] for texts in (truth, recognised))
    lengths = np.array([len(text) for text in true], np.float64)
    edits = np.array([Levenshtein.distance(*pair) for pair in zip(true, found, strict=True)], np.float64)
    return SumMetric(np.stack([edits, lengths], 1), np.stack([lengths, lengths], 1), ratio, better="lower")


def _units(text: str, unit: str) -> Sequence[str]:
    return text if unit == "character" else text.split()
