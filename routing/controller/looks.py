"""Full looks at rollouts. With millions of rows one takes seconds, so they are made in another thread than the passes,
and guardrails do not wait for them."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, replace

from routing.controller.book import Book
from routing.observations import Observations
from routing.rollout.state import RolloutState
from routing.verdict.judge import Verdict, judge

#: After a look that took t seconds, the next one begins t times this later at the earliest.
_PAUSE = 4.0
#: Seconds from one look to the next at least: each costs tens of milliseconds of the cores that the models need too.
_APART = 1.0
#: Seconds that a pass waits for the look that it began: most take milliseconds, and are followed at once then.
_PATIENCE = 0.05


@dataclass(frozen=True)
class Look:
    """What was seen of a rollout, as it was in ``state``, and what that means."""

    state: RolloutState
    seen: Observations
    verdict: Verdict


class Looks:
    """One look per model is under way at most; for one thread to call. ``thread``: where they are made."""

    def __init__(self, book: Book, thread: Executor) -> None:
        self._book, self._thread = book, thread
        self._running: dict[str, Future[Look]] = {}
        self._due: dict[str, float] = {}

    def begin(self, state: RolloutState, drift: str | None, lasted: float) -> bool:
        """Begins a look at ``state``, unless one at its model is under way or was just made; whether it did.

        ``drift``: as of Observations. ``lasted``: seconds of the step, which nothing was observed for longer than.
        """
        if state.model in self._running or time.monotonic() < self._due.get(state.model, 0.0):
            return False
        self._running[state.model] = look = self._thread.submit(self._look, state, drift, lasted)
        wait([look], _PATIENCE)
        return True

    def take(self, model: str) -> Look | None:
        """The look that is done, once; None without. Raises what it raised, as StoreUnavailable."""
        if model not in self._running or not self._running[model].done():
            return None
        return self._running.pop(model).result()

    def _look(self, state: RolloutState, drift: str | None, lasted: float) -> Look:
        started = time.monotonic()
        self._book.compare(state)
        seen = self._book.observe(state)
        seen = replace(seen, drift=drift, seconds=min(seen.seconds, lasted))
        verdict = judge(seen, state.plan.rules)
        took = time.monotonic() - started
        self._due[state.model] = started + max(_APART, (1.0 + _PAUSE) * took)
        return Look(state, seen, verdict)
