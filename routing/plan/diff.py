"""What changes between two plans, in lines that a person reads before agreeing."""

from __future__ import annotations

from typing import Any

from routing.plan.model import RoutePlan
from routing.plan.share import show_share

_SHARES = ("share", "record", "compare", "start", "stop")


def diff(old: RoutePlan | None, new: RoutePlan | None) -> list[str]:
    """``+ key: value``, ``- key: value``, ``~ key: old -> new``, by key; empty where nothing changes."""
    before, after = _flat(old), _flat(new)
    lines = []
    for key in dict.fromkeys((*before, *after)):
        if key not in before:
            lines.append(f"+ {key}: {after[key]}")
        elif key not in after:
            lines.append(f"- {key}: {before[key]}")
        elif before[key] != after[key]:
            lines.append(f"~ {key}: {before[key]} -> {after[key]}")
    return lines


def _flat(plan: RoutePlan | None) -> dict[str, str]:
    """Dotted keys of what is not a default. The walk stands for share, steps and bake, which are ways to write it."""
    if plan is None:
        return {}
    values = {key: value for key, value in plan.to_dict().items() if key not in ("share", "steps", "bake")}
    lines: dict[str, str] = {}
    _flatten("", values, lines)
    if plan.walk:
        lines["steps"] = ", ".join(f"{show_share(step.share)} for {step.bake:g} s" for step in plan.walk)
    return lines


def _flatten(prefix: str, values: dict[str, Any], lines: dict[str, str]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _flatten(f"{prefix}{key}.", value, lines)
        else:
            lines[f"{prefix}{key}"] = _show(prefix, key, value)


def _show(prefix: str, key: str, value: object) -> str:
    if isinstance(value, float) and key in _SHARES and not prefix.startswith("rules."):
        return show_share(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
