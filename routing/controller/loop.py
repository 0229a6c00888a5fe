"""One pass over all rollouts: collect, look, follow the verdict, make the data plane fit. Nothing ends the loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from routing import drift
from routing.controller import companion
from routing.controller.book import Book
from routing.controller.lasted import Lasted
from routing.controller.looks import Look, Looks
from routing.controller.seen import Seen, write_seen
from routing.observations import ArmSeen
from routing.rollout import control, machine
from routing.rollout import state as states
from routing.rollout.apply import Place, is_settled
from routing.rollout.state import EXPOSED, RolloutState
from routing.verdict.judge import Verdict, crossed
from serving.json_log import ComponentLog
from slipway.errors import DriftInvalid, SlipwayError, StoreUnavailable
from slipway.settings import Settings

#: A verdict that did not change is written down this often all the same.
_KEEP_SECONDS = 60.0
_TIDY_SECONDS = 3600.0
#: The controller stays this long after the last rollout: one that is started at once finds it running.
_IDLE_SECONDS = 60.0


class Controller:
    """``tick`` does one pass; the process calls it about twice a second."""

    def __init__(self, settings: Settings, book: Book, log: ComponentLog) -> None:
        self._settings, self._book, self._log = settings, book, log
        self._kept: dict[str, tuple[str, float]] = {}
        self._told: dict[str, str] = {}
        #: For what may take long: passes go on beside it.
        self._thread = ThreadPoolExecutor(1, "controller")
        self._looks = Looks(book, self._thread)
        #: Rollouts that a guardrail ended, until a last full look at them is begun: for whoever reads of it later.
        self._ended: dict[str, RolloutState] = {}
        self._lasted = Lasted()
        #: A short life must not mean that nothing is ever removed: the first time is when the store answers.
        self._tidied: float | None = None
        self._needed = time.monotonic()
        #: Why the store cannot be used now; None when it can.
        self.store_problem: str | None = None

    def tick(self) -> None:
        """Every rollout one pass further. Raises nothing: what fails is logged, and tried again."""
        self._guard("store", self._collect)
        for model in states.rolled_out(self._settings.repository):
            self._guard(model, lambda model=model: self._one(model))  # type: ignore[misc]
        if self._tidied is None or time.monotonic() - self._tidied >= _TIDY_SECONDS:
            self._tidy()

    def finished(self) -> bool:
        """Whether nothing has needed a controller for a while; then the supervisor was told so. Raises nothing: while
        that cannot be known, the controller stays."""
        found: list[bool] = []
        self._guard("the end of the controller", lambda: found.append(self._released()))
        return found == [True]

    def close(self) -> None:
        """Returns when nothing uses the book any more."""
        self._thread.shutdown(cancel_futures=True)

    def _released(self) -> bool:
        if companion.needed(self._settings):
            self._needed = time.monotonic()
        if time.monotonic() - self._needed < _IDLE_SECONDS:
            return False
        if not companion.release_controller(self._settings):
            return False
        if (last := self._tidy()) is not None:
            last.result()
        return True

    def _tidy(self) -> Future[None] | None:
        if self.store_problem is not None:
            return None
        self._tidied = time.monotonic()
        return self._thread.submit(self._guard, "retention", self._book.tidy)

    def _guard(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as problem:
            text = f"{type(problem).__name__}: {problem}"
            if self._is_new(what, text):
                self._log.exception("a pass failed and is tried again", what=what)
        else:
            self._told.pop(what, None)

    def _is_new(self, what: str, text: str) -> bool:
        """The same trouble twice a second is one line of the log, not a full disk."""
        before, self._told[what] = self._told.get(what), text
        return before != text

    def _collect(self) -> None:
        try:
            self._book.collect()
        except StoreUnavailable as problem:
            self._store(str(problem))
        else:
            self._store(None)

    def _store(self, problem: str | None) -> None:
        if (problem is None) != (self.store_problem is None):
            level = "info" if problem is None else "error"
            self._log.write(level, "the store answers" if problem is None else "verdicts hold", reason=problem)
        self.store_problem = problem

    def _one(self, model: str) -> None:
        state = states.read(self._settings.repository, model)
        if state is None:
            return
        stop = self._guardrail(state)
        if stop is not None:
            self._follow(state, stop)
            self._ended[model] = state
        look = self._look(state)
        if stop is None and not is_settled(state, Place(self._settings)):
            self._follow(state, look.verdict if look is not None else None)

    def _follow(self, state: RolloutState, verdict: Verdict | None) -> None:
        """``state``: what ``verdict`` is about; without one, what was begun goes on."""
        now = time.time()
        lasted = self._lasted.seconds(state, now, time.monotonic())

        def change(found: RolloutState | None) -> RolloutState:
            if found is None:
                raise SlipwayError(f"the rollout of {state.model} went away", fix="nothing: it was stopped by hand")
            if (found.experiment, found.step_started) != (state.experiment, state.step_started):
                # changed by a person since it was judged
                return found
            if verdict is not None:
                return machine.advance(found, verdict, now, lasted)
            if self.store_problem is not None:
                return machine.hold(found, f"the store cannot be read: {self.store_problem}", now)
            return found

        control.transact(self._settings, state.model, change)

    def _guardrail(self, state: RolloutState) -> Verdict | None:
        """What a guardrail that is crossed says: looked at in every pass, by counts that take milliseconds."""
        canary = state.plan.canary
        if canary is None or not state.plan.auto or state.status not in EXPOSED:
            return None
        seen = ArmSeen(canary)
        try:
            seen = self._book.glance(state, canary) if self.store_problem is None else seen
        except StoreUnavailable as problem:
            self._store(str(problem))
        return crossed(seen, self._drift(state), state.plan.rules)

    def _drift(self, state: RolloutState) -> str | None:
        """What the drift hook says of the canary since the rollout began."""
        try:
            report = drift.read(self._settings, state.model)
        except DriftInvalid as problem:
            if self._is_new(f"drift of {state.model}", str(problem)):
                self._log.write("error", "a report of drift is passed over", reason=str(problem))
            return None
        self._told.pop(f"drift of {state.model}", None)
        if report is None or state.plan.canary is None:
            return None
        return report.of(state.plan.canary, state.started)

    def _look(self, state: RolloutState) -> Look | None:
        """The look at this rollout's present step that is done, if any; another is begun when its time has come."""
        if self.store_problem is not None:
            if state.active:
                write_seen(self._settings, Seen(state.model, state.experiment, time.time(), problem=self.store_problem))
            return None
        try:
            self._begin(state)
            look = self._looks.take(state.model)
            if look is None or look.state.experiment != state.experiment:
                return None
            self._keep(look.state, look.verdict)
        except StoreUnavailable as problem:
            self._store(str(problem))
            return None
        write_seen(self._settings, Seen.of(look.state, look.seen, look.verdict, time.time()))
        return look if look.state.step_started == state.step_started else None

    def _begin(self, state: RolloutState) -> None:
        wanted = self._ended.get(state.model, state)
        lasted = self._lasted.seconds(wanted, time.time(), time.monotonic())
        if wanted.status in EXPOSED and self._looks.begin(wanted, self._drift(wanted), lasted):
            self._ended.pop(state.model, None)

    def _keep(self, state: RolloutState, verdict: Verdict) -> None:
        decision, kept = self._kept.get(state.experiment, ("", 0.0))
        if decision != verdict.decision or time.monotonic() - kept >= _KEEP_SECONDS:
            self._book.keep_verdict(state, verdict, time.time())
            self._kept[state.experiment] = (verdict.decision, time.monotonic())
