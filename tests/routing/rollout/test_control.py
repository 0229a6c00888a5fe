"""What people ask of rollouts, on a real repository, with a server that is told of by its state file."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from routing.plan.model import RoutePlan, Routes
from routing.rollout import control, machine
from routing.rollout import state as states
from routing.rollout.declared import changes
from routing.rollout.state import RolloutState
from serving import process_id
from serving.state import ModelState, ProcessState, State, VersionState
from slipway import experiment as experiments
from slipway.errors import (
    ExperimentInvalid,
    ExperimentUnknown,
    ModelNotFound,
    RolloutRefused,
    RoutesInvalid,
    VersionNotFound,
)
from slipway.repository import Repository
from slipway.settings import Settings
from tests.routing.rollout.damage import ROLLOUT_DAMAGE
from tests.slipway.publishing import publication

TEN = RoutePlan(canary=2, share=0.1)


def tick(settings: Settings) -> RolloutState:
    """A pass of a controller that has nothing to say."""

    def same(state: RolloutState | None) -> RolloutState:
        assert state is not None
        return state

    return control.transact(settings, "digits", same)


class Server:
    """A supervisor's state file; the process that it names is this one, so it is alive."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.show(routed=1)

    def show(self, routed: int, failed: str | None = None) -> None:
        pointer = Repository(self.settings.repository).pointer("digits")
        versions = tuple(
            VersionState(number, "failed" if failed and number == 2 else "ready", failed if number == 2 else None)
            for number in (1, 2, 3)
        )
        model = ModelState("digits", routed, pointer.stable, "fused", versions, pointer_updated=pointer.updated)
        state = State(
            process=ProcessState(os.getpid(), process_id.start_ticks(os.getpid())),
            phase="ready",
            repository=str(self.settings.repository),
            edge={},
            engine={"name": "triton"},
            envoy={},
            models=(model,),
        )
        state.write(self.settings.state_dir)


@pytest.fixture
def server(settings: Settings) -> Server:
    return Server(settings)


def pointer(settings: Settings) -> int:
    return Repository(settings.repository).pointer("digits").stable


def test_a_canary_is_an_experiment_and_a_wider_one_the_same(settings: Settings) -> None:
    first = control.start(settings, "digits", TEN)
    found = experiments.read(settings.repository, "digits")
    assert found is not None
    assert [(arm.version, arm.start, arm.width) for arm in found.arms] == [(2, 0, 1000)]
    assert (found.stable, found.compare, found.record) == (1, 500, 10_000)
    again = control.start(settings, "digits", TEN)
    assert again == first
    control.start(settings, "digits", RoutePlan(canary=2, share=0.3))
    wider = experiments.read(settings.repository, "digits")
    assert wider is not None
    assert wider == replace(found, arms=(replace(found.arms[0], width=3000),))
    with pytest.raises(RolloutRefused, match="canary differs"):
        control.start(settings, "digits", RoutePlan(canary=3, share=0.5))
    assert experiments.read(settings.repository, "digits") == wider


@pytest.mark.parametrize(
    ("model", "plan", "error"),
    [
        ("digist", TEN, ModelNotFound),
        ("../digits", TEN, ModelNotFound),
        ("digits", RoutePlan(canary=9, share=0.1), VersionNotFound),
        ("digits", RoutePlan(canary=1, share=0.1), RoutesInvalid),
        ("digits", RoutePlan.model_validate({"shadow": {"version": 1}}), RoutesInvalid),
        ("digits", RoutePlan(canary=2, share=0.1, allow={"me": 8}), VersionNotFound),
    ],
)
def test_what_cannot_be_started_leaves_nothing(
    settings: Settings, model: str, plan: RoutePlan, error: type[Exception]
) -> None:
    with pytest.raises(error):
        control.start(settings, model, plan)
    assert states.rolled_out(settings.repository) == []
    assert experiments.read(settings.repository, "digits") is None


def test_a_promotion_waits_for_the_server_before_the_experiment_goes(settings: Settings, server: Server) -> None:
    control.start(settings, "digits", TEN)
    assert control.promote(settings, "digits").status == "promoting"
    assert pointer(settings) == 2
    assert tick(settings).status == "promoting"
    found = experiments.read(settings.repository, "digits")
    assert found is not None
    assert found.arms[0].width == 1000
    server.show(routed=2)
    assert tick(settings).status == "promoted"
    assert experiments.read(settings.repository, "digits") is None
    assert Repository(settings.repository).pointer("digits").previous == 1


def test_a_server_that_refuses_the_version_takes_the_promotion_back(settings: Settings, server: Server) -> None:
    before = Repository(settings.repository).pointer("digits")
    control.start(settings, "digits", TEN)
    control.promote(settings, "digits")
    server.show(routed=1, failed="the golden image differs")
    after = tick(settings)
    assert after.status == "aborted"
    assert "the golden image differs" in after.reasons
    assert Repository(settings.repository).pointer("digits") == before


def test_a_damaged_canary_is_not_promoted(settings: Settings) -> None:
    control.start(settings, "digits", TEN)
    network = settings.repository / "digits.onnx/2/model.onnx"
    network.chmod(0o644)
    network.write_bytes(b"other")
    after = control.promote(settings, "digits")
    assert after.status == "aborted"
    assert "is not what was published" in after.reasons[0]
    assert pointer(settings) == 1


def test_an_abort_keeps_the_experiment_without_arms_for_a_while(settings: Settings, server: Server) -> None:
    control.start(settings, "digits", TEN)
    assert control.abort(settings, "digits").status == "aborted"
    found = experiments.read(settings.repository, "digits")
    assert found is not None
    assert found.arms == ()
    # another pointer is obeyed at once, and so is the end of the wait
    Repository(settings.repository).set_pointer("digits", 3)
    tick(settings)
    assert experiments.read(settings.repository, "digits") is None


def test_an_abort_takes_a_promotion_back(settings: Settings, server: Server) -> None:
    before = Repository(settings.repository).pointer("digits")
    control.start(settings, "digits", TEN)
    control.promote(settings, "digits")
    assert pointer(settings) == 2
    control.abort(settings, "digits")
    assert Repository(settings.repository).pointer("digits") == before


@pytest.mark.parametrize(("version", "status"), [(2, "promoted"), (3, "stopped")])
def test_the_pointer_moved_by_hand_is_obeyed(settings: Settings, version: int, status: str) -> None:
    control.start(settings, "digits", TEN)
    Repository(settings.repository).set_pointer("digits", version)
    assert tick(settings).status == status
    assert experiments.read(settings.repository, "digits") is None
    assert pointer(settings) == version


def test_after_the_end_a_new_one_begins_with_another_salt(settings: Settings) -> None:
    first = control.start(settings, "digits", TEN)
    stopped = control.stop(settings, "digits")
    assert stopped is not None and stopped.status == "stopped"
    second = control.start(settings, "digits", TEN)
    assert second.salt != first.salt
    assert second.experiment != first.experiment


@pytest.mark.parametrize("damage", ROLLOUT_DAMAGE.values(), ids=ROLLOUT_DAMAGE)
def test_a_file_that_nobody_understands_can_be_stopped(settings: Settings, damage: Callable[[Path], None]) -> None:
    control.start(settings, "digits", TEN)
    damage(states.path_of(settings.repository, "digits"))
    for act in (control.current, control.abort, control.promote):
        with pytest.raises(ExperimentInvalid, match="--stop"):
            act(settings, "digits")
    found = experiments.path_of(settings.repository, "digits")
    found.unlink()
    found.mkdir()
    assert control.stop(settings, "digits") is None
    assert experiments.read(settings.repository, "digits") is None
    with pytest.raises(ExperimentUnknown):
        control.current(settings, "digits")


def test_an_experiment_that_was_lost_or_damaged_is_written_again(settings: Settings) -> None:
    control.start(settings, "digits", TEN)
    found = experiments.read(settings.repository, "digits")
    path = experiments.path_of(settings.repository, "digits")

    def becomes_a_folder() -> None:
        path.unlink()
        path.mkdir()

    for damage in (path.unlink, lambda: path.write_text("{"), becomes_a_folder):
        damage()
        tick(settings)
        assert experiments.read(settings.repository, "digits") == found


def second_model(settings: Settings, tmp_path: Path) -> None:
    """`strokes`: the same files under another name are enough for what is checked here."""
    Repository(settings.repository).publish(publication(tmp_path / "more"))
    for version in ("1", "2"):
        target = settings.repository / "strokes" / version
        target.mkdir(parents=True)
        (target / "manifest.json").write_text((settings.repository / "digits" / version / "manifest.json").read_text())


def test_layers_exclude_and_other_models_run_side_by_side(settings: Settings, tmp_path: Path) -> None:
    second_model(settings, tmp_path)
    layered = {"canary": 2, "share": "10%"}
    control.start(settings, "digits", RoutePlan.model_validate({**layered, "layer": {"name": "home", "stop": "50%"}}))
    with pytest.raises(RolloutRefused, match="would share units"):
        control.start(
            settings, "strokes", RoutePlan.model_validate({**layered, "layer": {"name": "home", "start": "40%"}})
        )
    control.start(settings, "strokes", RoutePlan.model_validate({**layered, "layer": {"name": "home", "start": "50%"}}))
    assert states.rolled_out(settings.repository) == ["digits", "strokes"]
    declared = {model: {**layered, "layer": {"name": "home"}} for model in ("digits", "strokes")}
    with pytest.raises(RolloutRefused, match="would share units"):
        changes(settings, Routes.model_validate({"models": declared}))
    assert machine.begin("a", TEN, 1, 0.0).experiment != machine.begin("a", TEN, 1, 0.0).experiment


def test_a_share_that_comes_into_force_late_is_counted_from_then(settings: Settings) -> None:
    """Its writer was killed between the state and the experiment; requests of the time between had the old share."""
    plan = RoutePlan.model_validate({"canary": 2, "steps": ["10%", "50%"], "bake": 0, "auto": True})
    began = time.time() - 60
    state = machine.begin("digits", plan, 1, began)
    states.write(settings.repository, state)
    late = control.touch(settings, "digits")
    assert late.segments[-1].since == late.step_started > began + 59
    states.write(settings.repository, machine.next_step(late, time.time() - 30, ("because",)))
    corrected = control.touch(settings, "digits")
    assert [item.share for item in corrected.segments] == [0.1, 0.5]
    assert corrected.segments[-1].since == corrected.step_started > time.time() - 5
    assert control.touch(settings, "digits") == corrected


def test_two_of_one_layer_that_start_at_once_do_not_share_units(settings: Settings, tmp_path: Path) -> None:
    second_model(settings, tmp_path)
    plan = RoutePlan.model_validate({"canary": 2, "share": "10%", "layer": {"name": "home"}})
    together = threading.Barrier(2)

    def begin(model: str) -> bool:
        together.wait(10)
        with contextlib.suppress(RolloutRefused):
            return control.start(settings, model, plan).active
        return False

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            assert sorted(pool.map(begin, ("digits", "strokes"))) == [False, True]
            for model in states.rolled_out(settings.repository):
                control.stop(settings, model)


def test_an_aborted_shadow_is_not_started_again_from_a_file_and_another_is(settings: Settings) -> None:
    def declared(plan: dict[str, object]) -> tuple[bool, str]:
        found = changes(settings, Routes.model_validate({"models": {"digits": plan}}))[0]
        return found.acts, found.says

    control.start(settings, "digits", RoutePlan.model_validate({"shadow": {"version": 2}}))
    control.abort(settings, "digits")
    acts, says = declared({"shadow": {"version": 2, "share": "50%"}})
    assert not acts and says.startswith("shadow version 2 was aborted")
    assert declared({"shadow": {"version": 3}}) == (True, "starts")
    assert declared({"canary": 2, "share": "10%"}) == (True, "starts")


def test_every_transition_is_in_the_log_whoever_makes_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "HISTORY", 3)
    control.start(settings, "digits", TEN)
    for share in (0.2, 0.3, 0.4):
        control.start(settings, "digits", TEN.model_copy(update={"share": share}))
    control.abort(settings, "digits")
    tick(settings)
    lines = [json.loads(line) for line in (settings.state_dir / "logs/routing.jsonl").read_text().splitlines()]
    assert [(line["status"], line["share"]) for line in lines] == [
        ("running", 0.1), ("running", 0.2), ("running", 0.3), ("running", 0.4), ("aborting", 0.4), ("aborted", 0.4),
    ]  # fmt: skip
    assert lines[-1]["why"] == ["a person aborted it"]
