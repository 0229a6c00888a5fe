"""The verdict: guardrails and shown harm abort, everything shown good promotes, anything else holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from routing.observations import ArmSeen, Observations
from routing.verdict import comparisons, guardrails
from routing.verdict.check import Check
from routing.verdict.rules import Rules

Decision = Literal["promote", "hold", "abort"]


@dataclass(frozen=True)
class Verdict:
    """``reasons``: plain words, the most important first. ``checks``: one per metric."""

    decision: Decision
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; infinite limits become None."""
        return {"decision": self.decision, "reasons": list(self.reasons), "checks": [c.to_dict() for c in self.checks]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Verdict:
        """The inverse of :meth:`to_dict`."""
        checks = tuple(Check(**check) for check in values.get("checks", ()))
        return cls(values["decision"], tuple(values["reasons"]), checks)


def judge(seen: Observations, rules: Rules) -> Verdict:
    """Reads everything, decides once. Too little traffic, or a metric that cannot be read, holds."""
    checks = (
        *guardrails.checks(seen.canary, seen.drift, rules),
        *comparisons.checks(seen, rules),
        *_sample(seen, rules),
    )
    for decision in ("abort", "hold"):
        reasons = tuple(check.text for check in checks if check.decision == decision)
        if reasons:
            return Verdict(decision, reasons, checks)
    text = f"version {seen.canary.version} is shown to be no worse than version {seen.stable.version} in every metric"
    return Verdict("promote", (text, *(c.text for c in checks if c.decision == "promote" and c.compared)), checks)


def crossed(canary: ArmSeen, drift: str | None, rules: Rules) -> Verdict | None:
    """What guardrails alone say of the canary: an abort, or None. Their limits hold however often one looks."""
    checks = tuple(guardrails.checks(canary, drift, rules))
    reasons = tuple(check.text for check in checks if check.decision == "abort")
    return Verdict("abort", reasons, checks) if reasons else None


def _sample(seen: Observations, rules: Rules) -> Iterator[Check]:
    """Minimum sample and duration of the step, and what could not be read."""
    missing = rules.min_requests - seen.step_requests
    if missing > 0:
        text = (
            f"{seen.step_requests} requests of this step reached version {seen.canary.version}; {missing} more needed"
        )
        yield Check("sample", "hold", text, estimate=float(seen.step_requests), trials=seen.step_requests)
    if seen.seconds < rules.min_seconds:
        left = rules.min_seconds - seen.seconds
        yield Check("duration", "hold", f"this step has {left:.0f} s to go", estimate=seen.seconds)
    for metric, why in sorted(seen.unreadable.items()):
        yield Check(metric, "hold", f"{metric} cannot be read: {why}")
