"""Embeddings: recall@1 among the held-out images, and the angle to the trained model's vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.gates.matching import compare_embeddings
from export.metrics.base import Metric, mean_score
from export.metrics.retrieval import recall_hits
from export.tasks.base import Agreement, Truth
from handlers.fields import Record
from slipway.errors import SamplesInvalid

#: Two vectors of an image closer than this are the same answer.
_SAME_COSINE = 0.99


class EmbeddingJudge:
    """As export.tasks.base.Judge."""

    metric_name = "recall@1"

    def metric(self, truth: Sequence[Truth], records: Sequence[Record]) -> Metric:
        """Whether each image's nearest other image has its label."""
        names = [item.get("label") for item in truth]
        if None in names or len(set(names)) == len(names):
            raise SamplesInvalid(
                "truth.json does not say which images belong together",
                observed=f"{names.count(None)} of {len(names)} without a label",
                expected='{"label": "..."} per image, and images that share one',
            )
        _, numbers = np.unique(np.array(names, str), return_inverse=True)
        return mean_score(recall_hits(_vectors(records), numbers))

    def agreement(self, trained: Sequence[Record], exported: Sequence[Record]) -> Agreement:
        """The share of images whose two vectors have a cosine of 0.99 at least."""
        wanted, found = _vectors(trained), _vectors(exported)
        compared = compare_embeddings(wanted, found)
        if compared.vacuous:
            return Agreement(float("nan"), compared.to_dict(), "the trained model tells no image from another")
        cosines = np.sum(wanted * found, axis=1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
        return Agreement(float(np.mean(cosines >= _SAME_COSINE)), compared.to_dict(), compared.cause)

    def certainty(self, record: Record) -> float:
        """All vectors are as certain as any."""
        return 0.0


def _vectors(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.stack([np.asarray(record["embedding"], np.float64) for record in records])
