"""What verdicts say, as the report shows it: checks in their units, rulings, differences over time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from routing.report.data import Band, CheckRow, Curve, Ruling, VerdictView
from routing.report.words import count, in_unit, plain
from routing.store.history import SavedCheck
from routing.verdict.rules import Rules

_RATIO, _GUARDRAIL = "sample ratio", "guardrail: "
_QUANTILE = re.compile(r"p\d+(\.\d+)?")


def unit_of(metric: str, rules: Rules) -> str:
    """The unit (as CheckRow's) of what routing.verdict measures under this name."""
    name = metric.removeprefix(_GUARDRAIL)
    if _QUANTILE.fullmatch(name):
        return "ms"
    if name == "agreement" or metric == f"{_GUARDRAIL}errors":
        return "rate"
    return "points" if metric in compared(rules) else ""


def with_units(verdict: VerdictView, rules: Rules) -> VerdictView:
    """Its comparisons, each with its unit; sample ratio and guardrails are rulings, shown in a place of their own."""
    own = [check for check in verdict.checks if not _is_ruling(check.metric)]
    return replace(verdict, checks=tuple(replace(check, unit=unit_of(check.metric, rules)) for check in own))


def sample_ratio(checks: Sequence[CheckRow], rules: Rules) -> Ruling | None:
    """The test of the split; None where it was not made."""
    for check in checks:
        if check.metric == _RATIO:
            found, allowed = f"p = {plain(check.estimate)}", f"p of at least {plain(rules.ratio_alpha)}"
            return Ruling(_RATIO, _kept(check.decision), found, allowed, check.text)
    return None


def guardrails(checks: Sequence[CheckRow], rules: Rules) -> tuple[Ruling, ...]:
    """What ends a rollout at once, with its limits."""
    limits = rules.guardrails
    allowed = {
        "errors": in_unit(limits.error_rate_max, "rate"),
        "finite": count(limits.not_finite_max),
        "p99": in_unit(limits.p99_max_ms, "ms"),
    }
    rows = []
    for check in checks:
        if check.metric.startswith(_GUARDRAIL) or check.metric == "drift":
            name = check.metric.removeprefix(_GUARDRAIL)
            found = in_unit(check.estimate, unit_of(check.metric, rules)) if check.estimate is not None else ""
            rows.append(Ruling(name, _kept(check.decision), found, allowed.get(name, ""), check.text))
    return tuple(rows)


def difference_curves(saved: Sequence[SavedCheck], rules: Rules) -> tuple[Curve, ...]:
    """Canary minus stable of every rate that was compared, as each verdict had it, with the margin that is allowed."""
    margins = compared(rules)
    bands: dict[str, list[Band]] = {}
    for check in saved:
        bands.setdefault(check.metric, []).append(Band(check.time, check.estimate, check.lower, check.upper))
    return tuple(Curve(metric, tuple(found), "points", None, margins[metric]) for metric, found in bands.items())


def compared(rules: Rules) -> dict[str, float]:
    """By metric, the difference (canary minus stable) from which on it is worse than allowed."""
    outcomes = {
        name: rule.margin if rule.better == "lower" else -rule.margin for name, rule in sorted(rules.outcomes.items())
    }
    return {"errors": rules.error_margin, "accuracy": -rules.accuracy_margin, **outcomes}


def _is_ruling(metric: str) -> bool:
    return metric == _RATIO or metric == "drift" or metric.startswith(_GUARDRAIL)


def _kept(decision: str) -> str:
    """A guardrail promotes nothing: it is kept."""
    return "pass" if decision == "promote" else decision
