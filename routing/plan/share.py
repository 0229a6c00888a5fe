"""Shares of units as people write them: ``10%`` or ``0.1``; kept as a fraction in steps of a bucket (0.01 %)."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BeforeValidator

from slipway.experiment import BUCKETS


def parse_share(value: object) -> float:
    """``"10%"``, ``"0.1"`` or ``0.1`` -> 0.1, within 0..1. Raises ValueError that says how to write it.

    A bare whole number is refused: whether 1 is one per cent or everything, only its writer knows.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("not a share; write 10% or 0.1")
    text = str(value).strip()
    percent = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError as problem:
        raise ValueError("not a share; write 10% or 0.1") from problem
    if not percent and number != 0 and "." not in text:
        raise ValueError(f"not a share; write {text}%, or a fraction such as 0.1")
    return _on_buckets(number / 100 if percent else number)


def buckets(share: float) -> int:
    """Fraction -> number of buckets of all BUCKETS."""
    return round(share * BUCKETS)


def show_share(share: float) -> str:
    """0.1 -> ``10%``, 0.0025 -> ``0.25%``."""
    return f"{share * 100:.4g}%"


def _on_buckets(fraction: float) -> float:
    if not math.isfinite(fraction) or not 0 <= fraction <= 1:
        raise ValueError("a share lies between 0% and 100%")
    if not math.isclose(fraction * BUCKETS, round(fraction * BUCKETS), abs_tol=1e-6):
        raise ValueError("a share has at most two digits after the point of its percentage")
    return round(fraction * BUCKETS) / BUCKETS


#: A fraction of all units, 0..1.
Share = Annotated[float, BeforeValidator(parse_share)]
