"""What a contract says about detection, and what a request may change of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.parameters import flag, integer, names, number
from handlers.tiling import Tiling
from slipway.contract import Contract
from slipway.errors import ContractInvalid, RequestInvalid

LAYOUTS = ("xyxy", "cxcywh")
UNITS = ("pixels", "fraction")
ACTIVATIONS = ("none", "sigmoid")


@dataclass(frozen=True)
class DetectionSettings:
    """The ``settings`` of a contract; slipway.spec.tasks.DetectionSpec says what each means."""

    score_threshold: float = 0.25
    iou_threshold: float = 0.5
    max_detections: int = 100
    candidates: int = 1000
    layout: str = "xyxy"
    units: str = "pixels"
    anchors_last: bool = False
    objectness: bool = False
    activation: str = "none"
    class_agnostic: bool = False
    tile: Tiling = field(default_factory=Tiling)

    @classmethod
    def of(cls, contract: Contract) -> DetectionSettings:
        """Raises ContractInvalid for unknown keys and values out of range."""
        try:
            made = cls(**{**contract.settings, "tile": Tiling.of(contract.settings.get("tile", {}))})
            wrong = made._wrong()
        except (TypeError, ValueError) as error:
            raise ContractInvalid(f"{contract.model}: settings of detection: {error}") from error
        if wrong:
            raise ContractInvalid(f"{contract.model}: settings of detection: {wrong} is not valid", observed=made)
        return made

    def _wrong(self) -> str | None:
        good = {
            "score_threshold": 0 <= self.score_threshold <= 1,
            "iou_threshold": 0 < self.iou_threshold <= 1,
            "max_detections": self.max_detections >= 1,
            "candidates": self.candidates >= 1,
            "layout": self.layout in LAYOUTS,
            "units": self.units in UNITS,
            "activation": self.activation in ACTIVATIONS,
        }
        return next((name for name, fits in good.items() if not fits), None)


@dataclass(frozen=True)
class DetectionOptions:
    """Of one request. ``classes``: positions among the labels, None for all. ``tile``: None is as the contract says."""

    score_threshold: float
    iou_threshold: float
    max_detections: int
    classes: tuple[int, ...] | None = None
    tile: bool | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, Any], settings: DetectionSettings, labels: Sequence[str]) -> DetectionOptions:
        """Raises RequestInvalid."""
        wanted = names(parameters, "classes", labels)
        return cls(
            score_threshold=number(parameters, "score_threshold", settings.score_threshold, 0.0, 1.0),
            iou_threshold=number(parameters, "iou_threshold", settings.iou_threshold, 0.0, 1.0),
            max_detections=integer(parameters, "max_detections", settings.max_detections, 1, settings.max_detections),
            classes=None if wanted is None else tuple(i for i, label in enumerate(labels) if label in wanted),
            tile=_tile(parameters, settings.tile),
        )


def _tile(parameters: Mapping[str, Any], tiling: Tiling) -> bool | None:
    if parameters.get("tile") is None:
        return None
    wanted = flag(parameters, "tile", False)
    if wanted and tiling.enabled == "never":
        raise RequestInvalid(
            "this model does not look at tiles",
            observed="tile=true",
            expected="tile=false, or no such parameter",
            fix="omit tile, or publish a version whose detection.tile.enabled is auto",
        )
    return wanted
