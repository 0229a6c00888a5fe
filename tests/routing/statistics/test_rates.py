"""One rate, a quantile, a sample ratio: against brute force, and under continuous peeking."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from routing.observations import Latencies, Rate, Split
from routing.statistics import bernoulli, quantile, ratio

LIMIT = math.log(20)


@pytest.mark.parametrize(("hits", "trials", "rate"), [(0, 5, 0.2), (3, 10, 0.1), (10, 10, 0.9), (40, 60, 0.5)])
def test_mixtures_are_the_integrals_that_they_claim_to_be(hits, trials, rate) -> None:
    prior, weights = (2.0, 1.5), stats.beta(2.0, 1.5)

    def weighed(p: float) -> float:
        return p**hits * (1 - p) ** (trials - hits) * weights.pdf(p)

    likelihood = rate**hits * (1 - rate) ** (trials - hits)
    whole = integrate.quad(weighed, 0, 1)[0] / likelihood
    cut = integrate.quad(weighed, rate, 1)[0] / weights.sf(rate) / likelihood
    assert bernoulli.log_e_value(rate, hits, trials, prior) == pytest.approx(math.log(whole), abs=1e-6)
    assert float(bernoulli.log_e_above(rate, hits, trials, prior)) == pytest.approx(math.log(cut), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.05, 0.01, 1e-4]))
def test_the_limits_hold_the_estimate_and_narrow_with_alpha(trials, share, alpha) -> None:
    seen = Rate(trials, int(trials * share))
    lower, upper = bernoulli.confidence_sequence(seen, alpha)
    assert 0 <= lower <= seen.hits / trials <= upper <= 1
    wider = bernoulli.confidence_sequence(seen, alpha / 10)
    assert wider[0] <= lower and upper <= wider[1]


def test_without_trials_every_rate_is_possible() -> None:
    assert bernoulli.confidence_sequence(Rate(), 0.05) == (0, 1)


def ever(refuted: np.ndarray, alpha: float) -> None:
    """Fails where more experiments than chance allows at ``alpha`` (one in a million) were ever refuted."""
    count, experiments = int(refuted.any(axis=1).sum()), len(refuted)
    assert count <= stats.binom.ppf(1 - 1e-6, experiments, alpha)


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5])
def test_limits_hold_at_every_look(rate) -> None:
    rng = np.random.default_rng(5)
    trials = np.arange(1, 2001)
    hits = np.cumsum(rng.random((800, 2000)) < rate, axis=1)
    ever(bernoulli.log_e_value(rate, hits, trials) >= LIMIT, 0.05)
    ever(bernoulli.log_e_above(rate, hits[:, ::8], trials[::8]) >= LIMIT, 0.05)


def test_the_peeking_check_itself_finds_a_test_that_is_not_valid() -> None:
    rng = np.random.default_rng(5)
    trials = np.arange(1, 2001)
    hits = np.cumsum(rng.random((1500, 2000)) < 0.5, axis=1)
    z = (hits - trials / 2) / np.sqrt(trials / 4)
    with pytest.raises(AssertionError):
        ever(stats.norm.sf(z)[:, 50:] < 0.05, 0.05)


@pytest.mark.parametrize("ties", [False, True])
def test_limits_of_a_quantile_hold_at_every_look(ties) -> None:
    """Exponential latencies, and the same in whole 50 ms, where many are equal to the quantile."""
    rng = np.random.default_rng(6)
    values = rng.exponential(100, (600, 1500))
    true = -100 * math.log(0.1)
    if ties:
        values, true = np.ceil(values / 50) * 50, math.ceil(true / 50) * 50
    looks = np.arange(50, 1501, 50)
    bounds = [quantile.count_limits(int(n), 0.9, 0.05) for n in looks]
    below = np.cumsum(values < true, axis=1)[:, looks - 1]
    upto = np.cumsum(values <= true, axis=1)[:, looks - 1]
    ever(below > np.array([high for _, high in bounds]), 0.05)
    ever(upto < np.array([low for low, _ in bounds]), 0.05)


def test_limits_are_values_around_the_quantile() -> None:
    values = Latencies.of(np.arange(10_000, 0, -1))
    lower, upper = quantile.limits(values, 0.99, 0.05)
    assert 9800 < lower < 9900 < upper < 9990
    assert quantile.limits(values, 0.99, 0.005)[1] > upper


def test_counted_values_are_what_their_repetition_is() -> None:
    rng = np.random.default_rng(9)
    values, counts = rng.permutation(40).astype(float), rng.integers(0, 30, 40)
    every, counted = np.sort(np.repeat(values, counts)), Latencies.of(values, counts)
    assert [counted.ranked(rank + 1) for rank in range(len(counted))] == every.tolist()
    for q in (0.0, 0.013, 0.5, 0.99, 1.0):
        assert counted.quantile(q) == pytest.approx(float(np.quantile(every, q)))
    assert Latencies.of([5.0], [30_000_000]).quantile(0.99) == 5.0


def test_few_values_have_no_upper_limit() -> None:
    needed = quantile.fewest_values(0.99, 0.05)
    assert math.isinf(quantile.limits(Latencies.of([1], [needed - 1]), 0.99, 0.05)[1])
    assert quantile.limits(Latencies.of([1], [needed]), 0.99, 0.05)[1] == 1
    assert quantile.limits(Latencies(), 0.99, 0.05) == (0, math.inf)


def test_shares_that_are_wrong_are_found_and_right_ones_are_not() -> None:
    assert ratio.mismatch([Split(0.1, 9000, 1000)]).p_value == 1
    wrong = ratio.mismatch([Split(0.1, 9100, 900), Split(0.5, 5000, 5500)])
    assert wrong.p_value < 0.001 and wrong.chi_square < 0.001 and wrong.units == 20_500


@pytest.mark.parametrize("splits", [[], [Split(0.1, 0, 0)], [Split(1.0, 0, 50)], [Split(0.0, 50, 0)]])
def test_splits_that_say_nothing(splits) -> None:
    assert ratio.mismatch(splits).p_value == 1


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_sample_ratio_holds_at_every_look(share) -> None:
    rng = np.random.default_rng(7)
    canary = np.cumsum(rng.random((800, 2000)) < share, axis=1)
    ever(ratio.log_e_of(share, canary, np.arange(1, 2001)) >= LIMIT, 0.05)


def test_units_that_come_back_under_a_next_share_do_not_count_twice() -> None:
    """One population of units seen under twenty nearly equal shares: whoever was in the canary stays in it."""
    rng = np.random.default_rng(8)
    shares = [0.1 + step / 10_000 for step in range(20)]
    alarms = products = 0
    for _ in range(800):
        buckets = rng.random(200)
        splits = [Split(share, int((buckets >= share).sum()), int((buckets < share).sum())) for share in shares]
        alarms += ratio.mismatch(splits).p_value < 0.05
        products += sum(float(ratio.log_e_of(s.share, s.canary_units, 200)) for s in splits) >= LIMIT
    assert alarms <= stats.binom.ppf(1 - 1e-6, 800, 0.05)
    assert products > stats.binom.ppf(1 - 1e-6, 800, 0.05), "the product would do: use it, it is stronger"
