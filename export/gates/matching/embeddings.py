"""Embeddings: the angle between the two vectors of each image, and whether they find the same neighbours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Cosines that are closer than this are tied: either neighbour is the nearest.
_TIE = 1e-4
#: Vectors whose length varies by less than this part have been normalised.
_UNIT = 1e-2


@dataclass(frozen=True)
class EmbeddingAgreement:
    """``min_cosine``, ``mean_cosine``: of the two vectors of each image, -1..1, NaN for vectors of length 0 or not
    finite; ``same_neighbour``: part of the images whose nearest other image is the same, ties included, NaN for fewer
    than three; ``spread``: largest distance (1 - cosine) between two images of the trained model: near 0 it shows that
    all images look alike to it, and a high cosine means nothing."""

    images: int
    min_cosine: float
    mean_cosine: float
    same_neighbour: float
    spread: float
    cause: str | None = None

    @property
    def vacuous(self) -> bool:
        """Whether the trained model tells no image from another."""
        return not self.spread > 1e-3

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, but for NaN (export.gates.base.finite)."""
        return asdict(self)


def compare_embeddings(wanted: NDArray[np.floating], found: NDArray[np.floating]) -> EmbeddingAgreement:
    """``wanted``, ``found``: float[n, d], a row per image. Raises ValueError for different shapes."""
    if wanted.shape != found.shape or wanted.ndim != 2:
        raise ValueError(f"embeddings of shapes {wanted.shape} and {found.shape} cannot be compared")
    one, two = _unit(wanted), _unit(found)
    cosines = np.sum(one * two, axis=1)
    return EmbeddingAgreement(
        images=len(wanted),
        min_cosine=float(np.min(cosines)),
        mean_cosine=float(np.mean(cosines)),
        same_neighbour=_same_neighbour(one, two),
        spread=float(1.0 - np.min(one @ one.T)),
        cause=_cause(wanted, found, cosines),
    )


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(exact, lengths, out=np.full_like(exact, np.nan), where=lengths > 0)
    return unit


def _same_neighbour(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    if len(one) < 3:
        return float("nan")
    wanted, found = (vectors @ vectors.T - 2.0 * np.eye(len(vectors)) for vectors in (one, two))
    rows = np.arange(len(one))
    return float(np.mean(wanted[rows, found.argmax(axis=1)] >= wanted.max(axis=1) - _TIE))


def _cause(wanted: NDArray[np.floating], found: NDArray[np.floating], cosines: NDArray[np.float64]) -> str | None:
    lengths = [np.linalg.norm(vectors.astype(np.float64), axis=1) for vectors in (wanted, found)]
    unit = [bool(np.all(np.abs(item - 1.0) <= _UNIT)) for item in lengths]
    if unit[0] != unit[1] and np.all(cosines > 0.999):
        return f"only {'the trained model' if unit[0] else 'the export'} normalises its vectors to length 1"
    if np.all(cosines < -0.999):
        return "its vectors have the opposite sign"
    if np.all(cosines > 0.999) or len(wanted) < 2:
        return None
    return _reordered(wanted, found)


def _reordered(wanted: NDArray[np.floating], found: NDArray[np.floating]) -> str | None:
    """Rows that belong to other images: a batch that came back in another order."""
    nearest = (_unit(found) @ _unit(wanted).T).argmax(axis=1)
    matched = np.sum(_unit(found) * _unit(wanted)[nearest], axis=1)
    if len(np.unique(nearest)) == len(nearest) and np.all(matched > 0.999):
        moved = int(np.count_nonzero(nearest != np.arange(len(nearest))))
        return f"the vectors of {moved} images came back in another order" if moved else None
    return None
