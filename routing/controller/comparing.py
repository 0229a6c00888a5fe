"""New pairs of answers to one image, compared by the task's own measure; each pair once."""

from __future__ import annotations

from routing.compare import compare
from routing.store import Store
from routing.store.pairs import Comparison, Pair, pairs_to_compare, save_comparisons

#: Of one pass: what is left is for the next, so that a flood of copies does not keep the verdict waiting.
_LIMIT = 500


def compare_new(store: Store, model: str, stable: int, other: int) -> int:
    """Compares what waits, the oldest first; returns how many pairs. Raises StoreUnavailable."""
    pairs = pairs_to_compare(store, model, stable, other, _LIMIT)
    save_comparisons(store, model, stable, other, [_compared(pair) for pair in pairs])
    return len(pairs)


def _compared(pair: Pair) -> Comparison:
    a, b = pair.a, pair.b
    if a.summary is None or b.summary is None or a.task is None or a.task != b.task:
        # an answer that failed is an error of its version, not a disagreement
        return Comparison(pair.request_id, pair.index, None, detail={"codes": [a.code, b.code]})
    found = compare(a.task, a.summary, b.summary)
    return Comparison(pair.request_id, pair.index, found.agree, found.distance, found.detail)
