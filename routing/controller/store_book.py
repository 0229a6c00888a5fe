"""The book over PostgreSQL: the embedded one, which is started when it does not run, or the one that a URL names."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from routing import feedback
from routing.compare import Worst, worst
from routing.controller.comparing import compare_new
from routing.controller.database import Use, locate
from routing.feedback import FeedbackServer
from routing.observations import ArmSeen, Observations
from routing.rollout.experiment import experiment_of
from routing.rollout.state import RolloutState
from routing.store import Store
from routing.store.history import save_verdict
from routing.store.ingest import Ingest
from routing.store.pairs import shadow_seen
from routing.store.queries import Segment, glance, observations
from routing.store.retention import DAYS, forget
from routing.verdict.judge import Verdict
from serving.edge.copies import counted
from serving.json_log import ComponentLog
from serving.state import running_state
from slipway.errors import PortUnavailable, StoreUnavailable
from slipway.settings import Settings

#: After a change of weights: the edge follows within a second, and answers of before are still under way.
_SETTLE_SECONDS = 2.0
#: Between two starts of an embedded database that does not start.
_RETRY_SECONDS = 5.0


class StoreBook:
    """Opens nothing before it is needed: a controller without a database still promotes and aborts for people."""

    def __init__(self, settings: Settings, log: ComponentLog) -> None:
        self._settings, self._log = settings, log
        self._postgres, url = locate(settings)
        self._use = Use(self._postgres) if self._postgres is not None else None
        self._store = Store(url)
        self._ingest = Ingest(self._store, settings.state_dir / "logs", settings.state_dir / "predictions")
        self._start_at = 0.0

    def collect(self) -> None:
        """See Book."""
        self._ensure_started()
        self._ingest.run_once()

    def glance(self, state: RolloutState, version: int) -> ArmSeen:
        """See Book."""
        return glance(self._store, state.experiment, version)

    def compare(self, state: RolloutState) -> None:
        """See Book."""
        shadow = state.plan.shadow.version if state.plan.shadow else None
        kept = Worst(self._settings.state_dir, state.experiment)
        for other in (state.plan.canary, shadow):
            if other is not None:
                compare_new(self._store, state.model, state.stable, other, kept)

    def observe(self, state: RolloutState) -> Observations:
        """See Book. A shadow without a canary is compared with the stable version."""
        experiment = experiment_of(state)
        shadow = state.plan.shadow.version if state.plan.shadow else None
        other = state.plan.canary or shadow
        if experiment is None or other is None:
            raise StoreUnavailable(f"the rollout of {state.model} is over", observed=state.status)
        seen = observations(self._store, experiment, other, state.step_started + _SETTLE_SECONDS, _segments(state))
        if shadow is None:
            return seen
        found = shadow_seen(self._store, state.model, state.stable, shadow, state.started)
        served = running_state(self._settings.state_dir)
        edge = counted(served, state.model, shadow) if served is not None else None
        return replace(seen, shadow=replace(found, edge=edge))

    def keep_verdict(self, state: RolloutState, verdict: Verdict, now: float) -> None:
        """See Book."""
        save_verdict(self._store, state.experiment, state.step, verdict.decision, verdict.to_dict(), now)

    def serve_feedback(self, port: int) -> FeedbackServer:
        """See Book."""
        try:
            return feedback.serve(self._store, self._settings, port)
        except PortUnavailable:
            return feedback.serve(self._store, self._settings)

    def tidy(self) -> None:
        """See Book."""
        gone = forget(self._store)
        worst.forget(self._settings.state_dir, time.time() - DAYS * 86_400)
        self._log.info("what was old is gone", rows=gone)

    def close(self) -> None:
        """See Book."""
        self._store.close()
        if self._use is not None:
            with contextlib.suppress(StoreUnavailable):
                self._use.end()

    def _ensure_started(self) -> None:
        if self._postgres is None or self._use is None:
            return
        if self._postgres.alive():
            # one that a command has started: it is not to be stopped under us
            self._use.begin()
            return
        if time.monotonic() < self._start_at:
            raise StoreUnavailable("the embedded PostgreSQL did not start and is tried again soon")
        self._start_at = time.monotonic() + _RETRY_SECONDS
        self._log.info("the embedded PostgreSQL is started")
        self._use.begin()


def _segments(state: RolloutState) -> list[Segment]:
    """Times in which the edge surely had the weights; those that were too short for that are left out."""
    if state.plan.canary is None:
        return []
    found = [Segment(item.share, item.since + _SETTLE_SECONDS, item.until) for item in state.segments]
    return [item for item in found if item.until is None or item.since < item.until]


def open_book(settings: Settings, log: ComponentLog) -> StoreBook:
    """What the process is run with."""
    return StoreBook(settings, log)
