"""One metric's part of a verdict."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Check:
    """``estimate``, ``lower``, ``upper``: the metric, or the canary's minus the stable one's where ``compared``;
    None: not known. ``trials``: of the canary."""

    metric: str
    decision: Literal["promote", "hold", "abort"]
    text: str
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    trials: int = 0
    compared: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        values = asdict(self)
        for name in ("estimate", "lower", "upper"):
            if values[name] is not None and not math.isfinite(values[name]):
                values[name] = None
        return values
