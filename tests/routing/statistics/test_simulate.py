"""The simulation itself, small: false alarms within alpha by a binomial bound, effects found, pages written."""

import json

import numpy as np
import pytest
from scipy import stats

from routing.statistics.evidence import log_e_apart
from routing.statistics.simulate import false_alarms, latency, pages, power, streams

FEW = 300
MOST = stats.binom.ppf(1 - 1e-6, FEW, 0.05) / FEW


@pytest.mark.parametrize(("rate", "share"), [(0.001, 0.1), (0.05, 0.01), (0.5, 0.5)])
def test_same_versions_are_rarely_called_different(rate, share) -> None:
    row = false_alarms.abort(np.random.default_rng(1), FEW, 0.05, rate, share)
    assert row.found <= MOST
    assert row.peeking > MOST, "the usual test does not fail here: this case shows nothing"


def test_what_is_just_not_good_enough_is_rarely_promoted() -> None:
    assert false_alarms.promotion(np.random.default_rng(2), FEW, 0.05, 0.01, 0.1).found <= MOST


def test_same_latencies_and_right_shares_raise_no_alarm() -> None:
    rng = np.random.default_rng(3)
    rows = [false_alarms.slow(rng, 100, 0.05, 0.1), false_alarms.mismatch(rng, FEW, 0.05, 0.1)]
    assert all(row.found <= MOST for row in [*rows, false_alarms.walk(rng, FEW, 0.05)])


def test_effects_are_found_near_the_planned_sample_and_sooner_than_by_universal_inference() -> None:
    found = power.worse(np.random.default_rng(4), 60, 0.05, "1 % -> 5 %", 0.01, 0.05, 0.1)
    assert found.found > 0.9
    assert found.median < 2.5 * found.fixed
    assert found.median < 0.8 * found.universal


def test_a_good_canary_is_shown_to_be_good() -> None:
    assert power.fine(np.random.default_rng(5), 40, 0.05, 0.001, 0.01, 0.1).found > 0.9


def test_a_slow_canary_is_found() -> None:
    assert latency.harm(np.random.default_rng(6), 20, (450, 50), 20, 0.05, 1.5)[:, -1].all()


def test_settling_most_looks_by_a_bound_changes_no_answer() -> None:
    seen = streams.rates(np.random.default_rng(7), 20, np.full(10, 300), 0.2, 0.01, 0.04)
    all_of_it = log_e_apart(seen.stable, seen.canary) >= np.log(20)
    assert (streams.apart(seen, 0.05) == all_of_it).all() and all_of_it.any() and not all_of_it.all()
    assert (streams.first_apart(seen, 0.05) == streams.first(all_of_it)).all()


def test_pages_hold_every_row(tmp_path) -> None:
    alarms = [false_alarms.FalseAlarm("abort: rate", "1.0%", 0.1, 60, 0.004, 0.3)]
    found = [power.Found("p99 +30%", 0.1, 0.4, float("inf"), float("inf"), 348.0)]
    pages.plot(tmp_path / "plot.png", alarms, 0.05)
    assert (tmp_path / "plot.png").stat().st_size > 1000
    text = pages.markdown(alarms, found)
    assert "0.40%" in text and "later" in text
    assert json.loads(json.dumps(pages.values(alarms, found, 0.05, 10), allow_nan=False))["power"][0]["median"] is None
