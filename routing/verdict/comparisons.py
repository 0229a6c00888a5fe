"""The canary against the stable version: harm that is shown aborts, what is shown no worse promotes, the rest holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from routing.observations import ArmSeen, Latencies, Observations, Part, Rate
from routing.statistics import bernoulli, difference, quantile, ratio, strata
from routing.statistics.strata import Pair
from routing.verdict import shortfall
from routing.verdict.check import Check
from routing.verdict.rules import Latency, Outcome, Rules

#: A walk came to 100 % by what it had shown; a few late rows may leave just too little, and it would wait for ever.
_OVER = "within its margin as it was compared, and nothing more comes to compare"


def checks(seen: Observations, rules: Rules) -> Iterator[Check]:
    """One per metric that the rules name or that data came for."""
    share = rules.alpha / _tests(rules)
    yield _ratio(seen, rules)
    yield _rates("errors", seen, lambda arm: arm.errors, rules.error_margin, share, rules, lower_is_good=True)
    if rules.accuracy_required or seen.canary.correct.trials:
        margin, required = rules.accuracy_margin, rules.accuracy_required
        yield _rates(
            "accuracy", seen, lambda arm: arm.correct, margin, share, rules, lower_is_good=False, required=required
        )
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
    of, good = (lambda arm: arm.outcomes.get(name, Rate())), rule.better == "lower"
    return _rates(name, seen, of, rule.margin, share, rules, lower_is_good=good, required=rule.required)


def _rates(
    metric: str,
    seen: Observations,
    of: Callable[[ArmSeen], Rate],
    margin: float,
    share: float,
    rules: Rules,
    lower_is_good: bool,
    required: bool = True,
) -> Check:
    """``share``: the alpha of the harm test; the promise of no harm is tested at the whole alpha."""
    worse, fine = strata.log_e_higher, strata.log_e_lower
    if not lower_is_good:
        worse, fine, margin = fine, worse, -margin
    canary, stable = of(seen.canary), of(seen.stable)
    pairs = [Pair(of(part.canary), of(part.stable)) for part in seen.compared]
    limit, harm_limit = math.log(1 / rules.alpha), math.log(1 / share)
    harm = worse(pairs, 0.0, harm_limit) >= harm_limit
    evidence = fine(pairs, margin, limit)
    shown = evidence >= limit
    lower, upper = strata.confidence_sequence(pairs, rules.alpha)
    told = f"{metric}: {_share(canary)} of version {seen.canary.version}, "
    told += f"{_share(stable)} of version {seen.stable.version}"
    between = f"difference {lower:+.1%} to {upper:+.1%}"
    numbers = (strata.estimate(pairs), lower, upper, canary.trials, True)
    if harm:
        return Check(metric, "abort", f"{told}: worse ({between})", *numbers)
    if shown or not required:
        text = f"{told}: no worse by more than {abs(margin):.1%} ({between})" if shown else told
        return Check(metric, "promote", text, *numbers)
    if seen.over and numbers[0] is not None and (numbers[0] <= margin if lower_is_good else numbers[0] >= margin):
        return Check(metric, "promote", f"{told}: {_OVER} ({between})", *numbers)
    missing = _missing(pairs, margin, limit - evidence, lower_is_good)
    return Check(metric, "hold", f"{told}: {missing} ({between})", *numbers)


def _missing(pairs: Sequence[Pair], margin: float, lacking: float, lower_is_good: bool) -> str:
    """What a comparison still needs, ``lacking`` so much evidence; without one arm's figures nothing says how much."""
    told = strata.told_pairs(pairs)
    if not told:
        return "nothing to compare yet"
    newest = told[-1] if lower_is_good else strata.misses(told[-1])
    # what lies behind stays as it is, so the newest part has to bring what is lacking beside what it has
    limit = lacking + difference.log_e_lower(newest.canary, newest.stable, abs(margin))
    more = shortfall.of_difference(newest.canary, newest.stable, abs(margin), limit)
    return f"not yet shown within {abs(margin):.1%}, {shortfall.told(more)}"


def _share(seen: Rate) -> str:
    return f"{seen.hits}/{seen.trials}" + (f" ({seen.hits / seen.trials:.2%})" if seen.trials else "")


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
    """Each part by itself: latencies of different times cannot be compared. Harm may be found in any part, so part k is
    tested at 1 / (k (k + 1)) of ``share``. To be good is asked of the newest, at the whole alpha: a walk has asked it
    of each before, so a slow version has to pass the first one too."""
    name = f"p{rule.quantile * 100:g}"
    parts = [part for part in seen.compared if len(part.stable.latencies_ms) and len(part.canary.latencies_ms)]
    for number, part in enumerate(parts, start=1):
        if _slower(part, rule, share if seen.parts is None else share / (number * (number + 1))):
            text = f"{_quantiles(name, part, rule)}: more than {rule.margin:.0%} longer"
            return Check(name, "abort", text, *_limits(part, rule, rules))
    part = parts[-1] if parts else Part(seen.stable, seen.canary)
    estimate, lower, upper, trials, compared = _limits(part, rule, rules)
    told, numbers = _quantiles(name, part, rule), (estimate, lower, upper, trials, compared)
    stable_lower, _ = quantile.limits(part.stable.latencies_ms, rule.quantile, rules.alpha / 2)
    if upper <= stable_lower * (1 + rule.margin):
        return Check(name, "promote", f"{told}: not more than {rule.margin:.0%} longer", *numbers)
    slow, fast = (arm.latencies_ms.quantile(rule.quantile) for arm in (part.canary, part.stable))
    if seen.over and slow is not None and fast is not None and slow <= fast * (1 + rule.margin):
        return Check(name, "promote", f"{told}: {_OVER}", *numbers)
    least = quantile.fewest_values(rule.quantile, rules.alpha / 2)
    missing = f", {shortfall.told(least - trials)} at least" if trials < least else ""
    return Check(name, "hold", f"{told}: not yet shown within {rule.margin:.0%}{missing}", *numbers)


def _slower(part: Part, rule: Latency, alpha: float) -> bool:
    """Both arms' limits at half of ``alpha`` each; a limit that is not known yet decides nothing."""
    lower, _ = quantile.limits(part.canary.latencies_ms, rule.quantile, alpha / 2)
    _, upper = quantile.limits(part.stable.latencies_ms, rule.quantile, alpha / 2)
    return lower > upper * (1 + rule.margin)


def _limits(part: Part, rule: Latency, rules: Rules) -> tuple[float | None, float, float, int, bool]:
    """The canary's quantile as a Check has it: at half of alpha, which is what its promotion is held against."""
    seen = part.canary.latencies_ms
    return seen.quantile(rule.quantile), *quantile.limits(seen, rule.quantile, rules.alpha / 2), len(seen), True


def _quantiles(name: str, part: Part, rule: Latency) -> str:
    canary, stable = (_value(arm.latencies_ms, rule.quantile) for arm in (part.canary, part.stable))
    return f"{name}: {canary} of version {part.canary.version}, {stable} of version {part.stable.version}"


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
