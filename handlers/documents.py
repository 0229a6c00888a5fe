"""How far two JSON answers of unknown form lie apart: the same structure, and numbers that differ by so much."""

from __future__ import annotations

import json
from typing import Any


def difference(one: bytes | str, other: bytes | str) -> float | None:
    """The largest difference of any two numbers at the same place; None where anything else differs, or what is no
    JSON is not equal."""
    if one == other:
        return 0.0
    try:
        return _apart(json.loads(one), json.loads(other))
    except (ValueError, RecursionError):
        return None


def _apart(one: Any, other: Any) -> float | None:
    if isinstance(one, dict) and isinstance(other, dict):
        return _largest([(one[key], other[key]) for key in one]) if one.keys() == other.keys() else None
    if isinstance(one, list) and isinstance(other, list):
        return _largest(list(zip(one, other, strict=True))) if len(one) == len(other) else None
    if _number(one) and _number(other):
        return 0.0 if one == other or (one != one and other != other) else abs(one - other)
    return 0.0 if type(one) is type(other) and one == other else None


def _largest(pairs: list[tuple[Any, Any]]) -> float | None:
    found = [_apart(*pair) for pair in pairs]
    return None if None in found else max([item for item in found if item is not None], default=0.0)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
