"""Two arms' evidence: the smallest over a fine grid, an expectation of 1 at most, limits that agree with the tests."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.observations import Rate
from routing.statistics import difference
from routing.statistics.bernoulli import log_likelihood
from routing.statistics.evidence import Counts, log_e_apart, log_e_at

CASES = [
    ((10, 1000), (30, 1000), 0.0),
    ((100, 10_000), (30, 1000), 0.005),
    ((3, 5), (700, 1000), 0.0),
    ((9000, 10_000), (800, 1000), -0.05),
    ((0, 1000), (0, 1600), -0.005),
    ((50, 50), (1, 50), 0.3),
]


@pytest.mark.parametrize(("stable", "canary", "margin"), CASES)
def test_is_the_smallest_over_every_stable_rate(stable, canary, margin) -> None:
    arms = Counts.of(*stable), Counts.of(*canary)
    rates = np.concatenate([np.linspace(0, 1, 8001), np.logspace(-9, -2, 1000), 1 - np.logspace(-9, -2, 1000)])
    rates = np.clip(rates, max(1e-12, -margin + 1e-12), 1 - 1e-12)
    one = [Counts(*(part[None] for part in arm)) for arm in arms]
    parts = (log_e_at(*one, part, np.array([margin])).min() for part in np.array_split(rates, 16))
    assert float(log_e_apart(*arms, margin)) == pytest.approx(min(parts), abs=1e-3)


@pytest.mark.parametrize(
    ("rate", "other", "margin"), [(0.3, 0.3, 0.0), (0.2, 0.1, 0.0), (0.1, 0.3, 0.2), (0.5, 0.3, -0.2)]
)
def test_its_expectation_under_the_null_is_one_at_most(rate, other, margin) -> None:
    """Exactly, over every outcome of 12 stable and 9 canary requests."""
    n, m = 12, 9
    hits = np.array(list(itertools.product(range(n + 1), range(m + 1))))
    stable, canary = Counts.of(hits[:, 0], n), Counts.of(hits[:, 1], m)
    ways = [math.log(math.comb(n, a)) + math.log(math.comb(m, b)) for a, b in hits]
    chance = np.exp(log_likelihood(rate, hits[:, 0], n) + log_likelihood(other, hits[:, 1], m) + ways)
    assert chance.sum() == pytest.approx(1)
    expected = float(chance @ np.exp(log_e_apart(stable, canary, margin)))
    assert 0.05 < expected <= 1 + 1e-6


def test_grows_with_the_canary_failures_and_falls_with_the_margin() -> None:
    stable = Counts.of(20, 2000)
    by_hits = log_e_apart(stable, Counts.of(np.arange(10, 80), 1000))
    assert (np.diff(by_hits) >= 0).all() and by_hits[-1] > by_hits[0] + 10
    by_margin = log_e_apart(stable, Counts.of(60, 1000), np.linspace(-0.2, 0.045, 60))
    assert (np.diff(by_margin) < 1e-6).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000), st.floats(0, 1), st.floats(0, 1), st.floats(-0.9, 0.9))
def test_is_a_number_for_any_counts(n, m, share, other, margin) -> None:
    value = log_e_apart(Counts.of(int(n * share), n), Counts.of(int(m * other), m), margin)
    assert not np.isnan(value)


@pytest.mark.parametrize(
    ("canary", "stable"),
    [
        (Rate(1000, 30), Rate(10_000, 100)),
        (Rate(10**6, 3), Rate(10**6, 5)),
        (Rate(20_000, 1), Rate(180_000, 9)),
        (Rate(40, 40), Rate(3000, 2990)),
    ],
)
def test_the_limits_of_the_difference_are_where_the_tests_turn(canary: Rate, stable: Rate) -> None:
    lower, upper = difference.confidence_sequence(canary, stable, 0.05)
    assert lower < canary.hits / canary.trials - stable.hits / stable.trials < upper
    limit = math.log(20)
    assert difference.log_e_higher(canary, stable, lower) == pytest.approx(limit, abs=0.02)
    assert difference.log_e_lower(canary, stable, upper) == pytest.approx(limit, abs=0.02)


def test_nothing_is_said_without_trials() -> None:
    assert difference.log_e_higher(Rate(), Rate(10, 1)) == 0
    assert difference.log_e_lower(Rate(10, 1), Rate(), 0.5) == 0
    assert difference.confidence_sequence(Rate(), Rate(), 0.05) == (-1, 1)


def test_both_directions_mirror_each_other() -> None:
    canary, stable = Rate(300, 280), Rate(2000, 1950)
    mirrored = difference.log_e_higher(Rate(300, 20), Rate(2000, 50), 0.01)
    assert difference.log_e_lower(canary, stable, -0.01) == pytest.approx(mirrored, abs=1e-6)
