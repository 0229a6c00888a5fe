"""What a verdict reads: who is counted for what, and pieces that arrive in any order."""

import itertools

import pytest

from routing.observations import Observations, Rate, Split
from routing.store import Store
from routing.store.ingest import Ingest
from routing.store.queries import glance, observations
from routing.store.votes import Feedback, save_feedback
from slipway.experiment import Arm, Experiment
from tests.routing.store.database import T0, Logs, access, predicted

EXPERIMENT = Experiment(model="digits", id="e1", salt="s", stable=1, arms=(Arm(2, 0, 1000),))


def seen(store: Store, logs: Logs, *lines: str, **options) -> Observations:
    logs.expose(*lines)
    Ingest(store, logs.edge, logs.predictions).run_once()
    return observations(store, EXPERIMENT, 2, **options)


def test_an_empty_store_has_seen_nothing(store: Store, logs: Logs) -> None:
    found = seen(store, logs)
    assert (found.canary.errors, found.agreement, found.seconds, found.step_requests) == (Rate(), Rate(), 0.0, 0)
    assert len(found.canary.latencies_ms) == 0


def test_only_what_the_hash_assigned_counts(store: Store, logs: Logs) -> None:
    found = seen(
        store,
        logs,
        access("a", 2),
        access("b", 1),
        access("c", 2, why="override"),
        access("d", 2, why="allow"),
        access("e", 1, why="layer"),
        access("f", 2, experiment="other"),
        access("g", 3),
    )
    assert (found.stable.errors, found.canary.errors) == (Rate(1, 0), Rate(1, 0))


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"status": 500}, True),
        ({"status": 503}, True),
        ({"status": 400}, False),
        ({"status": 429}, False),
        ({"status": 0}, False),
        ({"answered": "1", "failed": "503"}, True),
        ({"answered": "1", "failed": "UNAVAILABLE"}, True),
        ({"answered": "1", "failed": "INVALID_ARGUMENT"}, False),
        ({"grpc_status": 4, "details": "max_duration_timeout", "deadline": 0.1}, False),
        ({"grpc_status": 4, "details": "max_duration_timeout", "deadline": None}, True),
        ({"grpc_status": 4, "details": "via_upstream", "deadline": 0.1}, True),
        *[({"grpc_status": status}, True) for status in (2, 4, 13, 14)],
        *[({"grpc_status": status}, False) for status in (0, 1, 3, 5, 8, 12)],
    ],
)
def test_what_is_an_error_of_the_version(store: Store, logs: Logs, changes: dict, failed: bool) -> None:
    found = seen(store, logs, access("a", 2, **changes))
    assert found.canary.errors == Rate(1, int(failed))
    assert found.stable.errors == Rate(0, 0)
    good = changes == {"grpc_status": 0}
    assert found.canary.latencies_ms.values.tolist() == ([10.0] if good else [])


def test_latencies_ascend_and_are_all_there(store: Store, logs: Logs) -> None:
    durations = [30, 5, 5, 900]
    found = seen(store, logs, *[access(f"r{i}", 2, duration_ms=ms) for i, ms in enumerate(durations)])
    assert [found.canary.latencies_ms.ranked(rank) for rank in (1, 2, 3, 4)] == [5.0, 5.0, 30.0, 900.0]


def test_units_count_once_where_they_came_first(store: Store, logs: Logs) -> None:
    found = seen(
        store,
        logs,
        access("a", 1, at=0, unit="1"),
        access("b", 1, at=1, unit="1"),
        access("c", 2, at=2, unit="2"),
        access("d", 2, at=10, unit="1"),
        access("e", 2, at=11, unit="3"),
        splits=[(0.1, T0, T0 + 10), (0.3, T0 + 10, None)],
    )
    assert found.splits == (Split(0.1, 1, 1), Split(0.3, 0, 1))


def test_a_late_line_moves_a_unit_to_its_true_beginning(store: Store, logs: Logs) -> None:
    seen(store, logs, access("b", 2, at=20, unit="1"))
    found = seen(store, logs, access("a", 1, at=1, unit="1"), splits=[(0.1, T0, T0 + 10), (0.3, T0 + 10, None)])
    assert found.splits == (Split(0.1, 1, 0), Split(0.3, 0, 0))


def test_the_step_begins_with_its_first_exposure(store: Store, logs: Logs) -> None:
    lines = [access("a", 2, at=0), access("b", 1, at=12), access("c", 2, at=15)]
    found = seen(store, logs, *lines, step_started=T0 + 10, now=T0 + 42)
    assert (found.seconds, found.step_requests, found.canary.errors.trials) == (30.0, 1, 2)


PIECES = ["exposure", "prediction", "label"]


@pytest.mark.parametrize("order", itertools.permutations(PIECES))
def test_labels_join_in_any_order(store: Store, logs: Logs, order: tuple[str, ...]) -> None:
    for piece in order:
        if piece == "exposure":
            logs.expose(access("a", 2), access("b", 2))
        elif piece == "prediction":
            logs.predict(predicted("a", 2, label="7"), predicted("b", 2, label="7"))
        else:
            save_feedback(store, [Feedback("a", 1.0, label="7"), Feedback("b", 1.0, label="1")])
        Ingest(store, logs.edge, logs.predictions).run_once()
    found = observations(store, EXPERIMENT, 2)
    assert found.canary.correct == Rate(2, 1)
    assert found.canary.not_finite == Rate(2, 0)


def test_the_newest_label_is_the_one_vote(store: Store, logs: Logs) -> None:
    logs.predict(predicted("a", 2, label="7"))
    seen(store, logs, access("a", 2))
    save_feedback(store, [Feedback("a", 5.0, label="7"), Feedback("a", 3.0, label="1")])
    assert observations(store, EXPERIMENT, 2).canary.correct == Rate(1, 1)
    save_feedback(store, [Feedback("a", 4.0, correct=False)])
    assert observations(store, EXPERIMENT, 2).canary.correct == Rate(1, 1)
    save_feedback(store, [Feedback("a", 6.0, correct=False)])
    assert observations(store, EXPERIMENT, 2).canary.correct == Rate(1, 0)


def test_a_fallbacks_answer_is_not_judged_but_its_outcome_is(store: Store, logs: Logs) -> None:
    logs.predict(predicted("a", 1))
    save_feedback(store, [Feedback("a", 1.0, label="7"), Feedback("a", 1.0, outcome="bought", value=True)])
    found = seen(store, logs, access("a", 2, answered="1", failed="503"))
    assert (found.canary.correct, found.stable.correct) == (Rate(), Rate())
    assert found.canary.outcomes == {"bought": Rate(1, 1)}


def test_text_that_was_read_is_a_label_too(store: Store, logs: Logs) -> None:
    logs.predict(predicted("a", 2, task="ocr", summary={"text": "ABC", "lines": 1}))
    save_feedback(store, [Feedback("a", 1.0, label="ABC")])
    assert seen(store, logs, access("a", 2)).canary.correct == Rate(1, 1)


def test_not_finite_counts_images_of_own_exposures(store: Store, logs: Logs) -> None:
    logs.predict(predicted("a", 2, not_finite=True), predicted("a", 2, index=1), predicted("a", 1))
    logs.predict(predicted("shadow only", 2, not_finite=True))
    found = seen(store, logs, access("a", 2))
    assert (found.canary.not_finite, found.stable.not_finite) == (Rate(2, 1), Rate(0, 0))


def test_what_is_compared_is_told_apart_by_the_time_of_the_request(store: Store, logs: Logs) -> None:
    save_feedback(store, [Feedback(name, 1.0, correct=name != "d") for name in "abcde"])
    save_feedback(store, [Feedback("c", 1.0, outcome="bought", value=True)])
    found = seen(
        store,
        logs,
        access("a", 1, 0, duration_ms=3),
        access("b", 2, 5, duration_ms=4),
        access("between", 2, 10),
        access("c", 2, 12, duration_ms=7),
        access("d", 1, 13),
        access("e", 2, 25),
        access("f", 2, 14, status=500),
        splits=[(0.1, T0, T0 + 10), (0.5, T0 + 11, T0 + 20), (1.0, T0 + 20, None)],
    )
    first, second = found.parts or ()
    assert found.over
    assert (first.stable.errors, first.canary.errors) == (Rate(1, 0), Rate(1, 0))
    assert (second.stable.errors, second.canary.errors) == (Rate(1, 0), Rate(2, 1))
    assert (first.stable.latencies_ms.ranked(1), first.canary.latencies_ms.ranked(1)) == (3.0, 4.0)
    assert (len(second.canary.latencies_ms), second.canary.latencies_ms.ranked(1)) == (1, 7.0)
    assert (first.canary.correct, second.stable.correct, second.canary.correct) == (Rate(1, 1), Rate(1, 0), Rate(1, 1))
    assert second.canary.outcomes == {"bought": Rate(1, 1)}
    assert found.canary.errors == Rate(5, 1), "all of it is shown, and guarded"
    assert observations(store, EXPERIMENT, 2).parts is None


def test_a_glance_is_what_guardrails_need_of_the_same_counts(store: Store, logs: Logs) -> None:
    logs.predict(predicted("a", 2, not_finite=True), predicted("b", 2))
    found = seen(store, logs, access("a", 2, duration_ms=7), access("b", 2, status=500), access("c", 1)).canary
    brief = glance(store, "e1", 2)
    assert (brief.errors, brief.not_finite) == (found.errors, found.not_finite) == (Rate(2, 1), Rate(2, 1))
    assert brief.latencies_ms.values.tolist() == found.latencies_ms.values.tolist() == [7.0]
    assert glance(store, "other", 2).errors == Rate()
