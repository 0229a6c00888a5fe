"""What ends a rollout at once."""

from __future__ import annotations

from collections.abc import Iterator

from routing.observations import Observations
from routing.statistics import bernoulli, quantile
from routing.verdict.check import Check
from routing.verdict.rules import Rules


def checks(seen: Observations, rules: Rules) -> Iterator[Check]:
    """One per guardrail that is crossed, and the ones that are kept."""
    yield _errors(seen, rules)
    yield _not_finite(seen, rules)
    if rules.guardrails.p99_max_ms is not None:
        yield _p99(seen, rules, rules.guardrails.p99_max_ms)
    if rules.guardrails.drift and seen.drift is not None:
        yield Check("drift", "abort", f"the drift hook says: {seen.drift}")


def _errors(seen: Observations, rules: Rules) -> Check:
    limit, errors, version = rules.guardrails.error_rate_max, seen.canary.errors, seen.canary.version
    lower, upper = bernoulli.confidence_sequence(errors, rules.alpha)
    estimate = errors.hits / errors.trials if errors.trials else None
    crossed = lower > limit
    said = f"version {version} failed {errors.hits} of {errors.trials} requests"
    text = f"{said}, at least {lower:.1%}; {limit:.1%} ends a rollout" if crossed else said
    name = "guardrail: errors"
    return Check(name, "abort" if crossed else "promote", text, estimate, lower, upper, errors.trials)


def _not_finite(seen: Observations, rules: Rules) -> Check:
    found, limit = seen.canary.not_finite, rules.guardrails.not_finite_max
    text = f"{found.hits} of {found.trials} recorded answers of version {seen.canary.version} were NaN or infinite"
    decision = "abort" if found.hits > limit else "promote"
    return Check("guardrail: finite", decision, text, float(found.hits), trials=found.trials)  # type: ignore[arg-type]


def _p99(seen: Observations, rules: Rules, limit: float) -> Check:
    values = seen.canary.latencies_ms
    lower, upper = quantile.limits(values, 0.99, rules.alpha)
    crossed = lower > limit
    text = f"the p99 of version {seen.canary.version} is at least {lower:.0f} ms; {limit:.0f} ms ends a rollout"
    kept = f"the p99 of version {seen.canary.version} is not shown to be above {limit:.0f} ms"
    name = "guardrail: p99"
    return Check(name, "abort" if crossed else "promote", text if crossed else kept, None, lower, upper, len(values))
