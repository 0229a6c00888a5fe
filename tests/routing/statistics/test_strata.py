"""Rates over segments of time: what changes in time is told from what the versions differ in."""

import math

import numpy as np
import pytest

from routing.observations import Rate
from routing.statistics import difference, strata
from routing.statistics.evidence import Counts
from routing.statistics.simulate import false_alarms, power, ramp
from routing.statistics.strata import Pair

LIMIT = math.log(20)
ONE = Pair(Rate(1000, 40), Rate(9000, 180))


def test_one_segment_says_what_it_says_alone() -> None:
    pairs = [Pair(Rate(), Rate(500, 9)), ONE, Pair(Rate(80, 2), Rate())]
    assert strata.log_e_higher(pairs, 0.01, LIMIT) == difference.log_e_higher(*ONE, 0.01)
    assert strata.log_e_lower(pairs, 0.05, LIMIT) == difference.log_e_lower(*ONE, 0.05)
    assert strata.confidence_sequence(pairs, 0.05) == difference.confidence_sequence(*ONE, 0.05)
    assert strata.estimate(pairs) == pytest.approx(0.02)


def test_without_both_arms_nothing_is_known() -> None:
    assert strata.log_e_higher([Pair(Rate(), Rate(500, 9))], 0.0, LIMIT) == 0
    assert strata.confidence_sequence([], 0.05) == (-1, 1)
    assert strata.estimate([]) is None


@pytest.mark.parametrize("pair", [ONE, Pair(Rate(30, 3), Rate(970, 9)), Pair(Rate(5000, 5), Rate(5000, 6))])
def test_the_dual_of_one_segment_is_near_its_limits(pair) -> None:
    profile = strata.profile(*(Counts.of([seen.hits], [seen.trials]) for seen in (pair.stable, pair.canary)))
    lower, _ = difference.confidence_sequence(*pair, 0.05)
    width = pair.canary.hits / pair.canary.trials - pair.stable.hits / pair.stable.trials - lower
    assert strata.log_e_of(profile, lower + 0.05 * width, LIMIT) < LIMIT + 0.1
    assert strata.log_e_of(profile, lower - 0.1 * width, LIMIT) >= LIMIT


def test_limits_agree_with_tests_and_lie_around_the_estimate() -> None:
    pairs = [Pair(Rate(500, 30), Rate(9500, 480)), Pair(Rate(5000, 60), Rate(5000, 30))]
    lower, upper = strata.confidence_sequence(pairs, 0.05)
    assert lower < strata.estimate(pairs) < upper
    for margin, told in ((lower - 1e-4, True), (lower + 1e-4, False)):
        assert (strata.log_e_higher(pairs, margin, LIMIT) >= LIMIT) == told
    for margin, told in ((upper + 1e-4, True), (upper - 1e-4, False)):
        assert (strata.log_e_lower(pairs, margin, LIMIT) >= LIMIT) == told


def test_the_evidence_is_at_most_that_of_any_differences_with_the_mean() -> None:
    """Brute force over two segments' differences; the dual may be below, never above."""
    pairs = [Pair(Rate(200, 8), Rate(1800, 30)), Pair(Rate(900, 27), Rate(1100, 12))]
    weights = np.array([c.trials * s.trials / (c.trials + s.trials) for c, s in pairs])
    weights /= weights.sum()
    first = np.linspace(-0.05, 0.1, 61)
    second = -first * weights[0] / weights[1]
    sums = [
        difference.log_e_higher(*pairs[0], a) + difference.log_e_higher(*pairs[1], b)
        for a, b in zip(first, second, strict=True)
    ]
    limit = min(sums)
    evidence = strata.log_e_higher(pairs, 0.0, limit)
    assert limit - 0.5 < evidence < limit + 0.05


@pytest.mark.parametrize("case", list(false_alarms.RAMPS))
def test_base_rates_that_change_on_a_walk_neither_abort_nor_promote(case) -> None:
    rng, rates = np.random.default_rng(11), false_alarms.RAMPS[case]
    same = false_alarms.ramp_abort(rng, 100, 0.05, case, rates)
    assert same.found <= 0.05 < same.peeking, "what is added up does not fail here: this case shows nothing"
    assert false_alarms.ramp_promotion(rng, 100, 0.05, case, rates).found <= 0.05


def test_a_worse_canary_under_a_falling_base_rate_is_found() -> None:
    effect, rates, worse, _ = power.WALKS[0]
    assert power.walked(np.random.default_rng(12), 20, 0.05, effect, rates, worse, None).found > 0.9
    last = list(ramp.looks(np.random.default_rng(12), 20, rates, worse))[-1]
    added = ramp.added(last)
    assert (added.canary.rate < added.stable.rate).all(), "what is added up says the contrary"
