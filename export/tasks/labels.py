"""Several labels per image: F1 per image against the true labels, exact matches with the trained model's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.metrics.base import Metric, mean_score
from export.metrics.classification import exact_matches, f1_scores
from export.tasks.base import Agreement, Truth
from handlers.fields import Record
from slipway.errors import SamplesInvalid

#: A label counts as given where its score reaches this, whatever a request asks for.
_GIVEN = 0.5


class LabelsJudge:
    """As export.tasks.base.Judge, for a classification whose truth.json names several labels per image."""

    metric_name = "F1"

    def __init__(self, labels: Sequence[str]) -> None:
        self._index = {label: number for number, label in enumerate(labels)}

    def metric(self, truth: Sequence[Truth], records: Sequence[Record]) -> Metric:
        """The mean over images of the F1 of their labels."""
        try:
            wanted = self._rows([[str(name) for name in item["labels"]] for item in truth])
        except (KeyError, TypeError) as problem:
            raise SamplesInvalid(
                "truth.json names labels that the specification does not have, or none",
                observed=str(problem),
                expected='{"labels": ["...", ...]} per image',
            ) from problem
        return mean_score(f1_scores(self._given(records), wanted))

    def agreement(self, trained: Sequence[Record], exported: Sequence[Record]) -> Agreement:
        """The share of images with exactly the same labels."""
        equal = exact_matches(self._given(exported), self._given(trained))
        return Agreement(float(np.mean(equal)), {"images": len(equal), "equal": int(np.sum(equal))})

    def certainty(self, record: Record) -> float:
        """How far the nearest score is from the border."""
        scores = np.asarray(record["scores"])
        return float(np.abs(scores - _GIVEN).min()) if len(scores) else -1.0

    def _given(self, records: Sequence[Record]) -> NDArray[np.bool_]:
        named = [
            [str(name) for name, score in zip(item["labels"], item["scores"], strict=True) if score >= _GIVEN]
            for item in records
        ]
        return self._rows(named)

    def _rows(self, named: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
        rows = np.zeros((len(named), len(self._index)), bool)
        for row, names in enumerate(named):
            rows[row, [self._index[name] for name in names]] = True
        return rows
