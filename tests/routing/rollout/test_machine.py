"""The transitions, as a table; and that no walk ever takes a unit out of the canary."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.plan.model import RoutePlan
from routing.rollout import machine
from routing.rollout.experiment import experiment_of
from routing.rollout.state import RolloutState
from slipway.errors import RolloutRefused
from slipway.experiment import BUCKETS, Experiment
from slipway.repository import Pointer


@dataclass(frozen=True)
class Said:
    decision: str
    reasons: tuple[str, ...] = ("because",)


PLAN = RoutePlan.model_validate({"canary": 2, "steps": ["1%", "50%"], "bake": 10, "auto": True})


def started(plan: RoutePlan = PLAN) -> RolloutState:
    return machine.begin("digits", plan, stable=1, now=1000.0)


def at(status: str, step: int = 0, **values: object) -> RolloutState:
    return started().model_copy(update={"status": status, "step": step, **values})


@pytest.mark.parametrize(
    ("before", "verdict", "after_seconds", "status", "step"),
    [
        (at("running"), "promote", 9, "running", 0),
        (at("running"), "promote", 10, "running", 1),
        (at("running"), "hold", 9, "running", 0),
        (at("running"), "hold", 10, "holding", 0),
        (at("running"), "abort", 0, "aborting", 0),
        (at("holding"), "promote", 10, "running", 1),
        (at("holding"), "hold", 99, "holding", 0),
        (at("holding"), "abort", 99, "aborting", 0),
        (at("running", 1), "promote", 10, "promoting", 1),
        (at("promoting", 1), "promote", 99, "promoting", 1),
        (at("promoting", 1), "hold", 99, "promoting", 1),
        (at("promoting", 1), "abort", 99, "aborting", 1),
        (at("promoted", 1), "abort", 99, "promoted", 1),
        (at("aborting"), "promote", 99, "aborting", 0),
        (at("aborted"), "promote", 99, "aborted", 0),
        (at("stopped"), "abort", 99, "stopped", 0),
        # a clock that was set back makes nothing early
        (at("running"), "promote", -500, "running", 0),
    ],
)
def test_following_a_verdict(before: RolloutState, verdict: str, after_seconds: float, status: str, step: int) -> None:
    after = machine.advance(before, Said(verdict), 1000.0 + after_seconds)
    assert (after.status, after.step) == (status, step)
    assert (after.experiment, after.salt) == (before.experiment, before.salt)
    changed = (status, step) != (before.status, before.step)
    assert len(after.history) == len(before.history) + changed
    if not changed:
        assert after is before or after == before


@pytest.mark.parametrize("verdict", ["promote", "hold", "abort"])
def test_without_auto_only_people_move_it(verdict: str) -> None:
    state = started(RoutePlan(canary=2, share=0.1))
    assert machine.advance(state, Said(verdict), 1e9) is state


def test_a_store_that_does_not_answer_holds_and_the_verdict_after_it_goes_on() -> None:
    held = machine.hold(at("running"), "the store", 1001.0)
    assert held.status == "holding"
    assert machine.hold(held, "the store", 1002.0) is held
    assert machine.hold(at("promoting"), "the store", 1001.0).status == "promoting"
    assert machine.advance(held, Said("hold"), 1003.0).status == "running"


def test_a_step_begins_a_segment_and_ends_the_one_before() -> None:
    after = machine.advance(started(), Said("promote"), 1010.0)
    assert [(item.share, item.since, item.until) for item in after.segments] == [
        (0.01, 1000.0, 1010.0),
        (0.5, 1010.0, None),
    ]
    assert after.step_started == 1010.0
    over = machine.abort(after, ("bad",), 1020.0)
    assert over.segments[-1].until == 1020.0


def test_abort_takes_arms_shadow_and_allow_list_away() -> None:
    plan = RoutePlan.model_validate(
        {"canary": 2, "share": "10%", "shadow": {"version": 3}, "allow": {"me": 2}, "override": "x-mine",
         "units": ["cookie:a"], "layer": {"name": "home"}}
    )  # fmt: skip
    state = started(plan)
    running = experiment_of(state)
    assert running is not None and running.versions == (1, 2, 3)
    over = machine.abort(state, ("bad",), 1001.0)
    for item in (over, machine.aborted(over, 1002.0)):
        found = experiment_of(item)
        assert found is not None
        assert (found.arms, found.shadow, found.allow, found.stable) == ((), None, {}, 1)
        assert (found.override, found.units, found.layer) == ("x-model-version", ("header:x-unit-id",), None)
        assert (found.id, found.salt) == (running.id, running.salt)
        assert item.reasons == ("bad",)


def test_what_people_may_ask_when() -> None:
    running, over = started(), at("promoted")
    assert machine.promote(running, 1.0, ()).status == "promoting"
    assert machine.abort(at("promoting"), (), 1.0).status == "aborting"
    assert machine.stop(running, (), 1.0).status == "stopped"
    for refused in (
        lambda: machine.promote(over, 1.0, ()),
        lambda: machine.promote(at("aborted"), 1.0, ()),
        lambda: machine.abort(over, (), 1.0),
        lambda: machine.abort(at("stopped"), (), 1.0),
        lambda: machine.stop(at("promoting"), (), 1.0),
        lambda: machine.promote(started(RoutePlan.model_validate({"shadow": {"version": 3}})), 1.0, ()),
        lambda: machine.amend(at("promoting"), RoutePlan(canary=2, share=1.0), 1.0),
    ):
        with pytest.raises(RolloutRefused):
            refused()
    # asked twice is asked once
    aborted = machine.abort(running, ("a",), 1.0)
    assert machine.abort(aborted, ("b",), 2.0) is aborted


def test_a_changed_plan_keeps_the_assignment_or_is_refused() -> None:
    state = started(RoutePlan(canary=2, share=0.1))
    assert machine.amend(state, RoutePlan(canary=2, share=0.1), 1001.0) is state
    wider = machine.amend(state, RoutePlan(canary=2, share=0.3), 1001.0)
    assert (wider.share, wider.salt, wider.experiment) == (0.3, state.salt, state.experiment)
    same_share = machine.amend(state, RoutePlan(canary=2, share=0.1, auto=True), 1001.0)
    assert same_share.step_started == state.step_started
    assert len(same_share.segments) == 1
    steps = RoutePlan.model_validate({"canary": 2, "steps": ["1%", "10%", "50%"]})
    assert machine.amend(state, steps, 1001.0).step == 1
    for other in (
        {"canary": 3, "share": "10%"},
        {"canary": 2, "share": "5%"},
        {"canary": 2, "share": "10%", "units": ["cookie:a"]},
        {"canary": 2, "share": "10%", "layer": {"name": "a"}},
        {"canary": 2, "share": "10%", "rules": {"alpha": 0.4}},
        {"canary": 2, "share": "10%", "rules": {"ratio_alpha": 0.1}},
        {"shadow": {"version": 2}},
    ):
        with pytest.raises(RolloutRefused):
            machine.amend(state, RoutePlan.model_validate(other), 1001.0)


def test_the_pointer_moved_by_hand_ends_it() -> None:
    assert machine.overtaken(started(), 2, 1.0).status == "promoted"
    assert machine.overtaken(started(), 7, 1.0).status == "stopped"


def test_a_state_survives_its_file() -> None:
    state = machine.flipping(machine.promote(started(), 1.0, ("x",)), Pointer(1, None, 2, "now"))
    assert RolloutState.model_validate_json(state.model_dump_json(exclude_defaults=True)) == state


#: A walk of 100 % alone is refused: nothing could be compared.
SHARES = (
    st.lists(st.integers(1, BUCKETS), min_size=1, max_size=6, unique=True)
    .map(sorted)
    .filter(lambda shares: shares != [BUCKETS])
)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["promote", "hold", "abort", "store", "amend"]), st.floats(0, 40)), max_size=20
)


@given(SHARES, EVENTS, st.data())
def test_units_only_join_until_all_leave_at_once(shares: list[int], events: list, data: st.DataObject) -> None:
    """Whatever happens in whatever order: bucket sets grow, start at the same place, or become empty for good."""
    plan = RoutePlan.model_validate(
        {"canary": 2, "steps": [share / BUCKETS for share in shares], "bake": 10, "auto": True}
    )
    state, now = started(plan), 1000.0
    seen = [experiment_of(state)]
    for event, seconds in events:
        now += seconds
        if event == "store":
            state = machine.hold(state, "down", now)
        elif event == "amend":
            wider = data.draw(st.integers(1, BUCKETS))
            try:
                state = machine.amend(state, RoutePlan(canary=2, share=wider / BUCKETS, auto=True), now)
            except RolloutRefused:
                continue
        else:
            state = machine.advance(state, Said(event), now)
        seen.append(experiment_of(state))
    salts = {item.salt for item in seen if item}
    assert len(salts) == 1
    widths = [width_of(item) for item in seen]
    gone = widths.index(None) if None in widths else len(widths)
    assert widths[:gone] == sorted(widths[:gone])
    assert set(widths[gone:]) <= {None}
    for item in seen:
        if item is not None:
            assert Experiment.from_json(json.dumps(item.to_dict())) == item


def width_of(item: Experiment | None) -> int | None:
    if item is None or not item.arms:
        return None
    assert item.arms[0].start == 0
    return item.arms[0].width
