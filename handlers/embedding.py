"""Embedding: raw outputs of a network -> one vector per image, of length one unless the contract says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from handlers.fields import Field, Record
from handlers.preprocess import Prepared
from handlers.task import SingleNetwork, finite
from slipway.contract import Contract
from slipway.errors import ContractInvalid, NetworkFailed

Floats = npt.NDArray[np.float32]
_NORMALISE = ("l2", "none")


@dataclass(frozen=True)
class EmbeddingSettings:
    """``normalise``: ``l2`` divides every vector by its Euclidean length, ``none`` leaves it as the network made it.
    ``dimension``: how many numbers a vector has, 0 where any will do."""

    normalise: Literal["l2", "none"] = "l2"
    dimension: int = 0

    @classmethod
    def of(cls, contract: Contract) -> EmbeddingSettings:
        """From the contract's settings. Raises ContractInvalid for unknown keys and values."""
        try:
            settings = cls(**contract.settings)
        except TypeError as problem:
            raise ContractInvalid(f"{contract.model}: settings of the embedding: {problem}") from problem
        if settings.normalise not in _NORMALISE:
            raise ContractInvalid(
                f"{contract.model}: settings.normalise is not known", observed=settings.normalise, expected=_NORMALISE
            )
        if not isinstance(settings.dimension, int) or settings.dimension < 0:
            raise ContractInvalid(
                f"{contract.model}: settings.dimension is no size", observed=settings.dimension, expected="0 or more"
            )
        return settings


@dataclass(frozen=True, eq=False)
class EmbeddingResult:
    """``embedding``: float32[D]; the dot product of two of length one is their cosine similarity."""

    embedding: Floats

    def record(self) -> Record:
        """As handlers.task.Result."""
        return {"embedding": self.embedding}


class Embedding(SingleNetwork):
    """The task handler that a contract names as ``handlers.embedding:Embedding``."""

    fields = (Field("embedding", "float32", (-1,)),)

    def __init__(self, contract: Contract) -> None:
        """Raises ContractInvalid for settings that there are not."""
        super().__init__(contract)
        self._settings = EmbeddingSettings.of(contract)

    def options(self, parameters: Mapping[str, Any]) -> None:
        """A request can ask for nothing."""

    def width(self, options: None) -> int:
        """As handlers.task.Task: no field has items."""
        return 0

    def results(
        self, outputs: npt.NDArray[np.float32], prepared: Sequence[Prepared], options: Sequence[None]
    ) -> list[EmbeddingResult]:
        """``outputs``: float[N, D]. Raises NetworkFailed, also for a vector of zeros, which has no direction."""
        dimension = self._settings.dimension
        fits = outputs.ndim == 2 and len(outputs) == len(prepared) and outputs.shape[1] >= 1
        fits = fits and dimension in (0, outputs.shape[-1])
        vectors = finite(outputs, f"float[{len(prepared)}, {dimension or 'D'}], one vector per image", fits)
        if self._settings.normalise == "l2":
            vectors = unit(vectors)
        return [EmbeddingResult(vector) for vector in vectors]


def unit(vectors: Floats) -> Floats:
    """float32[N, D] of length one each, within 1e-6. Raises NetworkFailed for a vector of zeros."""
    wide = vectors.astype(np.float64)  # squares of large float32 do not overflow, those of small ones do not vanish
    lengths = np.sqrt(np.sum(wide * wide, axis=1, keepdims=True))
    if not np.all(lengths > 0):
        raise NetworkFailed(
            "an embedding is zero",
            observed=f"{np.count_nonzero(lengths == 0)} of {len(vectors)} vectors",
            expected="vectors with a direction",
            fix="check the export's parity evidence, or set embedding.normalise to none",
        )
    scaled: Floats = (wide / lengths).astype(np.float32)
    return scaled
