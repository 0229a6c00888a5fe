"""Retrieval by embeddings: whether each query finds its own kind among its nearest neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]

#: Similarities that are held at once: 128 MB.
_CHUNK = 16_000_000


def recall_hits(
    queries: Embeddings,
    query_labels: Labels,
    gallery: Embeddings | None = None,
    gallery_labels: Labels | None = None,
    k: int = 1,
) -> npt.NDArray[np.bool_]:
    """bool[n]: whether one of the ``k`` nearest gallery images has the query's label; recall@k is its mean.

    ``queries``: float[n, d], ``gallery``: float[m, d], by cosine similarity, in the same model's embeddings.
    ``query_labels``: int[n], ``gallery_labels``: int[m]. Without a gallery the queries are it, each without itself.
    Of equally near images those with another label count as nearer. Both models must be asked the same queries of the
    same gallery, which is not resampled. Raises ValueError for an embedding of length zero or NaN.
    """
    itself = gallery is None
    among, names = (queries, query_labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    units, others = _unit(queries), _unit(among)
    hits = []
    for start in range(0, len(units), max(1, _CHUNK // len(others))):
        part = slice(start, start + max(1, _CHUNK // len(others)))
        similar = units[part] @ others.T
        if itself:
            rows = np.arange(len(similar))
            similar[rows, rows + start] = -np.inf
        same = query_labels[part, None] == names[None, :]
        best = np.max(similar, axis=1, initial=-np.inf, where=same)
        nearer = np.sum((similar >= best[:, None]) & ~same & np.isfinite(similar), axis=1)
        hits.append((nearer < k) & np.isfinite(best))
    return np.concatenate(hits)


def _unit(embeddings: Embeddings) -> npt.NDArray[np.float64]:
    """float64[n, d] of length 1."""
    wide = embeddings.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.all(lengths > 0) or not np.all(np.isfinite(lengths)):
        raise ValueError("an embedding is zero, infinite or NaN")
    unit: npt.NDArray[np.float64] = wide / lengths
    return unit
