"""One pass over all rollouts: collect, judge, follow the verdict, make the data plane fit. Nothing ends the loop."""

from __future__ import annotations

import time
from collections.abc import Callable

from routing.controller import companion
from routing.controller.book import Book
from routing.controller.seen import Seen, write_seen
from routing.rollout import control, machine
from routing.rollout import state as states
from routing.rollout.apply import Place, is_settled
from routing.rollout.state import RolloutState
from routing.verdict.judge import Verdict, judge
from serving.json_log import ComponentLog
from slipway.errors import SlipwayError, StoreUnavailable
from slipway.settings import Settings

#: A verdict that did not change is written down this often all the same.
_KEEP_SECONDS = 10.0
_TIDY_SECONDS = 3600.0
#: After a look that took t seconds, the next one begins t times this later at the earliest.
_PAUSE = 4.0
#: The controller stays this long after the last rollout: one that is started at once finds it running.
_IDLE_SECONDS = 60.0


class Controller:
    """``tick`` does one pass; the process calls it about twice a second."""

    def __init__(self, settings: Settings, book: Book, log: ComponentLog) -> None:
        self._settings, self._book, self._log = settings, book, log
        self._kept: dict[str, tuple[str, float]] = {}
        self._told: dict[str, str] = {}
        self._look_at: dict[str, float] = {}
        self._tidied = time.monotonic()
        self._needed = time.monotonic()
        #: Why the store cannot be used now; None when it can.
        self.store_problem: str | None = None

    def tick(self) -> None:
        """Every rollout one pass further. Raises nothing: what fails is logged, and tried again."""
        self._guard("store", self._collect)
        for model in states.rolled_out(self._settings.repository):
            self._guard(model, lambda model=model: self._one(model))  # type: ignore[misc]
        self._guard("retention", self._tidy)

    def finished(self) -> bool:
        """Whether nothing has needed a controller for a while; then the supervisor was told so."""
        if companion.needed(self._settings):
            self._needed = time.monotonic()
        if time.monotonic() - self._needed < _IDLE_SECONDS:
            return False
        return companion.release_controller(self._settings)

    def _guard(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as problem:
            # the same trouble twice a second is one line, not a full disk
            text = f"{type(problem).__name__}: {problem}"
            if self._told.get(what) != text:
                self._log.exception("a pass failed and is tried again", what=what)
            self._told[what] = text
        else:
            self._told.pop(what, None)

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
        if state is None or is_settled(state, Place(self._settings)):
            return
        if not self._may_look(state):
            return
        verdict = self._verdict(state) if state.active else None
        now = time.time()

        def change(found: RolloutState | None) -> RolloutState:
            if found is None:
                raise SlipwayError(f"the rollout of {model} went away", fix="nothing: it was stopped by hand")
            if (found.experiment, found.step_started) != (state.experiment, state.step_started):
                # changed by a person since it was judged
                return found
            if verdict is None:
                return machine.hold(found, f"the store cannot be read: {self.store_problem}", now)
            return machine.advance(found, verdict, now)

        after = control.transact(self._settings, model, change)
        self._tell(state, after)

    def _may_look(self, state: RolloutState) -> bool:
        """Promotions and aborts go on in every pass; counting millions of rows is given a part of the time."""
        return state.status not in ("running", "holding") or time.monotonic() >= self._look_at.get(state.model, 0.0)

    def _tell(self, before: RolloutState, after: RolloutState) -> None:
        known = len(before.history) if after.experiment == before.experiment else 0
        for entry in after.history[known:]:
            values = {"model": after.model, "experiment": after.experiment, **entry.model_dump(exclude={"time"})}
            self._log.info("rollout", **values)

    def _verdict(self, state: RolloutState) -> Verdict | None:
        """None when the store cannot be read."""
        if self.store_problem is not None:
            write_seen(self._settings, Seen(state.model, state.experiment, time.time(), problem=self.store_problem))
            return None
        started = time.monotonic()
        try:
            self._book.compare(state)
            observations = self._book.observe(state)
            self._look_at[state.model] = time.monotonic() + _PAUSE * (time.monotonic() - started)
            verdict = judge(observations, state.plan.rules)
            self._keep(state, verdict)
        except StoreUnavailable as problem:
            self._store(str(problem))
            return None
        write_seen(self._settings, Seen.of(state, observations, verdict, time.time()))
        return verdict

    def _keep(self, state: RolloutState, verdict: Verdict) -> None:
        decision, kept = self._kept.get(state.experiment, ("", 0.0))
        if decision != verdict.decision or time.monotonic() - kept >= _KEEP_SECONDS:
            self._book.keep_verdict(state, verdict, time.time())
            self._kept[state.experiment] = (verdict.decision, time.monotonic())

    def _tidy(self) -> None:
        if self.store_problem is None and time.monotonic() - self._tidied >= _TIDY_SECONDS:
            self._tidied = time.monotonic()
            self._book.tidy()
