"""Text: character error rate against the true lines, regions matched with the trained model's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.gates.matching import TextRegion, compare_texts
from export.metrics.base import Metric
from export.metrics.text import error_rate
from export.tasks.base import Agreement, Truth
from handlers.fields import Record
from slipway.errors import SamplesInvalid


class OcrJudge:
    """As export.tasks.base.Judge."""

    metric_name = "character error rate"

    def metric(self, truth: Sequence[Truth], records: Sequence[Record]) -> Metric:
        """All lines of an image in reading order, one below the other."""
        if not all(isinstance(item.get("texts"), list) for item in truth):
            raise SamplesInvalid("truth.json has images without texts", expected='{"texts": ["line", ...]} per image')
        wanted = ["\n".join(map(str, item["texts"])) for item in truth]
        return error_rate(wanted, ["\n".join(map(str, record["texts"])) for record in records])

    def agreement(self, trained: Sequence[Record], exported: Sequence[Record]) -> Agreement:
        """Regions at the same place with the very same text."""
        compared = compare_texts([_regions(item) for item in trained], [_regions(item) for item in exported])
        return Agreement(compared.agreement, compared.to_dict(), compared.cause)

    def certainty(self, record: Record) -> float:
        """The least score of a line; -1 where there is none."""
        scores = np.asarray(record["scores"])
        return float(scores.min()) if len(scores) else -1.0


def _regions(record: Record) -> list[TextRegion]:
    """The quads as the upright boxes around them."""
    quads = np.asarray(record["quads"], np.float64).reshape(-1, 4, 2)
    corners = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
    return [
        TextRegion(str(text), (box[0], box[1], box[2], box[3]))
        for text, box in zip(record["texts"], corners.tolist(), strict=True)
    ]
