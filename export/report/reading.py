"""Reads evidence.json as it comes: of any age, with parts missing, and with NaN and infinities as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

#: Names that the gate of the task has had.
TASK_GATES = ("task", "accuracy")


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def part(value: Any, *keys: str) -> Mapping[str, Any]:
    """The mapping under ``keys``; an empty one where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def rows(evidence: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The list of mappings under ``key``."""
    found = evidence.get(key)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def format_names(evidence: Mapping[str, Any]) -> list[str]:
    """Every format that has files or a verdict, in the order of the run."""
    named = [str(item.get("format", "")) for key in ("formats", "gates") for item in rows(evidence, key)]
    return [name for name in dict.fromkeys(named) if name]


def gate(evidence: Mapping[str, Any], format_name: str, *names: str) -> Mapping[str, Any]:
    """One format's result of the first of ``names`` that judged it; empty where none did."""
    results = [item for item in rows(evidence, "gates") if item.get("format") == format_name]
    return next((item for name in names for item in results if item.get("name") == name), {})


def measured(evidence: Mapping[str, Any], *gates: str) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(format, what a gate measured, its thresholds) of every format that it judged."""
    for name in format_names(evidence):
        result = gate(evidence, name, *gates)
        if result:
            yield name, part(result, "measured"), part(result, "threshold")


def text(value: Any) -> str:
    """A value for a table: numbers short, lists joined, mappings as ``key value``, empty ones left out."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words}" for key, item in value.items() if (words := text(item)))
    if isinstance(value, (list, tuple)):
        return ", ".join(text(item) for item in value)
    return str(value)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and their values as text, without those that are not set."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        elif value is not None and value != {}:
            yield f"{prefix}{key}", text(value)
