"""What a contract says about text recognition, and what a request may change of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.parameters import flag, integer, number
from slipway.contract import Contract
from slipway.errors import ContractInvalid


@dataclass(frozen=True)
class OcrSettings:
    """The ``settings`` of a contract; slipway.spec.tasks.OcrSpec says what each means.

    What came later stands here as it was before, so that versions answer as they did when they were published.
    """

    text_score: float = 0.5
    threshold: float = 0.3
    box_threshold: float = 0.5
    unclip_ratio: float = 1.6
    min_side: int = 736
    max_side: int = 2016
    max_scale: float = 64.0
    direction_threshold: float = 0.9
    max_lines: int = 200
    max_line_width: int = 3200
    min_line_width: int = 320
    line_width_step: int = 32

    @classmethod
    def of(cls, contract: Contract) -> OcrSettings:
        """Raises ContractInvalid for unknown keys and values out of range."""
        try:
            made = cls(**contract.settings)
            wrong = made._wrong()
        except TypeError as error:
            raise ContractInvalid(f"{contract.model}: settings of ocr: {error}") from error
        if wrong:
            raise ContractInvalid(f"{contract.model}: settings of ocr: {wrong} is not valid", observed=made)
        return made

    def _wrong(self) -> str | None:
        good = {
            "text_score": 0 <= self.text_score <= 1,
            "threshold": 0 < self.threshold < 1,
            "box_threshold": 0 <= self.box_threshold <= 1,
            "unclip_ratio": 0 <= self.unclip_ratio <= 10,
            "min_side": 32 <= self.min_side <= self.max_side,
            "max_scale": 1 <= self.max_scale <= 64,
            "max_side": self.max_side <= 8192,
            "direction_threshold": 0.5 <= self.direction_threshold <= 1,
            "max_lines": self.max_lines >= 1,
            "max_line_width": self.min_line_width <= self.max_line_width <= 16_384,
            "min_line_width": self.min_line_width >= 1,
            "line_width_step": self.line_width_step >= 1,
        }
        return next((name for name, fits in good.items() if not fits), None)


@dataclass(frozen=True)
class OcrOptions:
    """Of one request; the contract's unless it says otherwise."""

    text_score: float
    box_threshold: float
    max_lines: int
    use_direction: bool

    @classmethod
    def of(cls, parameters: Mapping[str, Any], settings: OcrSettings) -> OcrOptions:
        """Raises RequestInvalid."""
        return cls(
            text_score=number(parameters, "text_score", settings.text_score, 0.0, 1.0),
            box_threshold=number(parameters, "box_threshold", settings.box_threshold, 0.0, 1.0),
            max_lines=integer(parameters, "max_lines", settings.max_lines, 1, settings.max_lines),
            use_direction=flag(parameters, "use_direction", True),
        )
