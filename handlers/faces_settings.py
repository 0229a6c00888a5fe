"""What a contract says about finding faces, and what a request may change of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.parameters import integer, number
from slipway.contract import Contract
from slipway.errors import ContractInvalid

#: Side of the P-Net's window, pixels: the smallest face that it can see.
CELL = 12
CROPS = ("landmarks", "box")


@dataclass(frozen=True)
class FacesSettings:
    """The ``settings`` of a contract; slipway.spec.tasks.FacesSpec says what each means."""

    score_threshold: float = 0.7
    proposal_threshold: float = 0.6
    refine_threshold: float = 0.7
    factor: float = 0.709
    min_face_size: int = 20
    max_faces: int = 100
    candidates: int = 1000
    pyramid_pixels: int = 2_000_000
    picture_pixels: int = 6_000_000
    crops: str = "landmarks"

    @classmethod
    def of(cls, contract: Contract) -> FacesSettings:
        """Raises ContractInvalid for unknown keys and values out of range."""
        try:
            made = cls(**contract.settings)
            wrong = made._wrong()
        except TypeError as error:
            raise ContractInvalid(f"{contract.model}: settings of faces: {error}") from error
        if wrong:
            raise ContractInvalid(f"{contract.model}: settings of faces: {wrong} is not valid", observed=made)
        return made

    def _wrong(self) -> str | None:
        shares = ("score_threshold", "proposal_threshold", "refine_threshold")
        good = {
            **{name: 0 <= getattr(self, name) <= 1 for name in shares},
            "factor": 0 < self.factor < 1,
            "min_face_size": self.min_face_size >= CELL,
            "max_faces": self.max_faces >= 1,
            "candidates": self.candidates >= 1,
            "pyramid_pixels": self.pyramid_pixels >= CELL * CELL,
            "picture_pixels": self.picture_pixels >= CELL * CELL,
            "crops": self.crops in CROPS,
        }
        return next((name for name, fits in good.items() if not fits), None)


@dataclass(frozen=True)
class FacesOptions:
    """Of one request. ``min_face_size``: side in pixels of the picture below which faces are not looked for."""

    score_threshold: float
    max_faces: int
    min_face_size: int

    @classmethod
    def of(cls, parameters: Mapping[str, Any], settings: FacesSettings) -> FacesOptions:
        """Raises RequestInvalid."""
        return cls(
            score_threshold=number(parameters, "score_threshold", settings.score_threshold, 0.0, 1.0),
            max_faces=integer(parameters, "max_faces", settings.max_faces, 1, settings.max_faces),
            min_face_size=integer(parameters, "min_face_size", settings.min_face_size, CELL, 65_535),
        )
