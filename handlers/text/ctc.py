"""From the probabilities of a CTC network to text: the likeliest symbol of every step, repeats and blanks dropped.

Graves et al., Connectionist Temporal Classification (ICML 2006), best path decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Position of the blank among the outputs.
BLANK = 0


def decode(probabilities: npt.NDArray[np.float32], symbols: Sequence[str]) -> tuple[str, float]:
    """``probabilities``: float32[T, len(symbols)], steps from left to right; ``symbols``: the first is the blank.

    The text, and its score: the mean probability of the steps that gave a symbol (0 where none did), in 0..1.
    """
    best = probabilities.argmax(axis=1)
    spoken = best != BLANK
    spoken[1:] &= best[1:] != best[:-1]
    if not spoken.any():
        return "", 0.0
    chosen = best[spoken]
    score = probabilities[spoken, chosen].mean(dtype=np.float64)
    return "".join([symbols[index] for index in chosen]), float(min(max(score, 0.0), 1.0))
