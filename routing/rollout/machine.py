"""The transitions of a rollout as pure functions: state and event in, state out. ``now`` is epoch seconds.

```
running <-> holding -> promoting -> promoted
   |           |           |
   +-----------+-----------+------> aborting -> aborted        running, holding -> stopped
```
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Protocol

from routing.plan.model import RoutePlan
from routing.plan.share import show_share
from routing.rollout.state import HISTORY, RolloutState, Segment, Status, Transition
from slipway.errors import RolloutRefused
from slipway.repository import Pointer

#: What fixes which unit sees what, and what is analysed: a change of these is another experiment.
_IDENTITY = ("canary", "units", "override", "layer")
#: What was promised of the tests that run, which hold for one level that was chosen before.
_PROMISED = ("alpha", "ratio_alpha")

#: Seconds in which a share that was decided is in force: what is counted begins later anyway.
_AT_ONCE = 1.0


class Decided(Protocol):
    """What a transition needs of a verdict."""

    @property
    def decision(self) -> str:
        """promote, hold or abort."""

    @property
    def reasons(self) -> Sequence[str]:
        """In plain words."""


def begin(model: str, plan: RoutePlan, stable: int, now: float) -> RolloutState:
    """A new rollout at its first step, with a new experiment id and a new salt."""
    stamp = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%S")
    state = RolloutState(
        model=model,
        plan=plan,
        experiment=f"{model}-{stamp}-{secrets.token_hex(3)}",
        salt=secrets.token_hex(8),
        stable=stable,
        started=now,
        step_started=now,
    )
    state = state.model_copy(update={"segments": (Segment(share=state.share, since=now),)})
    return _note(state, now, "running", ("started",))


def amend(state: RolloutState, plan: RoutePlan, now: float) -> RolloutState:
    """The same rollout under a changed plan: nobody leaves the canary. The same plan changes nothing.

    Raises RolloutRefused for a change that makes another experiment of it, or that takes units out.
    """
    if plan == state.plan:
        return state
    if state.status not in ("running", "holding"):
        raise RolloutRefused(f"the rollout of {state.model} is {state.status}", fix="wait until it is over")
    for key in _IDENTITY:
        if getattr(plan, key) != getattr(state.plan, key):
            raise _another(state, key, plan)
    for key in _PROMISED:
        if getattr(plan.rules, key) != getattr(state.plan.rules, key):
            raise RolloutRefused(
                f"rules.{key} cannot change while the rollout of {state.model} runs: its tests hold for one that was"
                " chosen before",
                observed=getattr(plan.rules, key),
                expected=getattr(state.plan.rules, key),
                fix=f"`slipway route {state.model} --stop`, then start anew",
            )
    step = _step_at(state, plan)
    changed = state.model_copy(update={"plan": plan, "step": step})
    if changed.share != state.share:
        changed = _restart_step(changed, now)
    return _note(changed, now, "running", ("the plan was changed",))


def advance(state: RolloutState, verdict: Decided, now: float, lasted: float | None = None) -> RolloutState:
    """Follows a verdict: next step or promotion, hold, abort. A plan without ``auto`` stays as it is.

    A step is left when it has lasted its bake and its verdict is to promote: no traffic is no reason to go on.
    ``lasted``: seconds of the present step, by a clock that nobody sets; None: by ``now``.
    """
    if not state.plan.auto or state.status not in ("running", "holding", "promoting"):
        return state
    if verdict.decision == "abort":
        return abort(state, tuple(verdict.reasons), now)
    if state.status == "promoting":
        return state
    step = state.now_at
    lasted = now - state.step_started if lasted is None else lasted
    baked = step is not None and lasted >= (step.bake or 0.0)
    if not baked:
        return _settle(state, "running", (), now)
    if verdict.decision != "promote":
        return _settle(state, "holding", tuple(verdict.reasons), now)
    return next_step(state, now, tuple(verdict.reasons))


def hold(state: RolloutState, why: str, now: float) -> RolloutState:
    """Nothing can be said now (the store does not answer): it stays where it is."""
    if not state.plan.auto or state.status not in ("running", "holding"):
        return state
    return _settle(state, "holding", (why,), now)


def next_step(state: RolloutState, now: float, why: tuple[str, ...]) -> RolloutState:
    """One step further; from the last one to promoting."""
    if state.step + 1 >= len(state.plan.walk):
        return _note(state, now, "promoting", why)
    return _note(_restart_step(state.model_copy(update={"step": state.step + 1}), now), now, "running", why)


def promote(state: RolloutState, now: float, why: tuple[str, ...]) -> RolloutState:
    """A person says so. Raises RolloutRefused without a canary, or when it is over or already on its way back."""
    if state.plan.canary is None:
        raise RolloutRefused(
            f"{state.model} has a shadow and no canary",
            fix=f"`slipway promote {state.model} VERSION` promotes without a rollout",
        )
    if state.status == "promoting":
        return state
    if state.status not in ("running", "holding"):
        raise RolloutRefused(f"the rollout of {state.model} is {state.status}", expected="one that runs")
    return _note(state, now, "promoting", why)


def flipping(state: RolloutState, before: Pointer) -> RolloutState:
    """Remembers the pointer as it was, before it is moved."""
    return state.model_copy(update={"pointer_before": before})


def promoted(state: RolloutState, now: float, why: tuple[str, ...] = ()) -> RolloutState:
    """The canary is the stable version."""
    return _note(_close(state, now), now, "promoted", why)


def abort(state: RolloutState, why: tuple[str, ...], now: float) -> RolloutState:
    """Back to the stable version. Raises RolloutRefused when it is over; repeated, it changes nothing."""
    if state.status in ("aborting", "aborted"):
        return state
    if not state.active:
        raise RolloutRefused(
            f"the rollout of {state.model} is {state.status}",
            fix=f"`slipway rollback {state.model}` goes back to the previous version",
        )
    return _note(_close(state, now), now, "aborting", why)


def aborted(state: RolloutState, now: float) -> RolloutState:
    """Traffic is back."""
    return _note(state, now, "aborted", state.reasons)


def exposed(state: RolloutState, now: float) -> RolloutState:
    """The present share has come into force at ``now``; what was written just before is near enough."""
    if not state.segments or now - state.segments[-1].since <= _AT_ONCE:
        return state
    last = state.segments[-1].model_copy(update={"since": now})
    return state.model_copy(update={"segments": (*state.segments[:-1], last), "step_started": now})


def stop(state: RolloutState, why: tuple[str, ...], now: float) -> RolloutState:
    """Ends it without a judgement. Raises RolloutRefused while the pointer is being moved."""
    if state.status == "promoting":
        raise RolloutRefused(
            f"{state.model} is being promoted", fix=f"`slipway route {state.model} --abort` takes that back"
        )
    if not state.active:
        return state
    return _note(_close(state, now), now, "stopped", why)


def overtaken(state: RolloutState, stable: int, now: float) -> RolloutState:
    """Somebody moved the pointer to ``stable`` by hand: the rollout is over, as a promotion or as a stop."""
    status: Status = "promoted" if stable == state.plan.canary else "stopped"
    return _note(_close(state, now), now, status, (f"the pointer was moved to version {stable} by hand",))


def _settle(state: RolloutState, status: Status, reasons: tuple[str, ...], now: float) -> RolloutState:
    """Changes the status only: reasons hold numbers that change with every request, and are not worth a write."""
    return state if state.status == status else _note(state, now, status, reasons)


def _restart_step(state: RolloutState, now: float) -> RolloutState:
    segments = (*_closed(state, now), Segment(share=state.share, since=now))
    return state.model_copy(update={"step_started": now, "segments": segments})


def _close(state: RolloutState, now: float) -> RolloutState:
    return state.model_copy(update={"segments": _closed(state, now)})


def _closed(state: RolloutState, now: float) -> tuple[Segment, ...]:
    return tuple(item if item.until is not None else item.model_copy(update={"until": now}) for item in state.segments)


def _note(state: RolloutState, now: float, status: Status, why: tuple[str, ...]) -> RolloutState:
    entry = Transition(time=now, status=status, step=state.step, share=state.share, why=why)
    history = (*state.history, entry)[-HISTORY:]
    return state.model_copy(update={"status": status, "reasons": why, "history": history})


def _step_at(state: RolloutState, plan: RoutePlan) -> int:
    """The first step of the new walk that takes nobody out."""
    shares = [step.share for step in plan.walk]
    fitting = [index for index, share in enumerate(shares) if share >= state.share]
    if shares and not fitting:
        raise RolloutRefused(
            f"{state.model}: a smaller share would take units out of the canary",
            observed=show_share(max(shares)),
            expected=f"at least {show_share(state.share)}",
            fix=f"`slipway route {state.model} --stop`, then start anew",
        )
    return fitting[0] if fitting else 0


def _another(state: RolloutState, key: str, plan: RoutePlan) -> RolloutRefused:
    def show(value: RoutePlan) -> str:
        found = getattr(value, key)
        return "none" if found is None else ", ".join(found) if isinstance(found, tuple) else str(found)

    return RolloutRefused(
        f"a rollout of {state.model} runs, and this is another one: {key} differs",
        observed=show(plan),
        expected=show(state.plan),
        fix=f"end the one that runs: `slipway route {state.model} --promote`, `--abort` or `--stop`",
    )
