"""Judging recorded requests; the kills themselves are in the end-to-end test."""

import pytest

from benchmarks.chaos import COLUMNS, _as_the_edge_saw, judge
from benchmarks.crowd import Sent


def requests(*rows):
    return [Sent("grpc", *row) for row in rows]


def test_in_flight_later_and_refused_are_told_apart():
    seen = requests(
        (1.0, 2.0, "too old to count"),
        (8.0, 9.0),
        (9.5, 10.2, "cut off"),
        (9.8, 10.4),
        (10.3, 10.5, "failed"),
        (10.5, 10.6, "refused", False),
        (10.7, 11.0),
        (12.0, 12.1),
    )
    outcome = judge("kill", struck=10.0, since=7.0, requests=seen, stop=False)
    assert (outcome.requests, outcome.in_flight) == (7, 2)
    assert (outcome.failed_in_flight, outcome.failed_later, outcome.not_accepted) == (1, 1, 1)
    assert outcome.seconds_to_first_good_answer == pytest.approx(1.0)
    assert outcome.seconds_to_all_good == pytest.approx(0.6)
    assert outcome.errors == {"cut off": 1, "failed": 1, "refused": 1}
    assert len(outcome.cells()) == len(COLUMNS)


def test_nothing_failed_means_zero_seconds():
    outcome = judge("kill", 10.0, 7.0, requests((9.9, 10.1), (10.2, 10.3)), stop=False)
    assert outcome.seconds_to_all_good == 0
    assert outcome.seconds_to_first_good_answer == pytest.approx(0.3)


def test_no_recovery_is_no_number():
    outcome = judge("kill", 10.0, 7.0, requests((9.9, 10.1, "cut"), (10.2, 10.3, "down", False)), stop=False)
    assert outcome.seconds_to_first_good_answer is None
    assert outcome.seconds_to_all_good is None


def test_a_stop_has_no_recovery():
    outcome = judge("stop", 10.0, 7.0, requests((9.9, 10.1), (10.2, 10.3, "refused", False)), stop=True)
    assert (outcome.failed_in_flight, outcome.failed_later, outcome.not_accepted) == (0, 0, 1)
    assert outcome.seconds_to_all_good is None


def test_a_request_that_the_edge_never_logged_was_not_accepted(tmp_path):
    log = tmp_path / "edge-access.jsonl"
    log.write_text('{"request_id":"a","status":0}\n')
    cut, reset = (Sent("http", 10.1, 10.2, "reset", id=name) for name in "ab")
    assert _as_the_edge_saw(cut, log).accepted
    assert not _as_the_edge_saw(reset, log).accepted
