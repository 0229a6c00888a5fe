"""Records of any task as lines for people: one per box, text or class; the length of a vector, shares of a mask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def lines(record: Record) -> list[str]:
    """At least one line."""
    own = {name: value for name, value in record.items() if "." not in name}
    found = _own_lines(own)
    items = len(own["boxes"]) if "boxes" in own else None
    for name, part in _parts(record).items():
        if not any(_filled(value) for value in part.values()):
            continue  # an attribute that the request did not ask for
        if items is not None and _of_items(part, items):
            found = [f"{line}  {name}: {_short(_row(part, row))}" for row, line in enumerate(found)] if items else found
        else:
            found += [f"{name}: {line}" for line in _own_lines(part)]
    return found or ["nothing"]


def _own_lines(values: Record) -> list[str]:
    for fields, show in _FORMS:
        if all(field in values for field in fields):
            return show(values)
    return [f"{name}: {_short(value)}" for name, value in values.items() if name != "count"]


def _texts(values: Record) -> list[str]:
    if not values["texts"]:
        return ["no text"]
    return [f"{score:.3f}  {text}" for text, score in zip(values["texts"], values["scores"], strict=True)]


def _boxes(values: Record) -> list[str]:
    if not values["boxes"]:
        return ["nothing found"]
    labels = values.get("labels") or [""] * len(values["boxes"])
    rows = zip(labels, values["scores"], values["boxes"], strict=True)
    return [f"{f'{label}  ' if label else ''}{score:.3f}  {_box(box)}" for label, score, box in rows]


def _box(box: Sequence[float]) -> str:
    left, top, right, bottom = (round(value) for value in box)
    return f"x {left} to {right}, y {top} to {bottom}"


def _classes(values: Record) -> list[str]:
    """Of a mask: which classes, and how much of the image each covers."""
    rows = zip(values["classes"], values["shares"], strict=True)
    size = " x ".join(str(side) for side in values.get("size", ()))
    return [*([f"mask {size}"] if size else []), *(f"{name}  {share:.1%}" for name, share in rows)]


def _embedding(values: Record) -> list[str]:
    vector = values["embedding"]
    length = math.sqrt(sum(value * value for value in vector))
    return [f"{len(vector)} numbers, length {length:.4f}"]


def _labels(values: Record) -> list[str]:
    pairs = zip(values["labels"], values["scores"], strict=True)
    return ["  ".join(f"{label} {score:.4f}" for label, score in pairs) or "no label"]


_FORMS = (
    (("texts", "scores"), _texts),
    (("boxes", "scores"), _boxes),
    (("classes", "shares"), _classes),
    (("embedding",), _embedding),
    (("labels", "scores"), _labels),
)


def _parts(record: Record) -> dict[str, dict[str, Any]]:
    """Attributes: ``age.labels`` is field ``labels`` of ``age``."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in record.items():
        part, _, field = name.rpartition(".")
        if part:
            parts.setdefault(part, {})[field] = value
    return parts


def _filled(value: Any) -> bool:
    """Whether there is anything in lists of lists."""
    return any(map(_filled, value)) if isinstance(value, list) else True


def _of_items(part: Record, items: int) -> bool:
    """Whether every field has one entry per found item, and that entry is itself a list where the field is one."""
    nested = [isinstance(value, list) and len(value) == items and _is_nested(value) for value in part.values()]
    return bool(nested) and all(nested)


def _is_nested(value: Sequence[Any]) -> bool:
    return not value or isinstance(value[0], (list, str))


def _row(part: Record, row: int) -> str:
    return " ".join(_own_lines({name: value[row] for name, value in part.items()}))


def _short(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
