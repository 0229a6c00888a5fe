"""The loop over a book that says what the test wants: verdicts are followed, trouble holds, nothing ends it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from routing import drift
from routing.controller import companion, looks, places
from routing.controller import loop as loops
from routing.controller.book import Server
from routing.controller.lasted import Lasted
from routing.controller.loop import Controller
from routing.controller.seen import read_seen
from routing.observations import ArmSeen, Observations, Rate
from routing.plan.model import RoutePlan
from routing.rollout import control
from routing.rollout import state as states
from routing.rollout.state import RolloutState
from routing.verdict.judge import Verdict
from routing.verdict.rules import Guardrails, Rules
from serving.json_log import open_log
from slipway import experiment as experiments
from slipway.errors import StoreUnavailable
from slipway.repository import Repository
from slipway.settings import Settings
from tests.routing.rollout.damage import ROLLOUT_DAMAGE

AUTO = RoutePlan.model_validate({"canary": 2, "steps": ["10%", "100%"], "bake": 0, "auto": True})


@dataclass
class Book:
    """Counts what it is asked; ``away`` makes it as unavailable as a database that was killed."""

    away: bool = False
    verdicts: list[str] = field(default_factory=list)
    tidied: int = 0
    failed: int = 2
    not_finite: int = 0
    #: A full look takes until this is set.
    may_look: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_look.set()

    def collect(self) -> None:
        if self.away:
            raise StoreUnavailable("the database does not answer")

    def compare(self, state: RolloutState) -> None:
        self.collect()

    def glance(self, state: RolloutState, version: int) -> ArmSeen:
        return ArmSeen(version, errors=Rate(100, self.failed), not_finite=Rate(100, self.not_finite))

    def observe(self, state: RolloutState) -> Observations:
        self.collect()
        assert self.may_look.wait(20)
        return Observations(ArmSeen(1, errors=Rate(100, 1)), self.glance(state, 2))

    def keep_verdict(self, state: RolloutState, verdict: Verdict, now: float) -> None:
        self.verdicts.append(verdict.decision)

    def serve_feedback(self, port: int) -> Server:
        raise NotImplementedError

    def tidy(self) -> None:
        self.tidied += 1

    def close(self) -> None:
        pass


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def controller(settings: Settings, book: Book) -> Iterator[Controller]:
    controller = Controller(settings, book, open_log("routing", settings.state_dir / "logs"))
    yield controller
    book.may_look.set()
    controller.close()


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Fixes the verdict: what it is made of is the business of other tests."""

    def fix(decision: str) -> None:
        monkeypatch.setattr(looks, "judge", lambda observations, rules: Verdict(decision, ("because",), ()))
        monkeypatch.setattr(looks, "_PAUSE", 0.0)
        monkeypatch.setattr(looks, "_APART", 0.0)

    return fix


def status(settings: Settings) -> str:
    return control.current(settings, "digits").status


def test_it_walks_to_promotion(settings: Settings, controller: Controller, book: Book, say) -> None:
    control.start(settings, "digits", AUTO)
    say("promote")
    for _ in range(3):
        controller.tick()
    assert status(settings) == "promoted"
    assert Repository(settings.repository).pointer("digits").stable == 2
    assert experiments.read(settings.repository, "digits") is None
    assert book.verdicts == ["promote"]
    entered = [(item.status, item.step) for item in control.current(settings, "digits").history]
    assert entered == [("running", 0), ("running", 1), ("promoting", 1), ("promoted", 1)]


def test_it_aborts_in_one_pass(settings: Settings, controller: Controller, say) -> None:
    control.start(settings, "digits", AUTO)
    say("abort")
    controller.tick()
    after = control.current(settings, "digits")
    assert (after.status, after.reasons) == ("aborted", ("because",))
    found = experiments.read(settings.repository, "digits")
    assert found is None or found.arms == ()


def tick_until(controller: Controller, found: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline
        controller.tick()


@pytest.mark.parametrize("harm", [{"not_finite": 1}, {"failed": 50}])
def test_a_guardrail_does_not_wait_for_a_full_look(
    settings: Settings, controller: Controller, book: Book, harm: dict[str, int]
) -> None:
    state = control.start(settings, "digits", AUTO)
    book.may_look.clear()
    controller.tick()
    assert status(settings) == "running"
    for name, value in harm.items():
        setattr(book, name, value)
    controller.tick()
    assert status(settings) == "aborted"
    assert read_seen(settings, "digits", state.experiment) is None
    # what ended it is seen and kept as soon as a look comes through
    book.may_look.set()
    tick_until(controller, lambda: "abort" in book.verdicts)
    seen = read_seen(settings, "digits", state.experiment)
    assert seen is not None and seen.verdict is not None and seen.verdict["decision"] == "abort"


def report_drift(settings: Settings, **changes: object) -> None:
    values = {"model": "digits", "version": 2, "drift": True, "reason": "night pictures", **changes}
    drift.take(settings, json.dumps(values).encode())


@pytest.mark.parametrize("away", [False, True])
def test_what_the_drift_hook_says_aborts_also_without_a_store(
    settings: Settings, controller: Controller, book: Book, away: bool
) -> None:
    control.start(settings, "digits", AUTO)
    book.away = away
    report_drift(settings)
    controller.tick()
    after = control.current(settings, "digits")
    assert (after.status, after.reasons) == ("aborted", ("the drift hook says: night pictures",))


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        (AUTO, {"version": 1}),
        (AUTO, {"drift": False}),
        (AUTO, {"time": 5}),
        (AUTO.model_copy(update={"rules": Rules(guardrails=Guardrails(drift=False))}), {}),
        (RoutePlan(canary=2, share=0.1), {}),
    ],
    ids=["another version", "none", "before the rollout", "not a guardrail", "only people move it"],
)
def test_other_reports_of_drift_abort_nothing(
    settings: Settings, controller: Controller, plan: RoutePlan, changes: dict[str, object]
) -> None:
    state = control.start(settings, "digits", plan)
    report_drift(settings, **changes)
    tick_until(controller, lambda: read_seen(settings, "digits", state.experiment))
    assert status(settings) in ("running", "holding")


def test_a_report_that_cannot_be_read_is_passed_over_with_one_line(
    settings: Settings, controller: Controller, say
) -> None:
    control.start(settings, "digits", AUTO)
    say("hold")
    path = drift.path_of(settings, "digits")
    path.parent.mkdir(parents=True)
    path.write_text('{"version": "two"}')
    for _ in range(3):
        controller.tick()
    assert status(settings) in ("running", "holding")
    log = (settings.state_dir / "logs/routing.jsonl").read_text()
    assert log.count("a report of drift is passed over") == 1 and "a pass failed" not in log
    report_drift(settings)
    controller.tick()
    assert status(settings) == "aborted"


def test_guardrails_of_a_rollout_that_only_people_move_are_shown_and_not_followed(
    settings: Settings, controller: Controller, book: Book
) -> None:
    state = control.start(settings, "digits", RoutePlan(canary=2, share=0.1))
    book.not_finite = 1
    tick_until(controller, lambda: read_seen(settings, "digits", state.experiment))
    assert (status(settings), book.verdicts) == ("running", ["abort"])


def test_old_things_are_removed_now_and_then(
    settings: Settings, controller: Controller, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.away = True
    controller.tick()
    book.away = False
    assert book.tidied == 0
    tick_until(controller, lambda: book.tidied)
    controller.tick()
    assert book.tidied == 1
    monkeypatch.setattr(loops, "_TIDY_SECONDS", 0.0)
    tick_until(controller, lambda: book.tidied > 1)


def test_old_things_are_removed_before_it_leaves(
    settings: Settings, controller: Controller, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "_IDLE_SECONDS", 0.0)
    assert controller.finished()
    assert book.tidied == 1


def test_a_clock_that_is_set_forward_ends_no_bake(
    settings: Settings, controller: Controller, say, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.start(settings, "digits", AUTO.model_copy(update={"bake": 300.0}))
    say("promote")
    controller.tick()
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 3600)
    for _ in range(3):
        controller.tick()
    assert (status(settings), control.current(settings, "digits").step) == ("running", 0)


def test_a_step_lasts_by_the_steady_clock(settings: Settings) -> None:
    state = control.start(settings, "digits", AUTO)
    lasted, began = Lasted(), state.step_started
    # 20 s before this controller came, 5 s since; the clock was set back, then forward
    assert [lasted.seconds(state, began + now, steady) for now, steady in ((20, 100), (-900, 103), (9000, 105))] == [
        20, 23, 25,
    ]  # fmt: skip
    later = state.model_copy(update={"step_started": began + 50})
    assert lasted.seconds(later, began + 51, 200) == 1


def test_what_was_seen_is_kept_for_the_command_line(settings: Settings, controller: Controller, say) -> None:
    state = control.start(settings, "digits", RoutePlan(canary=2, share=0.1))
    say("hold")
    controller.tick()
    seen = read_seen(settings, "digits", state.experiment)
    assert seen is not None
    assert seen.verdict is not None
    assert (seen.arms[1]["errors"], seen.verdict["decision"], seen.problem) == (2, "hold", None)
    assert read_seen(settings, "digits", "another") is None


def test_without_a_store_it_holds_and_goes_on_when_it_is_back(
    settings: Settings, controller: Controller, book: Book, say
) -> None:
    state = control.start(settings, "digits", AUTO)
    say("promote")
    book.away = True
    before = experiments.read(settings.repository, "digits")
    for _ in range(3):
        controller.tick()
    assert status(settings) == "holding"
    assert experiments.read(settings.repository, "digits") == before
    seen = read_seen(settings, "digits", state.experiment)
    assert seen is not None and "does not answer" in str(seen.problem)
    book.away = False
    controller.tick()
    assert control.current(settings, "digits").step == 1


@pytest.mark.parametrize("damage", ROLLOUT_DAMAGE.values(), ids=ROLLOUT_DAMAGE)
def test_a_file_that_cannot_be_read_does_not_end_it(
    settings: Settings, controller: Controller, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    control.start(settings, "digits", AUTO)
    damage(states.path_of(settings.repository, "digits"))
    monkeypatch.setattr(loops, "_IDLE_SECONDS", 0.0)
    for _ in range(3):
        controller.tick()
        controller.finished()
    log = (settings.state_dir / "logs/routing.jsonl").read_text()
    assert log.count("a pass failed") == 1 and "EXPERIMENT_INVALID" in log


def test_what_fails_while_it_looks_for_its_end_does_not_end_it(
    settings: Settings, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space for the lock, a file that went between two looks at it."""
    monkeypatch.setattr(loops, "_IDLE_SECONDS", 0.0)
    folder = places.companion(settings).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("not a folder")
    assert not controller.finished()
    folder.unlink()
    assert controller.finished()


def test_the_supervisor_is_told_until_nothing_is_left(settings: Settings, controller: Controller, monkeypatch) -> None:
    control.start(settings, "digits", AUTO)
    companion.ensure_controller(settings)
    path = places.companion(settings)
    assert path.is_file()
    monkeypatch.setattr(loops, "_IDLE_SECONDS", 0.0)
    assert not controller.finished()
    assert not companion.release_controller(settings)
    control.stop(settings, "digits")
    assert controller.finished()
    assert not path.exists()
    assert Path(companion.argv(settings)[3]).is_file()
