"""Classification: raw outputs of a network -> the best labels and their scores, best first.

With ``sigmoid`` every label has a score of its own, so an image may have several labels, or none that reaches the
``score_threshold``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.fields import Field, Record
from handlers.parameters import integer, number
from handlers.preprocess import Prepared
from handlers.task import SingleNetwork, finite
from slipway.contract import Contract

Floats = npt.NDArray[np.float32]
#: Of raw scores: what float32 can hold.
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class ClassificationResult:
    """``labels``: k names, best first; ``scores``: float32[k], in the same order."""

    labels: tuple[str, ...]
    scores: Floats

    def record(self) -> Record:
        """As handlers.task.Result."""
        return {"labels": self.labels, "scores": self.scores}


@dataclass(frozen=True)
class ClassificationOptions:
    """Of one request: how many labels each image gets at most, and the least score of a label that is named."""

    top_k: int
    score_threshold: float = 0.0


class Classification(SingleNetwork):
    """The task handler that a contract names as ``handlers.classification:Classification``."""

    fields = (Field("labels", "string", each=True), Field("scores", "float32", each=True))

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        self._labels = contract.labels
        self._activation = contract.postprocess.activation
        self._temperature = np.float32(contract.postprocess.temperature)
        self._defaults = contract.postprocess

    def options(self, parameters: Mapping[str, Any]) -> ClassificationOptions:
        """``top_k``, 1..labels, and ``score_threshold``, 0..1 (any number where scores are raw): the contract's unless
        given. Raises RequestInvalid."""
        raw = self._activation == "none"
        least, most = (-_LARGEST, _LARGEST) if raw else (0.0, 1.0)
        default = -_LARGEST if raw else self._defaults.score_threshold
        return ClassificationOptions(
            integer(parameters, "top_k", self._defaults.top_k, 1, len(self._labels)),
            number(parameters, "score_threshold", default, least, most),
        )

    def width(self, options: ClassificationOptions) -> int:
        """As handlers.task.Task."""
        return options.top_k

    def results(
        self,
        outputs: npt.NDArray[np.float32],
        prepared: Sequence[Prepared],
        options: Sequence[ClassificationOptions],
    ) -> list[ClassificationResult]:
        """``outputs``: float[N, classes], logits. Raises NetworkFailed."""
        expected = (len(options), len(self._labels))
        logits = finite(outputs, f"float{list(expected)}, one per label", outputs.shape == expected)
        scores = self._scores(logits)
        return [self._best(*rows) for rows in zip(logits, scores, options, strict=True)]

    def _scores(self, logits: Floats) -> Floats:
        with np.errstate(over="ignore"):  # of a temperature below 1: said as what it is
            scaled = finite(logits / self._temperature, "", True)
        if self._activation == "softmax":
            powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            scaled = powers / powers.sum(axis=1, keepdims=True)
        elif self._activation == "sigmoid":
            # exp of non-positive numbers only: no overflow at either end
            powers = np.exp(-np.abs(scaled))
            scaled = np.where(scaled >= 0, 1, powers) / (1 + powers)
        rounded: Floats = scaled.astype(np.float32, copy=False)
        return rounded

    def _best(self, logits: Floats, scores: Floats, options: ClassificationOptions) -> ClassificationResult:
        """Ranked by logit, because scores saturate into ties; equal logits keep the order of the labels."""
        order = np.argsort(-logits, kind="stable")[: options.top_k]
        order = order[scores[order] >= np.float32(options.score_threshold)]
        return ClassificationResult(tuple(self._labels[index] for index in order), scores[order])
