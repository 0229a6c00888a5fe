"""What is decided of what was seen: a table of cases in plain words."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from routing.observations import ArmSeen, Latencies, Observations, Part, Rate, Split
from routing.verdict.judge import Verdict, judge
from routing.verdict.rules import Guardrails, Outcome, Rules


def latencies(n: int, scale: float = 1.0) -> Latencies:
    return Latencies.of(scale * np.random.default_rng(n).lognormal(3, 0.3, n))


def arm(version: int, n: int, errors: float = 0.0, slower: float = 1.0, **more) -> ArmSeen:
    return ArmSeen(version, Rate(n, round(n * errors)), Rate(n, 0), latencies(n, slower), **more)


GOOD = Observations(
    stable=arm(1, 45_000, 0.002),
    canary=arm(2, 5_000, 0.002),
    splits=(Split(0.1, 9_000, 1_000),),
    seconds=600,
    step_requests=5_000,
)


def canary(**more) -> Observations:
    return replace(GOOD, canary=arm(2, 5_000, **{"errors": 0.002, **more}))


def test_a_good_canary_is_promoted_by_the_default_rules() -> None:
    verdict = judge(GOOD, Rules())
    assert verdict.decision == "promote", verdict.reasons
    assert "no worse" in verdict.reasons[0]


def walked(rates: tuple[float, ...], worse: float = 0.0, last_slower: float = 1.0) -> Observations:
    """10,000 requests in each step of 1, 5, 25 and 50 %; all latencies of the last are longer by a factor."""
    parts = []
    for share, rate in zip((0.01, 0.05, 0.25, 0.5), rates, strict=True):
        slower, n = last_slower if share == 0.5 else 1.0, round(10_000 * share)
        parts.append(Part(arm(1, 10_000 - n, rate, slower), arm(2, n, rate + worse, slower)))
    stable, tried = ([getattr(part, name).errors for part in parts] for name in ("stable", "canary"))
    added = [Rate(sum(rate.trials for rate in of), sum(rate.hits for rate in of)) for of in (stable, tried)]
    return replace(
        GOOD,
        stable=ArmSeen(1, added[0]),
        canary=ArmSeen(2, added[1]),
        parts=tuple(parts),
        splits=(),
        step_requests=5000,
    )


@pytest.mark.parametrize("name", ["errors", "p99"])
def test_what_changes_in_time_on_a_walk_is_no_difference_of_the_versions(name) -> None:
    rates = (0.005, 0.005, 0.005, 0.03) if name == "errors" else (0.005,) * 4
    seen = walked(rates, last_slower=2.5 if name == "p99" else 1.0)
    verdict = judge(seen, Rules())
    assert verdict.decision != "abort", verdict.reasons
    if name == "errors":
        assert judge(replace(seen, parts=None), Rules(latency=None)).decision == "abort", "this case shows nothing"


def test_a_worse_canary_does_not_hide_behind_a_falling_base_rate() -> None:
    seen = walked((0.05, 0.05, 0.005, 0.005), worse=0.015)
    assert judge(seen, Rules()).decision == "abort"
    assert judge(replace(seen, parts=None), Rules(latency=None)).decision == "promote", "this case shows nothing"


def test_latencies_of_the_newest_part_promote_and_those_of_any_abort() -> None:
    fast, slow = (Part(arm(1, 5_000), arm(2, 5_000, slower=slower)) for slower in (1.0, 2.5))
    few = Part(arm(1, 300), arm(2, 300))
    assert judge(replace(GOOD, parts=(slow, fast)), Rules()).decision == "abort"
    assert judge(replace(GOOD, parts=(fast, few)), Rules()).decision == "hold"
    assert judge(replace(GOOD, parts=(few, fast)), Rules()).decision == "promote"


def test_at_all_of_the_traffic_what_just_lacks_does_not_hold_for_ever() -> None:
    few = Part(arm(1, 300), arm(2, 300))
    seen = replace(GOOD, parts=(few,))
    assert judge(seen, Rules()).decision == "hold"
    assert judge(replace(seen, over=True), Rules()).decision == "promote"
    for worse in (Part(few.stable, arm(2, 300, 0.02)), Part(few.stable, arm(2, 300, slower=1.8))):
        assert judge(replace(seen, parts=(worse,), over=True), Rules()).decision == "hold"
    assert judge(replace(seen, parts=(), over=True), Rules(latency=None)).decision == "hold"


CLICKS = {"outcomes": {"clicked": Rate(5_000, 500)}}
CASES = {
    "fails 2 % instead of 0.2 %": (canary(errors=0.02), Rules(), "abort", "errors"),
    "fails more than any version may": (
        replace(canary(errors=0.2), stable=arm(1, 45_000, 0.2)),
        Rules(),
        "abort",
        "ends a rollout",
    ),
    "twice as slow": (canary(slower=2.0), Rules(), "abort", "p99"),
    "slower than any version may be": (
        canary(),
        Rules(guardrails=Guardrails(p99_max_ms=20)),
        "abort",
        "ends a rollout",
    ),
    "one answer that is not a number": (
        replace(GOOD, canary=replace(GOOD.canary, not_finite=Rate(5_000, 1))),
        Rules(),
        "abort",
        "NaN",
    ),
    "drift": (replace(GOOD, drift="scores fell"), Rules(), "abort", "scores fell"),
    "drift that nobody asked about": (
        replace(GOOD, drift="scores fell"),
        Rules(guardrails=Guardrails(drift=False)),
        "promote",
        "no worse",
    ),
    "3 points less accurate": (
        replace(canary(correct=Rate(5_000, 4_700)), stable=arm(1, 45_000, 0.002, correct=Rate(45_000, 43_650))),
        Rules(),
        "abort",
        "accuracy",
    ),
    "labels are required and none came": (GOOD, Rules(accuracy_required=True), "hold", "accuracy"),
    "labels are not required and none came": (GOOD, Rules(), "promote", "no worse"),
    "fewer clicks": (
        replace(canary(**CLICKS), stable=arm(1, 45_000, 0.002, outcomes={"clicked": Rate(45_000, 6_750)})),
        Rules(outcomes={"clicked": Outcome()}),
        "abort",
        "clicked",
    ),
    "fewer complaints": (
        replace(canary(**CLICKS), stable=arm(1, 45_000, 0.002, outcomes={"clicked": Rate(45_000, 6_750)})),
        Rules(outcomes={"clicked": Outcome(better="lower")}),
        "promote",
        "no worse",
    ),
    "an outcome that never came": (GOOD, Rules(outcomes={"clicked": Outcome()}), "hold", "nothing to compare"),
    "answers agree": (replace(GOOD, agreement=Rate(2_000, 1_990)), Rules(agreement_min=0.98), "promote", "no worse"),
    "answers do not agree": (replace(GOOD, agreement=Rate(2_000, 1_800)), Rules(agreement_min=0.98), "abort", "agree"),
    "no pairs": (GOOD, Rules(agreement_min=0.98), "hold", "no pairs yet"),
    "few pairs": (replace(GOOD, agreement=Rate(50, 50)), Rules(agreement_min=0.98), "hold", "requests more"),
    "units of one arm are lost": (
        replace(GOOD, splits=(Split(0.1, 9_000, 700),)),
        Rules(),
        "hold",
        "do not have the units",
    ),
    "the step is young": (replace(GOOD, seconds=10), Rules(), "hold", "50 s to go"),
    "few requests in the step": (replace(GOOD, step_requests=150), Rules(), "hold", "50 more needed"),
    "a metric cannot be read": (replace(GOOD, unreadable={"errors": "no log"}), Rules(), "hold", "cannot be read"),
    "no traffic": (Observations(ArmSeen(1), ArmSeen(2)), Rules(min_seconds=0), "hold", "200 more needed"),
    "no traffic of the stable version": (replace(GOOD, stable=ArmSeen(1)), Rules(), "hold", "nothing to compare"),
    "little traffic": (
        replace(GOOD, stable=arm(1, 2_700), canary=arm(2, 300)),
        Rules(),
        "hold",
        "requests more",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_case(name) -> None:
    seen, rules, decision, said = CASES[name]
    verdict = judge(seen, rules)
    assert verdict.decision == decision, verdict.reasons
    assert said in " ".join(verdict.reasons)


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_survives_json(name) -> None:
    seen, rules, *_ = CASES[name]
    values = json.loads(json.dumps(judge(seen, rules).to_dict(), allow_nan=False))
    assert Verdict.from_dict(values).to_dict() == values


def test_harm_that_is_shown_ends_a_rollout_though_the_step_is_young_and_a_metric_is_unreadable() -> None:
    seen = replace(canary(errors=0.03), seconds=1, step_requests=10, unreadable={"p99": "no log"})
    assert judge(seen, Rules()).decision == "abort"


def test_more_traffic_never_needs_more_requests() -> None:
    """The estimate falls as requests come, and with that many more the comparison is shown."""

    def errors_of(n: int) -> str:
        seen = replace(GOOD, stable=arm(1, 9 * n, 0), canary=arm(2, n, 0))
        (check,) = (check for check in judge(seen, Rules(latency=None)).checks if check.metric == "errors")
        return check.decision + check.text

    text = errors_of(100)
    more = int(text.split("about ")[1].split()[0])
    assert text.startswith("hold") and errors_of(100 + more).startswith("promote")
    assert errors_of((100 + more) // 2).startswith("hold")


@pytest.mark.parametrize("rules", [{"alpha": 0.6}, {"alfa": 0.05}, {"latency": {"quantile": 1}}, {"min_requests": 0}])
def test_rules_that_make_no_sense_are_refused(rules) -> None:
    with pytest.raises(ValidationError):
        Rules.model_validate(rules)


def test_every_rule_is_described() -> None:
    for section in (Rules, Guardrails, Outcome):
        for name, rule in section.model_fields.items():
            assert rule.description or name == "guardrails", name
