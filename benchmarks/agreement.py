"""How far two answers about one image are apart: every field of any task, as a number, and what is not the same.

Far stricter than a golden check (serving.golden_compare): both answers come from this machine and from the same
artefact, so that labels, texts, counts and masks are to be equal, and numbers nearly so.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.fields import Field

Record = Mapping[str, Any]

#: Largest absolute difference by the last part of a field's name; pixels of the original image where it is a place;
#: of a mask, the share of its pixels.
TOLERANCES = {"scores": 1e-3, "embedding": 1e-3, "boxes": 0.5, "landmarks": 0.5, "quads": 0.5, "mask": 0.0}
#: Of any other number.
OTHER = 1e-3
#: Between an item and none, or between words.
APART = math.inf


@dataclass
class Agreement:
    """``worst``: largest difference by field, 0 where values are equal, infinite where they cannot be subtracted;
    ``problems``: what is not the same within the tolerances, in words."""

    worst: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether nothing is beyond its tolerance."""
        return not self.problems

    def add(self, other: Agreement) -> None:
        """Takes in another image's."""
        for name, value in other.worst.items():
            self.worst[name] = max(value, self.worst.get(name, 0.0))
        self.problems += other.problems


def tolerance(name: str) -> float:
    """Of a field, whether it is the task's or an attribute's (``identity.embedding``)."""
    return TOLERANCES.get(name.rsplit(".", 1)[-1], OTHER)


def share(name: str, value: float) -> float:
    """A difference as a share of what is tolerated: above 1 it is too large."""
    allowed = tolerance(name)
    return value / allowed if allowed else APART if value else 0.0


def compare(fields: Sequence[Field], one: Record, other: Record) -> Agreement:
    """Two JSON-ready records of a task with these ``fields``.

    Items are compared in order where their order says something (lines of text are read in order); elsewhere as sets,
    because items of nearly one score change places.
    """
    found = Agreement()
    if one.keys() != other.keys():
        found.problems.append(f"fields {sorted(other)} instead of {sorted(one)}")
        return found
    there = [field for field in fields if field.name in one]
    for item in there:
        if not item.each:
            _note(found, item.name, difference(item, one[item.name], other[item.name]), "")
    each = [field for field in there if field.each]
    if each:
        _items(found, each, _rows(each, one), _rows(each, other))
    return found


def difference(field: Field, one: Any, other: Any) -> float:
    """The largest absolute difference of two values; infinite for another text, shape or mask."""
    if field.dtype == "bytes" and one != other:
        return _masks(one, other)
    if field.dtype in ("string", "bytes"):
        return 0.0 if one == other else APART
    first, second = _numbers(one), _numbers(other)
    if first.shape != second.shape or not np.array_equal(np.isnan(first), np.isnan(second)):
        return APART
    return float(np.nanmax(np.abs(first - second), initial=0.0)) if first.size else 0.0


def _items(found: Agreement, fields: Sequence[Field], one: list[list[Any]], other: list[list[Any]]) -> None:
    if len(one) != len(other):
        found.problems.append(f"{len(other)} items instead of {len(one)}")
        return
    for item, index, apart in _matched(fields, one, other):
        for of, value in zip(fields, apart, strict=True):
            _note(found, of.name, value, f" of item {index}" + ("" if item == index else f" (found as item {item})"))


def _matched(
    fields: Sequence[Field], one: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]
) -> Iterator[tuple[int, int, list[float]]]:
    """(place in ``other``, place in ``one``, difference by field) of every pair: those in the same place where they
    agree, then the others, each with the nearest that is left."""
    pairs = [(index, [difference(*values) for values in zip(fields, *rows, strict=True)])
             for index, rows in enumerate(zip(one, other, strict=True))]  # fmt: skip
    ordered = any(field.name == "texts" for field in fields)
    left = [] if ordered else [index for index, apart in pairs if _share(fields, apart) > 1]
    yield from ((index, index, apart) for index, apart in pairs if index not in left)
    free = list(left)
    for index in left:
        tried = {at: [difference(*values) for values in zip(fields, one[index], other[at], strict=True)] for at in free}
        at = min(tried, key=lambda place: (_share(fields, tried[place]), _total(tried[place])))
        free.remove(at)
        yield at, index, tried[at]


def _share(fields: Sequence[Field], apart: Sequence[float]) -> float:
    """The largest difference as a share of what is tolerated."""
    return max(share(field.name, value) for field, value in zip(fields, apart, strict=True))


def _total(apart: Sequence[float]) -> float:
    return sum(value for value in apart if math.isfinite(value))


def _rows(fields: Sequence[Field], record: Record) -> list[list[Any]]:
    """The record by items. Fields of one record are equally long."""
    return [list(values) for values in zip(*(record[field.name] for field in fields), strict=True)]


def _note(found: Agreement, name: str, value: float, where: str) -> None:
    found.worst[name] = max(value, found.worst.get(name, 0.0))
    if value > tolerance(name):
        found.problems.append(f"{name}{where} differs" + (f" by {value:.4g}" if math.isfinite(value) else ""))


def _masks(one: Any, other: Any) -> float:
    """Share of differing pixels of two PNGs that are not the same file; infinite for another size or no picture."""
    try:
        first, second = (np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in (one, other))
    except (OSError, ValueError, TypeError, binascii.Error):
        return APART
    return float(np.mean(first != second)) if first.shape == second.shape else APART


def _numbers(value: Any) -> npt.NDArray[np.float64]:
    """Numbers of any nesting, null as NaN; what is ragged has no shape to compare, so its text is."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        flat = [float("nan") if item is None else float(item) for item in _flat(value)]
        return np.asarray(flat, np.float64)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    else:
        yield value
