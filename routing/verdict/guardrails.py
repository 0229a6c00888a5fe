"""What ends a rollout at once."""

from __future__ import annotations

from collections.abc import Iterator

from routing.observations import ArmSeen
from routing.statistics import bernoulli, quantile
from routing.verdict.check import Check
from routing.verdict.rules import Rules


def checks(canary: ArmSeen, drift: str | None, rules: Rules) -> Iterator[Check]:
    """One per guardrail that is crossed, and the ones that are kept. ``drift``: as of Observations."""
    yield _errors(canary, rules)
    yield _not_finite(canary, rules)
    if rules.guardrails.p99_max_ms is not None:
        yield _p99(canary, rules, rules.guardrails.p99_max_ms)
    if rules.guardrails.drift and drift is not None:
        yield Check("drift", "abort", f"the drift hook says: {drift}")


def _errors(canary: ArmSeen, rules: Rules) -> Check:
    limit, errors, version = rules.guardrails.error_rate_max, canary.errors, canary.version
    lower, upper = bernoulli.confidence_sequence(errors, rules.alpha)
    estimate = errors.hits / errors.trials if errors.trials else None
    crossed = lower > limit
    said = f"version {version} failed {errors.hits} of {errors.trials} requests"
    text = f"{said}, at least {lower:.1%}; {limit:.1%} ends a rollout" if crossed else said
    name = "guardrail: errors"
    return Check(name, "abort" if crossed else "promote", text, estimate, lower, upper, errors.trials)


def _not_finite(canary: ArmSeen, rules: Rules) -> Check:
    found, limit = canary.not_finite, rules.guardrails.not_finite_max
    text = f"{found.hits} of {found.trials} recorded answers of version {canary.version} were NaN or infinite"
    decision = "abort" if found.hits > limit else "promote"
    return Check("guardrail: finite", decision, text, float(found.hits), trials=found.trials)  # type: ignore[arg-type]


def _p99(canary: ArmSeen, rules: Rules, limit: float) -> Check:
    values = canary.latencies_ms
    lower, upper = quantile.limits(values, 0.99, rules.alpha)
    crossed = lower > limit
    text = f"the p99 of version {canary.version} is at least {lower:.0f} ms; {limit:.0f} ms ends a rollout"
    kept = f"the p99 of version {canary.version} is not shown to be above {limit:.0f} ms"
    name = "guardrail: p99"
    return Check(name, "abort" if crossed else "promote", text if crossed else kept, None, lower, upper, len(values))
