"""Bounds against published numbers and by simulation: no more than 1 - confidence of bad exports ever pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, norm
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from export.metrics.base import mean_score
from export.statistics import proportions
from export.statistics.bootstrap import compare_metric
from export.statistics.proportions import compare_answers, images_needed, mcnemar, p_value, score, upper_bound
from export.statistics.verdict import decide

ALPHA = 0.05


def test_the_statistic_is_that_of_tangos_worked_example() -> None:
    """Section 6.1, soft contact lenses: b = 0, c = 1, n = 44, a margin of 0.1 gives 1.709 and p = 0.044."""
    statistic = float(score(1, 0, 44, 0.1))
    assert round(statistic, 3) == 1.709
    assert round(float(norm.sf(statistic)), 3) == 0.044
    # the same page: the lower 90 % limit of new less standard is -0.096
    assert float(score(1, 0, 44, 0.096)) == pytest.approx(norm.ppf(0.95), abs=0.01)


@pytest.mark.parametrize(
    ("lost", "gained", "n", "limit"), [(28, 25, 618, 0.0247), (25, 28, 618, 0.0148), (48, 41, 549, 0.0414)]
)
def test_the_statistic_is_that_of_the_r_package_propcis(lost: int, gained: int, n: int, limit: float) -> None:
    """``scoreci.mp`` at 90 %: its upper limit of the loss is where the statistic reaches the normal quantile."""
    assert float(score(lost, gained, n, limit)) == pytest.approx(norm.ppf(0.95), abs=0.006)


def test_without_a_margin_the_statistic_is_mcnemars() -> None:
    assert float(score(9, 4, 100, 1e-12)) == pytest.approx((4 - 9) / math.sqrt(13), rel=1e-6)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (3, 3), (9, 2), (40, 60)])
def test_mcnemar_is_that_of_statsmodels(lost: int, gained: int) -> None:
    expected = statsmodels_mcnemar([[100, lost], [gained, 5]], exact=True).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("margin", "n"), [(0.005, 598), (0.01, 299), (0.02, 149)])
def test_where_nothing_differs_the_bound_is_the_exact_one(margin: float, n: int) -> None:
    """(1 - margin) ** n <= 0.05, the rule of three."""
    assert p_value(0, 0, n, margin) == pytest.approx((1 - margin) ** n)
    assert p_value(0, 0, n, margin) <= ALPHA < p_value(0, 0, n - 1, margin)
    assert upper_bound(0, 0, n, 0.95) <= margin + 1e-6
    assert images_needed(0, 0, 50, margin, 0.95) == n


@pytest.mark.parametrize("lost", range(1, 6))
def test_where_images_are_only_lost_the_bound_is_that_of_clopper_and_pearson(lost: int) -> None:
    assert upper_bound(lost, 0, 901, 0.95) == pytest.approx(beta.ppf(0.95, lost + 1, 901 - lost), abs=2e-4)


def test_the_exact_tail_is_the_sum_over_all_tables() -> None:
    """Against the definition, term by term, on a sample small enough to enumerate."""
    n, margin, lost, gained = 25, 0.15, 3, 2
    least = float(score(lost, gained, n, margin)) - 1e-9
    counts = [(a, b) for a in range(n + 1) for b in range(n + 1 - a) if score(a, b, n, margin) >= least]
    worst = 0.0
    for share in np.linspace(1e-9, (1 - margin) / 2, 400):
        chances = (share + margin, share, max(1 - 2 * share - margin, 1e-300))
        terms = [
            math.lgamma(n + 1)
            - sum(math.lgamma(k + 1) for k in (a, b, n - a - b))
            + sum(k * math.log(p) for k, p in zip((a, b, n - a - b), chances, strict=True))
            for a, b in counts
        ]
        worst = max(worst, float(np.exp(terms).sum()))
    assert p_value(lost, gained, n, margin) == pytest.approx(worst, rel=2e-3)


@pytest.mark.parametrize("n", [100, 540, 2000])
def test_no_more_bad_exports_pass_than_declared(n: int) -> None:
    """Simulated over a grid of margins and shares of gained images: exports that really lose the margin."""
    random = np.random.default_rng(n)
    for margin in (0.005, 0.01, 0.03):
        most_lost = _largest_passing(n, margin)
        for gained in (0.0, 1e-3, 5e-3, 0.02, 0.1, 0.3):
            assert _passing(random, most_lost, n, margin, gained) <= ALPHA + 4 * math.sqrt(ALPHA / 40_000)


def test_the_normal_approximation_would_pass_too_many() -> None:
    """Why the tail is computed exactly: with 540 images 6.7 % of the exports that lose half a point would pass."""
    approximate = proportions._region(float(norm.ppf(0.95)), 540, 0.005)
    assert _passing(np.random.default_rng(0), approximate, 540, 0.005, 0.0) == pytest.approx(0.067, abs=0.004)


def _passing(random: np.random.Generator, most_lost: np.ndarray, n: int, margin: float, gained: float) -> float:
    shares = [gained + margin, gained, 1 - 2 * gained - margin]
    tables = random.multinomial(n, shares, size=40_000)
    return float(np.mean(tables[:, 0] <= most_lost[tables[:, 1]]))


def _largest_passing(n: int, margin: float) -> np.ndarray:
    """int64[n + 1]: for each number of gained images, the most lost ones that still pass (-1 for none).

    Tables are ordered by their score, so the last that passes fixes the whole region."""
    low, high = norm.ppf(0.5), norm.ppf(0.95) + 3
    for _ in range(30):
        middle = (low + high) / 2
        region = proportions._region(middle, n, margin)
        shares = np.concatenate([[0.0], np.geomspace(1e-3 / n, (1 - margin) / 2, 60)])
        worst = max(proportions._tail(region, share, n, margin) for share in shares)
        low, high = (low, middle) if worst <= ALPHA else (middle, high)
    return proportions._region(high, n, margin)


def test_simulated_exports_that_lose_the_margin_are_refused() -> None:
    """The whole way, from answers to verdict: 1500 exports that lose 3 points and gain 1; and equal ones, that pass."""
    random = np.random.default_rng(1)
    verdicts = {}
    cache: dict[tuple[int, int], float] = {}
    for kind, (lost, gained) in {"bad": (0.03, 0.01), "equal": (0.004, 0.004)}.items():
        counts = random.multinomial(700, [lost, gained, 1 - lost - gained], size=1500)[:, :2]
        for table in {tuple(map(int, row)) for row in counts} - cache.keys():
            cache[table] = p_value(*table, 700, 0.02)
        verdicts[kind] = np.mean([cache[tuple(map(int, row))] <= ALPHA for row in counts])
    assert verdicts["bad"] <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 1500)
    assert verdicts["equal"] > 0.95


def test_the_bound_and_the_test_agree() -> None:
    for lost, gained in ((0, 0), (1, 0), (1, 1), (2, 1), (5, 2), (10, 12)):
        for margin in (0.004, 0.006, 0.01, 0.02):
            bound = upper_bound(lost, gained, 901, 0.95)
            assert (p_value(lost, gained, 901, margin) <= ALPHA) == (bound <= margin + 1e-6)


def test_three_verdicts_and_the_images_needed() -> None:
    trained = np.ones(901, bool)
    equal = compare_answers(trained, trained, 0.005, 0.95)
    assert (equal.verdict, equal.needed, equal.details["lost"]) == ("non-inferior", None, 0)
    few = compare_answers(trained[:100], trained[:100], 0.005, 0.95)
    assert (few.verdict, few.needed) == ("undecided", 598)
    one_lost = trained.copy()
    one_lost[0] = False
    undecided = compare_answers(trained, one_lost, 0.005, 0.95)
    assert undecided.verdict == "undecided"
    assert undecided.needed
    assert 947 <= undecided.needed < 1000
    many_lost = trained.copy()
    many_lost[:30] = False
    worse = compare_answers(trained, many_lost, 0.005, 0.95)
    assert (worse.verdict, worse.needed) == ("worse", None)
    assert worse.details["p_mcnemar"] < 1e-6
    assert worse.to_dict()["lost"] == 30


def test_a_gain_is_no_loss() -> None:
    trained = np.arange(2000) >= 200
    better = compare_answers(trained, np.ones(2000, bool), 0.005, 0.95)
    assert better.verdict == "non-inferior"
    assert better.drop == pytest.approx(-0.1)
    assert better.upper < 1e-3


def test_arrays_of_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        compare_answers(np.ones(3, bool), np.ones(4, bool), 0.005, 0.95)


def test_rounding_does_not_decide() -> None:
    assert decide(0.1, 0.3 - 0.2, 0.1) == "non-inferior"
    assert decide(0.3 - 0.2, 0.2, 0.1) == "undecided"


@pytest.mark.parametrize(("n", "lost"), [(598, 0), (901, 0), (901, 1), (901, 4)])
def test_the_bootstrap_of_lost_images_is_clopper_and_pearson(n: int, lost: int) -> None:
    trained = np.ones(n)
    exported = (np.arange(n) >= lost).astype(float)
    found = compare_metric(mean_score(trained), mean_score(exported), 0.5, 0.95, draws=10_000)
    assert found.upper == pytest.approx(beta.ppf(0.95, lost + 1, n - lost), rel=0.05)


def test_the_bootstrap_is_not_vacuous_where_nothing_differs() -> None:
    scores = mean_score(np.full(200, 0.8))
    found = compare_metric(scores, scores, 0.005, 0.95)
    assert (found.drop, found.verdict) == (0.0, "undecided")
    assert found.upper == pytest.approx(0.8 * 3 / 200, rel=0.1)
    assert found.needed == pytest.approx(0.8 * 598, rel=0.05)


def test_the_bootstrap_is_seeded() -> None:
    random = np.random.default_rng(0)
    pair = mean_score(random.random(300)), mean_score(random.random(300))
    assert compare_metric(*pair, 0.01, 0.95, draws=500) == compare_metric(*pair, 0.01, 0.95, draws=500)


@pytest.mark.parametrize("n", [60, 250])
@pytest.mark.parametrize("shape", ["rare and large", "common and small"])
def test_simulated_losses_of_a_mean_are_covered(n: int, shape: str) -> None:
    """Means of scores in 0..1: rare complete failures are what a plain bootstrap misses."""
    random = np.random.default_rng(n)
    missed, rounds, true_drop = 0, 150, 0.02
    for _ in range(rounds):
        trained = np.ones(n)
        if shape == "rare and large":
            exported = trained - (random.random(n) < true_drop)
        else:
            exported = trained - random.beta(2, 98, n)
        found = compare_metric(mean_score(trained), mean_score(exported), 0.5, 0.95, draws=400)
        missed += found.upper < true_drop
    assert missed / rounds <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / rounds)


def test_metrics_of_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="same images"):
        compare_metric(mean_score(np.ones(3)), mean_score(np.ones(4)), 0.1, 0.95)
