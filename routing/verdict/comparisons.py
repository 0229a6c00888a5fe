"""The canary against the stable version: harm that is shown aborts, what is shown no worse promotes, the rest holds."""

from __future__ import annotations

import math
from collections.abc import Iterator

from routing.observations import Latencies, Observations, Rate
from routing.statistics import bernoulli, difference, quantile, ratio
from routing.verdict import shortfall
from routing.verdict.check import Check
from routing.verdict.rules import Latency, Outcome, Rules


def checks(seen: Observations, rules: Rules) -> Iterator[Check]:
    """One per metric that the rules name or that data came for."""
    share = rules.alpha / _tests(rules)
    yield _ratio(seen, rules)
    yield _rates(
        "errors", seen, seen.canary.errors, seen.stable.errors, rules.error_margin, share, rules, lower_is_good=True
    )
    if rules.accuracy_required or seen.canary.correct.trials:
        margin, required = rules.accuracy_margin, rules.accuracy_required
        correct = (seen.canary.correct, seen.stable.correct)
        yield _rates("accuracy", seen, *correct, margin, share, rules, lower_is_good=False, required=required)
    for name, rule in sorted(rules.outcomes.items()):
        yield _outcome(name, rule, seen, share, rules)
    if rules.latency is not None:
        yield _latency(seen, rules.latency, share, rules)
    if rules.agreement_min is not None:
        yield _agreement(seen, rules.agreement_min, share, rules)


def _tests(rules: Rules) -> int:
    """How many comparisons may abort: errors and accuracy always, the others where the rules name them."""
    return 2 + len(rules.outcomes) + (rules.latency is not None) + (rules.agreement_min is not None)


def _outcome(name: str, rule: Outcome, seen: Observations, share: float, rules: Rules) -> Check:
    canary, stable = seen.canary.outcomes.get(name, Rate()), seen.stable.outcomes.get(name, Rate())
    good = rule.better == "lower"
    return _rates(name, seen, canary, stable, rule.margin, share, rules, lower_is_good=good, required=rule.required)


def _rates(
    metric: str,
    seen: Observations,
    canary: Rate,
    stable: Rate,
    margin: float,
    share: float,
    rules: Rules,
    lower_is_good: bool,
    required: bool = True,
) -> Check:
    """``share``: the alpha of the harm test; the promise of no harm is tested at the whole alpha."""
    worse, fine = difference.log_e_higher, difference.log_e_lower
    if not lower_is_good:
        worse, fine, margin = fine, worse, -margin
    harm = worse(canary, stable) >= math.log(1 / share)
    shown = fine(canary, stable, margin) >= math.log(1 / rules.alpha)
    lower, upper = difference.confidence_sequence(canary, stable, rules.alpha)
    told = f"{metric}: {_share(canary)} of version {seen.canary.version}, "
    told += f"{_share(stable)} of version {seen.stable.version}"
    between = f"difference {lower:+.1%} to {upper:+.1%}"
    numbers = (_estimate(canary, stable), lower, upper, canary.trials, True)
    if harm:
        return Check(metric, "abort", f"{told}: worse ({between})", *numbers)
    if shown or not required:
        return Check(
            metric,
            "promote",
            f"{told}: no worse by more than {abs(margin):.1%} ({between})" if shown else told,
            *numbers,
        )
    return Check(
        metric, "hold", f"{told}: {_missing(canary, stable, margin, rules, lower_is_good)} ({between})", *numbers
    )


def _missing(canary: Rate, stable: Rate, margin: float, rules: Rules, lower_is_good: bool) -> str:
    """What a comparison still needs; without one arm's figures there is nothing to go by."""
    if canary.trials == 0 or stable.trials == 0:
        return "nothing to compare yet"
    if not lower_is_good:
        canary, stable = (Rate(seen.trials, seen.trials - seen.hits) for seen in (canary, stable))
    more = shortfall.of_difference(canary, stable, abs(margin), math.log(1 / rules.alpha))
    return f"not yet shown within {abs(margin):.1%}, {shortfall.told(more)}"


def _share(seen: Rate) -> str:
    return f"{seen.hits}/{seen.trials}" + (f" ({seen.hits / seen.trials:.2%})" if seen.trials else "")


def _estimate(canary: Rate, stable: Rate) -> float | None:
    if not canary.trials or not stable.trials:
        return None
    return canary.hits / canary.trials - stable.hits / stable.trials


def _ratio(seen: Observations, rules: Rules) -> Check:
    found = ratio.mismatch(seen.splits)
    if found.p_value < rules.ratio_alpha:
        text = (
            f"the arms do not have the units that their shares say (p = {found.p_value:.2g} over {found.units} units): "
            "something loses or moves requests of one arm, so nothing that is compared can be trusted"
        )
        return Check("sample ratio", "hold", text, found.p_value, trials=found.units)
    return Check("sample ratio", "promote", f"{found.units} units, as declared", found.p_value, trials=found.units)


def _latency(seen: Observations, rule: Latency, share: float, rules: Rules) -> Check:
    """Both arms' limits at half of alpha each; a limit that is not known yet decides nothing."""
    canary, stable, name = seen.canary.latencies_ms, seen.stable.latencies_ms, f"p{rule.quantile * 100:g}"
    factor = 1 + rule.margin
    harm_low, _ = quantile.limits(canary, rule.quantile, share / 2)
    _, harm_high = quantile.limits(stable, rule.quantile, share / 2)
    lower, upper = quantile.limits(canary, rule.quantile, rules.alpha / 2)
    stable_lower, _ = quantile.limits(stable, rule.quantile, rules.alpha / 2)
    told = f"{name}: {_value(canary, rule.quantile)} of version {seen.canary.version}, "
    told += f"{_value(stable, rule.quantile)} of version {seen.stable.version}"
    numbers = (canary.quantile(rule.quantile), lower, upper, len(canary), True)
    if harm_low > harm_high * factor:
        return Check(name, "abort", f"{told}: more than {rule.margin:.0%} longer", *numbers)
    if upper <= stable_lower * factor:
        return Check(name, "promote", f"{told}: not more than {rule.margin:.0%} longer", *numbers)
    least = quantile.fewest_values(rule.quantile, rules.alpha / 2)
    missing = f", {shortfall.told(least - len(canary))} at least" if len(canary) < least else ""
    return Check(name, "hold", f"{told}: not yet shown within {rule.margin:.0%}{missing}", *numbers)


def _value(values: Latencies, q: float) -> str:
    found = values.quantile(q)
    return "unknown" if found is None else f"{found:.0f} ms"


def _agreement(seen: Observations, wanted: float, share: float, rules: Rules) -> Check:
    pairs = seen.agreement
    lower, upper = bernoulli.confidence_sequence(pairs, rules.alpha)
    _, harm_upper = bernoulli.confidence_sequence(pairs, share)
    told = f"agreement: {_share(pairs)} of paired answers, {wanted:.1%} asked for"
    numbers = (pairs.hits / pairs.trials if pairs.trials else None, lower, upper, pairs.trials)
    if harm_upper < wanted:
        return Check("agreement", "abort", f"{told}: at most {harm_upper:.1%}", *numbers)
    if lower >= wanted:
        return Check("agreement", "promote", f"{told}: at least {lower:.1%}", *numbers)
    more = shortfall.of_rate(pairs, wanted, math.log(1 / rules.alpha))
    missing = f"not yet shown, {shortfall.told(more)}" if pairs.trials else "no pairs yet"
    return Check("agreement", "hold", f"{told}: {missing} ({lower:.1%} to {upper:.1%})", *numbers)
