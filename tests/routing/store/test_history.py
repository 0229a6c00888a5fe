"""Pairs, comparisons, series, verdicts, and what is forgotten."""

from routing.observations import Rate
from routing.store import Store
from routing.store.history import SavedCheck, checks, exposure_series, save_verdict, verdicts
from routing.store.ingest import Ingest
from routing.store.pairs import Comparison, pairs_to_compare, save_comparisons
from routing.store.queries import observations
from routing.store.retention import forget
from routing.store.votes import Feedback, save_feedback
from tests.routing.store.database import T0, Logs, access, one, predicted, rows
from tests.routing.store.test_queries import EXPERIMENT


def ingest(store: Store, logs: Logs) -> None:
    Ingest(store, logs.edge, logs.predictions).run_once()


def test_pairs_are_found_whatever_comes_first_and_compared_once(store: Store, logs: Logs) -> None:
    logs.expose(access("a", 1), access("b", 1))
    logs.predict(predicted("a", 2, label="1"), predicted("a", 2, index=1, code="NETWORK_FAILED", summary=None))
    ingest(store, logs)
    assert pairs_to_compare(store, "digits", 1, 2) == []
    logs.predict(predicted("a", 1), predicted("a", 1, index=1), predicted("b", 1), predicted("b", 2), worker=42)
    ingest(store, logs)
    pairs = pairs_to_compare(store, "digits", 1, 2)
    assert {(pair.request_id, pair.index) for pair in pairs} == {("a", 0), ("a", 1), ("b", 0)}
    first = next(pair for pair in pairs if (pair.request_id, pair.index) == ("a", 0))
    assert (first.a.summary["label"], first.b.summary["label"]) == ("7", "1")
    turned = next(pair for pair in pairs_to_compare(store, "digits", 2, 1) if pair.index == 1)
    assert (turned.a.code, turned.a.summary, turned.b.code) == ("NETWORK_FAILED", None, None)
    done = [Comparison("a", 0, False, 0.7, {"why": "label"}), Comparison("a", 1, None), Comparison("b", 0, True, 0.1)]
    save_comparisons(store, "digits", 1, 2, done)
    save_comparisons(store, "digits", 1, 2, [Comparison("a", 0, True, 0.0)])
    assert pairs_to_compare(store, "digits", 1, 2) == []
    assert observations(store, EXPERIMENT, 2).agreement == Rate(2, 1)
    kept = rows(store, 'select request_id, "index", agree, detail from comparisons order by 1, 2')
    assert kept == [("a", 0, False, {"why": "label"}), ("a", 1, None, {}), ("b", 0, True, {})]


def test_another_experiments_comparisons_are_not_this_ones(store: Store, logs: Logs) -> None:
    logs.predict(predicted("old", 1, at=-50), predicted("old", 2, at=-50), predicted("new", 1), predicted("new", 2))
    logs.expose(access("x", 1, at=-1))
    ingest(store, logs)
    save_comparisons(store, "digits", 1, 2, [Comparison("old", 0, False), Comparison("new", 0, True)])
    assert observations(store, EXPERIMENT, 2).agreement == Rate(1, 1)


def test_the_series_tells_minutes_and_versions_apart(store: Store, logs: Logs) -> None:
    start = T0 // 60 * 60 - T0
    logs.expose(
        *[access(f"a{i}", 2, at=start + i, duration_ms=i) for i in range(50)],
        access("b", 2, at=start + 50, status=500, duration_ms=9000),
        access("c", 1, at=start + 60),
    )
    ingest(store, logs)
    first, second = exposure_series(store, "e1")
    assert (first.start, first.version, first.requests, first.errors) == (T0 + start, 2, 51, 1)
    assert (first.p50_ms, first.p99_ms) == (24, 49)
    assert (second.start, second.version, second.requests) == (T0 + start + 60, 1, 1)


def test_a_verdict_is_kept_once_and_in_order(store: Store) -> None:
    save_verdict(store, "e1", 1, "promote", {"reasons": ["ok"]}, at=2.0)
    save_verdict(store, "e1", 0, "hold", {"n": 1}, at=1.0)
    save_verdict(store, "e1", 0, "abort", {"n": 2}, at=1.0)
    assert [(v.time, v.step, v.decision) for v in verdicts(store, "e1")] == [(1.0, 0, "hold"), (2.0, 1, "promote")]
    assert verdicts(store, "other") == []


def test_of_verdicts_only_what_a_report_shows_is_read(store: Store) -> None:
    for second, decision in enumerate(("hold", "hold", "abort", "abort", "hold")):
        known = {"metric": "errors", "estimate": 0.1, "lower": None, "upper": 0.5}
        unknown = {"metric": "accuracy", "estimate": None, "lower": -1.0, "upper": 1.0}
        body = {"reasons": [f"at {second}"], "checks": [known, unknown, {"metric": "p99", "estimate": 7.0}]}
        save_verdict(store, "e1", 0, decision, body, at=float(second))
    save_verdict(store, "e1", 0, "hold", {}, at=9.0)
    assert [(v.decision, v.reasons) for v in verdicts(store, "e1")] == [
        ("hold", ("at 0",)),
        ("abort", ("at 2",)),
        ("hold", ("at 4",)),
    ]
    found = checks(store, "e1", ["errors", "accuracy"])
    assert found == [SavedCheck(float(second), "errors", 0.1, None, 0.5) for second in range(5)]


def test_what_is_old_goes(store: Store, logs: Logs, monkeypatch) -> None:
    monkeypatch.setattr("routing.store.retention._BATCH", 3)
    old = [f"old{i}" for i in range(10)]
    logs.expose(*[access(name, 2) for name in old], access("new", 2, at=40 * 86_400))
    logs.predict(*[predicted(name, 2) for name in old], *[predicted(name, 1) for name in old])
    save_feedback(store, [Feedback(name, T0, label="7") for name in old])
    save_verdict(store, "e1", 0, "hold", {}, at=T0)
    save_verdict(store, "e1", 0, "abort", {}, at=T0 + 40 * 86_400)
    ingest(store, logs)
    assert forget(store, now=T0 + 40 * 86_400) == 10 + 20 + 10 + 10 + 1
    assert [one(store, f"select count(*) from {t}") for t in ("exposures", "predictions", "labels")] == [1, 0, 0]
    assert [verdict.decision for verdict in verdicts(store, "e1")] == ["abort"]
    # The experiment still runs: a verdict is made of all that was seen of it.
    assert observations(store, EXPERIMENT, 2).canary.errors == Rate(11, 0)
    # The same files, followed by a new process, bring nothing back.
    ingest(store, logs)
    assert observations(store, EXPERIMENT, 2).canary.errors == Rate(11, 0)
    forget(store, now=T0 + 80 * 86_400)
    assert [one(store, f"select count(*) from {t}") for t in ("tallies", "units", "recorded", "votes")] == [0, 0, 0, 0]
