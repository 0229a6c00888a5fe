"""Classification: whether each image is answered rightly, and how well where it has several labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def top_k_hits(scores: npt.NDArray[np.floating], truth: npt.NDArray[np.integer], k: int = 1) -> npt.NDArray[np.bool_]:
    """bool[n]: whether the true class is among the ``k`` best. ``scores``: float[n, classes]; ``truth``: int[n].

    A class that scores as much as the true one counts as better, so that equal scores for all classes hit nothing.
    """
    own = np.take_along_axis(scores, truth[:, None].astype(np.intp), axis=1)
    hits: npt.NDArray[np.bool_] = np.sum(scores >= own, axis=1) <= k
    return hits


def exact_matches(predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """bool[n]: whether an image got all its labels and no other. Both: bool[n, labels]."""
    matches: npt.NDArray[np.bool_] = np.all(predicted == truth, axis=1)
    return matches


def f1_scores(predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """float64[n] in 0..1: harmonic mean of an image's precision and recall over its labels, 1 where it has none and
    got none. Both: bool[n, labels]. For export.metrics.base.mean_score."""
    both = np.sum(predicted & truth, axis=1)
    either = np.sum(predicted, axis=1) + np.sum(truth, axis=1)
    return np.where(either > 0, 2.0 * both / np.maximum(either, 1), 1.0)
