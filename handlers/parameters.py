"""Reads the parameters of a request: numbers, flags and lists that may arrive as text, checked against their range.

HTTP queries, headers and some clients have only text, so ``"3"`` is as good as 3 and ``"a,b"`` as a list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from slipway.errors import RequestInvalid


def integer(parameters: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    """An integer in least..most. Raises RequestInvalid."""
    value = parameters.get(name)
    if value is None:
        return default
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool):
        raise _refused(name, "is no integer", value, "an integer", f"send {name} as {default}")
    if not least <= number <= most:
        raise _refused(name, "is out of range", value, f"{least}..{most}", f"change or omit {name}")
    return number


def number(parameters: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A finite number in least..most. Raises RequestInvalid."""
    value = parameters.get(name)
    if value is None:
        return default
    try:
        found = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise _refused(name, "is no number", value, "a number", f"send {name} as {default:g}")
    if not least <= found <= most:
        raise _refused(name, "is out of range", value, f"{least:g}..{most:g}", f"change or omit {name}")
    return found


def flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    """true or false. Raises RequestInvalid."""
    value = parameters.get(name)
    if value is None or isinstance(value, bool):
        return default if value is None else value
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in known:
        raise _refused(name, "is neither true nor false", value, "true or false", f"send {name} as true")
    return known[str(value).lower()]


def choice(parameters: Mapping[str, Any], name: str, default: str, known: Sequence[str]) -> str:
    """One of ``known``. Raises RequestInvalid."""
    value = parameters.get(name)
    if value is None:
        return default
    if value not in known:
        raise _refused(name, "is not known", value, f"one of {', '.join(known)}", f"change or omit {name}")
    return str(value)


def names(parameters: Mapping[str, Any], name: str, known: Sequence[str]) -> tuple[str, ...] | None:
    """A list of at most as many names as are ``known``, or their text with commas; None when absent. Raises
    RequestInvalid."""
    value = parameters.get(name)
    if value is None:
        return None
    count = value.count(",") + 1 if isinstance(value, str) else len(value) if isinstance(value, (list, tuple)) else 0
    if count > len(known):
        raise _refused(name, f"has {count} names", value, f"at most {len(known)}", f"name each in {name} once")
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not found:
        raise _refused(name, "is no list", value, "names, separated by commas", f"send {name} as {known[0]}")
    wanted = [str(item).strip() for item in found]
    there = frozenset(known)
    for item in wanted:
        if item not in there:
            raise _refused(name, f"names {item[:50]!r}, which there is not", value, _some(known), f"correct {name}")
    return tuple(dict.fromkeys(wanted))


def _some(known: Sequence[str]) -> str:
    return f"of {', '.join(known[:20])}{' ...' if len(known) > 20 else ''}"


def _refused(name: str, problem: str, value: object, expected: str, fix: str) -> RequestInvalid:
    return RequestInvalid(f"parameter {name} {problem}", observed=repr(value)[:100], expected=expected, fix=fix)
