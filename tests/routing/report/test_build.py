"""A report completed from a real database, filled as the edge, the handlers and the controller fill it."""

import dataclasses

import pytest

from routing.observations import Rate
from routing.plan.model import RoutePlan, ShadowPlan
from routing.report.build import complete
from routing.report.data import ArmRow, CheckRow, ReportData, Traffic, VerdictView, Versions
from routing.report.page import render
from routing.report.ruled import compared, difference_curves, unit_of
from routing.rollout import machine
from routing.rollout.state import RolloutState
from routing.statistics.bernoulli import confidence_sequence
from routing.store import Store
from routing.store.history import SavedCheck, exposure_series, save_verdict
from routing.store.ingest import Ingest
from routing.store.pairs import Comparison, save_comparisons
from routing.store.queries import observations
from routing.verdict.judge import judge
from slipway.experiment import Experiment
from tests.routing.report.reading import Page
from tests.routing.store.database import T0, Logs, access, predicted


def rollout(**plan) -> RolloutState:
    state = machine.begin("digits", RoutePlan(**plan), 1, T0)
    return state.model_copy(update={"experiment": "e1"})


def gathered(store: Store, state: RolloutState, *arms: ArmRow, **changes) -> ReportData:
    series = exposure_series(store, "e1", seconds=10)
    shadow = state.plan.shadow.version if state.plan.shadow else None
    data = ReportData(
        "digits", "e1", state.salt, state.status, Versions(1, state.plan.canary, shadow), arms=arms, interval=10.0,
        traffic=tuple(Traffic(p.start, p.version, p.requests, p.errors, p.p50_ms, p.p99_ms) for p in series),
    )  # fmt: skip
    return dataclasses.replace(data, **changes)


@pytest.fixture
def filled(store: Store, logs: Logs) -> Store:
    """90 requests of version 1; 30 of version 2, of which 6 failed and 2 were not answered; 10 pairs, 3 unlike."""
    logs.expose(*(access(f"s{i}", 1, i) for i in range(90)))
    logs.expose(*(access(f"c{i}", 2, i) for i in range(24)))
    logs.expose(*(access(f"f{i}", 2, 30 + i, answered="1", failed="503") for i in range(4)))
    logs.expose(*(access(f"g{i}", 2, 40 + i, status=503, code="NETWORK_FAILED") for i in range(2)))
    logs.predict(*(predicted(f"c{i}", version, i) for i in range(10) for version in (1, 2)))
    Ingest(store, logs.edge, logs.predictions).run_once()
    save_comparisons(store, "digits", 1, 2, [Comparison(f"c{i}", 0, i >= 3, float(i < 3)) for i in range(10)])
    return store


def test_arms_and_affected_requests(filled: Store) -> None:
    state = rollout(canary=2, share=0.25)
    arms = ArmRow(1, 0.75, requests=90), ArmRow(2, 0.25, requests=30, errors=6)
    data = complete(gathered(filled, state, *arms), state, filled)
    assert [arm.units for arm in data.arms] == [90, 30]
    lower, upper = data.arms[1].error_lower, data.arms[1].error_upper
    assert lower is not None and upper is not None and 0 < lower < 6 / 30 < upper < 1
    assert (data.failed, data.unanswered) == (6, 2)
    assert [(item.request_id, item.code, item.answered) for item in data.failures] == [
        ("g1", "NETWORK_FAILED", None), ("g0", "NETWORK_FAILED", None),
        ("f3", "", 1), ("f2", "", 1), ("f1", "", 1), ("f0", "", 1),
    ]  # fmt: skip


def test_rates_are_added_up_with_the_verdicts_own_sequences(filled: Store) -> None:
    state = rollout(canary=2, share=0.25, rules={"alpha": 0.1, "agreement_min": 0.9})
    data = complete(gathered(filled, state), state, filled)
    stable, canary = data.error_rates
    assert (stable.version, canary.version) == (1, 2)
    last = canary.bands[-1]
    arm = next(point for point in exposure_series(filled, "e1", seconds=1000) if point.version == 2)
    assert (arm.requests, arm.errors) == (30, 6)
    assert last.estimate == 6 / 30
    assert (last.lower, last.upper) == confidence_sequence(Rate(30, 6), 0.1)
    (agreement,) = data.agreements
    assert (agreement.version, agreement.bands[-1].estimate, agreement.limit) == (2, 0.7, 0.9)


def test_differences_come_from_the_verdicts_as_they_were_made(filled: Store) -> None:
    state = rollout(canary=2, share=0.25)
    seen = observations(filled, Experiment("digits", "e1", "salt", 1), 2)
    verdict = judge(seen, state.plan.rules)
    for second in (10, 20):
        save_verdict(filled, "e1", 0, verdict.decision, verdict.to_dict(), T0 + second)
    checks = tuple(
        CheckRow(c.metric, c.decision, c.text, c.estimate, c.lower, c.upper, c.trials) for c in verdict.checks
    )
    data = complete(
        gathered(filled, state, verdict=VerdictView(verdict.decision, verdict.reasons, checks)), state, filled
    )
    curve = next(curve for curve in data.differences if curve.metric == "errors")
    assert [band.time for band in curve.bands] == [T0 + 10, T0 + 20]
    assert curve.bands[0].estimate == pytest.approx(6 / 30)
    assert (curve.unit, curve.limit) == ("points", state.plan.rules.error_margin)
    assert {item.name for item in data.guardrails} == {"errors", "finite"}
    assert all(item.allowed for item in data.guardrails)
    assert data.sample_ratio is not None and data.sample_ratio.found.startswith("p = ")
    assert data.verdict is not None
    units = {check.metric: check.unit for check in data.verdict.checks}
    assert (units["errors"], units["p99"]) == ("points", "ms")
    page = Page(render(data))
    assert "+20.00 points" in page.text and len(page.named("svg")) == 6


def test_what_is_allowed_lies_on_the_bad_side() -> None:
    rules = RoutePlan(
        canary=2,
        share=0.1,
        rules={"outcomes": {"bought": {"margin": 0.03}, "left": {"margin": 0.04, "better": "lower"}}},
    ).rules
    curves = difference_curves([SavedCheck(T0, metric, 0.1) for metric in compared(rules)], rules)
    limits = {curve.metric: curve.limit for curve in curves}
    assert limits == {"errors": 0.01, "accuracy": -0.02, "bought": -0.03, "left": 0.04}


def test_nothing_was_seen(store: Store) -> None:
    state = rollout(canary=2, share=0.25)
    data = complete(gathered(store, state, ArmRow(1), ArmRow(2)), state, store)
    assert [(arm.units, arm.error_lower) for arm in data.arms] == [(0, None), (0, None)]
    assert (data.agreements, data.differences, data.guardrails, data.sample_ratio) == ((), (), (), None)
    assert (data.failed, data.failures) == (0, ())
    Page(render(data))


def test_a_shadow_has_what_was_recorded_of_it(store: Store, logs: Logs) -> None:
    state = rollout(shadow=ShadowPlan(version=3))
    logs.expose(access("a"))
    logs.predict(predicted("a", 1), predicted("a", 3, not_finite=True), predicted("b", 3), predicted("old", 3, -5))
    Ingest(store, logs.edge, logs.predictions).run_once()
    data = complete(gathered(store, state, ArmRow(1, requests=1)), state, store)
    assert [(arm.version, arm.answers, arm.not_finite) for arm in data.arms] == [(1, 0, 0), (3, 2, 1)]
    assert data.failed is None
    assert "3 shadow" in Page(render(data)).text


def test_canary_and_shadow_each_have_their_agreement(filled: Store, logs: Logs) -> None:
    state = rollout(canary=2, share=0.25, shadow=ShadowPlan(version=3), rules={"agreement_min": 0.9})
    logs.predict(*(predicted(f"c{i}", 3, i) for i in range(10)))
    Ingest(filled, logs.edge, logs.predictions).run_once()
    failed = [Comparison(f"c{i}", 0, None, detail={"failed": {"3": "NETWORK_FAILED"}}) for i in range(2)]
    both = Comparison("c2", 0, None, detail={"failed": {"1": "IMAGE_CORRUPT", "3": "IMAGE_CORRUPT"}})
    save_comparisons(filled, "digits", 1, 3, [*failed, both, *(Comparison(f"c{i}", 0, i > 3) for i in range(3, 10))])
    arms = ArmRow(1, 0.75, requests=90), ArmRow(2, 0.25, requests=30)
    edge = {"sent": 50, "waiting": 2, "failed": 3, "dropped": 7}
    data = complete(gathered(filled, state, *arms, shadow_copies=edge), state, filled)
    assert [(curve.version, curve.bands[-1].estimate, curve.limit) for curve in data.agreements] == [
        (2, 0.7, 0.9),
        (3, 6 / 7, None),
    ]
    assert [(arm.version, arm.requests, arm.errors) for arm in data.arms[2:]] == [(3, 9, 2)]
    page = Page(render(data))
    assert "The shadow failed with NETWORK_FAILED ( 2 )" in page.text
    assert "sent the shadow 50 copies: 2 wait for an answer, 3 failed. It dropped 7 more" in page.text
    (drawn,) = (label for label in page.values("aria-label") if label.startswith("Agreement over time"))
    assert "version 2, canary 70.00 %" in drawn and "version 3, shadow 85.71 %" in drawn


def test_a_shadow_alone_has_one_row(filled: Store) -> None:
    state = rollout(shadow=ShadowPlan(version=2))
    data = complete(gathered(filled, state, ArmRow(1, requests=90), ArmRow(2, 0.0)), state, filled)
    assert [(arm.version, arm.requests, arm.errors) for arm in data.arms] == [(1, 90, 0), (2, 10, 0)]


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("errors", "points"), ("accuracy", "points"), ("clicked", "points"), ("agreement", "rate"), ("p99", "ms"),
        ("p99.9", "ms"), ("guardrail: p99", "ms"), ("guardrail: errors", "rate"), ("guardrail: finite", ""),
        ("sample", ""), ("duration", ""), ("$x", ""),
    ],
)  # fmt: skip
def test_units(metric: str, unit: str) -> None:
    rules = RoutePlan(canary=2, share=0.1, rules={"outcomes": {"clicked": {}}}).rules
    assert unit_of(metric, rules) == unit
