"""Numbers, times and other people's texts as a page shows them. What is not known is a dash, never a zero."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from datetime import datetime, timezone

UNKNOWN = "–"
#: Characters of one sentence at most, and of one name: labels and ids come from clients, and the page stays small.
LONGEST, LONGEST_NAME = 300, 80
#: The year 2200: later ones are no times of a rollout, and axes of dates end somewhere after it.
_LAST_SECOND = 7_258_118_400


def number(value: float | None) -> float | None:
    """``value`` where it is a finite number, else None."""
    if value is None or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) else None


def is_time(value: float | None) -> bool:
    """Whether it is a time that can be shown, in seconds since 1970."""
    found = number(value)
    return found is not None and 0 <= found <= _LAST_SECOND


def percent(value: float | None) -> str:
    """A rate, 0..1: ``1.24 %``; with more digits where it is small, so that 0.01 % is not zero."""
    found = number(value)
    return UNKNOWN if found is None else f"{_digits(100 * found)} %"


def points(value: float | None) -> str:
    """A difference of rates, -1..1, with its sign: ``+0.30 points``."""
    found = number(value)
    return UNKNOWN if found is None else f"{'+' if found > 0 else ''}{_digits(100 * found)} points"


def milliseconds(value: float | None) -> str:
    """``12.3 ms``."""
    found = number(value)
    return UNKNOWN if found is None else f"{_digits(found)} ms"


def count(value: float | None) -> str:
    """A whole number with its thousands apart."""
    found = number(value)
    return UNKNOWN if found is None else f"{found:,.0f}"


def plain(value: float | None) -> str:
    """A number without a unit."""
    found = number(value)
    return UNKNOWN if found is None else _digits(found)


def in_unit(value: float | None, unit: str) -> str:
    """``unit`` as of CheckRow."""
    return _UNITS.get(unit, plain)(value)


_UNITS: dict[str, Callable[[float | None], str]] = {
    "rate": percent,
    "points": points,
    "ms": milliseconds,
}


def between(lower: float | None, upper: float | None, unit: str) -> str:
    """``0.10 % to 0.42 %``; an end that is not known is open; nothing when neither is."""
    low, high = number(lower), number(upper)
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {in_unit(high, unit)}"
    if high is None:
        return f"at least {in_unit(low, unit)}"
    return f"{in_unit(low, unit)} to {in_unit(high, unit)}"


def moment(value: float | None) -> str:
    """``2026-11-25 09:33:07`` (UTC) of seconds since 1970."""
    if value is None or not is_time(value):
        return UNKNOWN
    return f"{datetime.fromtimestamp(value, timezone.utc):%Y-%m-%d %H:%M:%S}"


def machine_moment(value: float | None) -> str:
    """The same for an HTML ``time`` element's datetime; nothing when it is not known."""
    shown = moment(value)
    return "" if shown == UNKNOWN else f"{shown.replace(' ', 'T')}Z"


def duration(seconds: float | None) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    found = number(seconds)
    if found is None or found < 0:
        return UNKNOWN
    whole = round(found)
    if whole < 120:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def clean(text: str, longest: int = LONGEST) -> str:
    """``text`` with what cannot be seen made visible, and cut where it is long.

    Control characters are XML's and HTML's trouble, halves of surrogate pairs UTF-8's, and marks of direction
    (U+202E) would show an id as another one.
    """
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(map(_visible, cut)) if not (cut.isascii() and cut.isprintable()) else cut


def short(text: str) -> str:
    """A label, an id or a code, whole where it is of a usual length."""
    return clean(text, LONGEST_NAME)


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    if ord(character) < 32:
        return chr(0x2400 + ord(character))
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Cn") else character


def _digits(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e6:
        return f"{value:.3g}"
    if size >= 0.1:
        return f"{value:.{0 if size >= 1000 else 1 if size >= 100 else 2}f}"
    decimals = min(8, 1 - math.floor(math.log10(size)))
    return f"{value:.{decimals}f}"
