"""Turns and figures: everyone runs as often, in changing order, and the limits are those of order statistics."""

import time

import numpy as np
import pytest

from export.speed.figures import rounds_for, speed, speedup, time_limits
from export.speed.turns import InProcess, Turn, batches, take_turns


class Logged:
    def __init__(self, name, log):
        self.name, self.log = name, log

    def turn(self, seconds):
        self.log.append((self.name, seconds))
        return Turn(4, 0.02, 0.01)


def test_rounds_hold_everyone_once_in_changing_orders():
    log = []
    names = ["a", "b", "c", "d"]
    turns = take_turns({name: Logged(name, log) for name in names}, seconds=0.0, least=12)
    measured = [name for name, seconds in log if seconds > 0]
    rounds = [tuple(measured[i : i + 4]) for i in range(0, len(measured), 4)]
    assert {len(found) for found in turns.values()} == {len(rounds)} == {12}
    assert all(sorted(names) == sorted(found) for found in rounds)
    assert len(set(rounds)) > 4
    assert sum(seconds == 0 for _, seconds in log) == 8, "warm-up turns are not measured"


def test_the_budget_decides_the_rounds():
    class Slow:
        def turn(self, seconds):
            time.sleep(0.01)
            return Turn(1, 0.01, 0.0)

    begun = time.perf_counter()
    turns = take_turns({"slow": Slow()}, seconds=0.5)
    assert 0.5 <= time.perf_counter() - begun < 2.0
    assert len(turns["slow"]) > 8


def test_nobody_has_no_turns():
    assert take_turns({}, seconds=1.0) == {}


def test_in_process_counts_what_it_ran_and_what_it_used():
    seen = []

    def run(pixels):
        seen.append(pixels[:, 0, 0, 0].tolist())
        return np.full((len(pixels), 1), sum(range(2000)), np.float32)

    pixels = np.arange(5, dtype=np.uint8).repeat(12).reshape(5, 2, 2, 3)
    turn = InProcess(run, pixels, batch=2).turn(0.05)
    assert turn.seconds >= 0.05
    assert turn.images == 2 * (len(seen) - 1), "the first call is not timed"
    assert turn.cpu_ms_per_image > 0
    assert seen[:4] == [[0, 1], [2, 3], [4, 0], [0, 1]]


def test_batches_are_full_and_contiguous():
    pixels = np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3)
    found = batches(pixels, 8)
    assert [batch.shape for batch in found] == [(8, 2, 2, 3)]
    assert all(batch.flags.c_contiguous for batch in found)
    assert np.array_equal(found[0][3], pixels[0])


def turns(*ms):
    return [Turn(1, value / 1000, 2 * value / 1000) for value in ms]


def test_speed_is_median_and_percentiles():
    found = speed(turns(*range(1, 12)))
    assert (found.rounds, found.ms_per_image, found.cpu_ms_per_image) == (11, pytest.approx(6), pytest.approx(12))
    assert (found.p10, found.p90) == (pytest.approx(2), pytest.approx(10))
    assert found.spread == pytest.approx(8)


def test_limits_are_those_of_the_sign_test():
    # of 11 rounds at most 2 lie below the limit: P(Binomial(11, 1/2) <= 2) = 0.033, one more would be 0.113
    found = time_limits(turns(*range(1, 12)), 0.95)
    assert (found.low, found.median, found.high) == (pytest.approx(3), pytest.approx(6), pytest.approx(9))


def test_speedup_pairs_the_turns_of_a_round():
    # the machine slows down sixfold on the way: pairs do not notice, medians of times would
    machine = np.linspace(1, 6, 15)
    found = speedup(turns(*(3 * machine)), turns(*machine), 0.95)
    assert found.low == found.median == found.high == pytest.approx(3)


def test_a_limit_covers_the_median_as_often_as_it_says():
    random = np.random.default_rng(1)
    trials = [speedup(turns(*random.lognormal(size=25)), turns(*random.lognormal(size=25)), 0.9) for _ in range(300)]
    assert np.mean([found.low <= 1.0 for found in trials]) >= 0.88


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99, 0.999])
def test_there_are_rounds_enough_for_a_limit(confidence):
    count = rounds_for(confidence)
    assert np.isfinite(time_limits(turns(*range(1, count + 1)), confidence).low)
