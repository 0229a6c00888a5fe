"""New pairs of answers to one image, compared by the task's own measure; each pair once, and the worst are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from routing.compare import Kept, Worst, compare
from routing.store import Store
from routing.store.pairs import FAILED, Comparison, Pair, pairs_to_compare, save_comparisons

#: Of one pass: what is left is for the next, so that a flood of copies does not keep the verdict waiting.
_LIMIT = 500


def compare_new(store: Store, model: str, stable: int, other: int, worst: Worst) -> None:
    """Compares what waits, the oldest first. Raises StoreUnavailable."""
    pairs = pairs_to_compare(store, model, stable, other, _LIMIT)
    compared = [_compared(pair, stable, other) for pair in pairs]
    # before they are saved: whoever is killed in between adds them once more, and twice is once
    with suppress(OSError):  # of a full disk: it costs pictures, not the verdict
        worst.add(list(_disagreements(pairs, compared, other)))
    save_comparisons(store, model, stable, other, compared)


def _compared(pair: Pair, stable: int, other: int) -> Comparison:
    a, b = pair.a, pair.b
    failed = {str(version): answer.code for version, answer in ((stable, a), (other, b)) if answer.code is not None}
    if failed:
        # an error of its version, not a disagreement; of a shadow, nobody else counts it
        return Comparison(pair.request_id, pair.index, None, detail={FAILED: failed})
    if a.summary is None or b.summary is None or a.task is None or a.task != b.task:
        return Comparison(pair.request_id, pair.index, None, detail={"reason": "an answer has no summary"})
    found = compare(a.task, a.summary, b.summary)
    return Comparison(pair.request_id, pair.index, found.agree, found.distance, found.detail)


def _disagreements(pairs: Sequence[Pair], compared: Sequence[Comparison], other: int) -> Iterator[Kept]:
    for pair, found in zip(pairs, compared, strict=True):
        a, b = pair.a, pair.b
        if found.agree is False and found.distance is not None and a.task and a.summary and b.summary:
            yield Kept(pair.request_id, pair.index, other, a.task, pair.time, found.distance, a.summary, b.summary)
