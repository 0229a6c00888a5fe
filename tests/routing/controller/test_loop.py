"""The loop over a book that says what the test wants: verdicts are followed, trouble holds, nothing ends it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from routing.controller import companion, places
from routing.controller import loop as loops
from routing.controller.book import Server
from routing.controller.loop import Controller
from routing.controller.seen import read_seen
from routing.observations import ArmSeen, Observations, Rate
from routing.plan.model import RoutePlan
from routing.rollout import control
from routing.rollout import state as states
from routing.rollout.state import RolloutState
from routing.verdict.judge import Verdict
from serving.json_log import open_log
from slipway import experiment as experiments
from slipway.errors import StoreUnavailable
from slipway.repository import Repository
from slipway.settings import Settings

AUTO = RoutePlan.model_validate({"canary": 2, "steps": ["10%", "100%"], "bake": 0, "auto": True})


@dataclass
class Book:
    """Counts what it is asked; ``away`` makes it as unavailable as a database that was killed."""

    away: bool = False
    verdicts: list[str] = field(default_factory=list)
    tidied: int = 0

    def collect(self) -> None:
        if self.away:
            raise StoreUnavailable("the database does not answer")

    def compare(self, state: RolloutState) -> None:
        self.collect()

    def observe(self, state: RolloutState) -> Observations:
        self.collect()
        return Observations(ArmSeen(1, errors=Rate(100, 1)), ArmSeen(2, errors=Rate(100, 2)))

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
def controller(settings: Settings, book: Book) -> Controller:
    return Controller(settings, book, open_log("routing", settings.state_dir / "logs"))


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Fixes the verdict: what it is made of is the business of other tests."""

    def fix(decision: str) -> None:
        monkeypatch.setattr(loops, "judge", lambda observations, rules: Verdict(decision, ("because",), ()))
        monkeypatch.setattr(loops, "_PAUSE", 0.0)

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


def test_a_file_that_cannot_be_read_does_not_end_it(settings: Settings, controller: Controller, say) -> None:
    control.start(settings, "digits", AUTO)
    states.path_of(settings.repository, "digits").write_text("{")
    for _ in range(3):
        controller.tick()
    log = (settings.state_dir / "logs/routing.jsonl").read_text()
    assert log.count("a pass failed") == 1


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
