"""Classification: raw outputs of a network -> the best labels and their scores, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slipway.contract import Contract
from slipway.errors import NetworkFailed, RequestInvalid

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClassificationResult:
    """``labels``: k names, best first; ``scores``: float32[k], in the same order."""

    labels: tuple[str, ...]
    scores: Floats


class Classification:
    """The task handler that a contract names as ``handlers.classification:Classification``."""

    def __init__(self, contract: Contract) -> None:
        self._labels = contract.labels
        self._activation = contract.postprocess.activation
        self._temperature = np.float32(contract.postprocess.temperature)
        self._default_top_k = contract.postprocess.top_k

    def top_k(self, wanted: int | None) -> int:
        """How many labels to answer: ``wanted``, or the contract's default. Raises RequestInvalid outside 1..labels."""
        if wanted is None:
            return self._default_top_k
        if isinstance(wanted, bool) or not 1 <= wanted <= len(self._labels):
            raise RequestInvalid(
                "top_k is out of range", observed=wanted, expected=f"1..{len(self._labels)}", fix="lower or omit top_k"
            )
        return wanted

    def results(self, outputs: npt.NDArray[np.floating], top_k: Sequence[int]) -> list[ClassificationResult]:
        """``outputs``: float[N, classes], logits; ``top_k``: one number per image. Raises NetworkFailed."""
        logits = self._checked(outputs, len(top_k))
        scores = self._scores(logits)
        return [self._best(*rows) for rows in zip(logits, scores, top_k, strict=True)]

    def pack(self, results: Sequence[ClassificationResult | None], top_k: int) -> Mapping[str, npt.NDArray[Any]]:
        """Results of one request as its output tensors: ``labels`` object[N, k] of str, ``scores`` float32[N, k].

        None (an image that failed) gives empty labels and NaN scores.
        """
        labels = np.full((len(results), top_k), "", object)
        scores = np.full((len(results), top_k), np.nan, np.float32)
        for row, result in enumerate(results):
            if result is not None:
                labels[row], scores[row] = result.labels, result.scores
        return {"labels": labels, "scores": scores}

    def _checked(self, outputs: npt.NDArray[np.floating], images: int) -> Floats:
        expected = (images, len(self._labels))
        if outputs.shape != expected or not np.issubdtype(outputs.dtype, np.floating):
            raise NetworkFailed(
                "the network's output does not fit the labels",
                observed=f"{outputs.dtype}{list(outputs.shape)}",
                expected=f"float{list(expected)}",
                fix="export the model again with its own list of labels",
            )
        if not np.isfinite(outputs).all():
            raise NetworkFailed(
                "the network returned NaN or infinite values",
                observed=f"{np.count_nonzero(~np.isfinite(outputs))} of {outputs.size} values",
                expected="finite values",
                fix="check the export's parity evidence; half precision may overflow",
            )
        return outputs.astype(np.float32, copy=False)

    def _scores(self, logits: Floats) -> Floats:
        scaled = logits / self._temperature
        if self._activation == "softmax":
            powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            scaled = powers / powers.sum(axis=1, keepdims=True)
        elif self._activation == "sigmoid":
            # exp of non-positive numbers only: no overflow at either end
            powers = np.exp(-np.abs(scaled))
            scaled = np.where(scaled >= 0, 1, powers) / (1 + powers)
        rounded: Floats = scaled.astype(np.float32, copy=False)
        return rounded

    def _best(self, logits: Floats, scores: Floats, count: int) -> ClassificationResult:
        """Ranked by logit, because scores saturate into ties; equal logits keep the order of the labels."""
        order = np.argsort(-logits, kind="stable")[:count]
        return ClassificationResult(tuple(self._labels[index] for index in order), scores[order])
