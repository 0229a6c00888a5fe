"""What people ask of a rollout: start, change, promote, abort, stop. Works without a controller and without servers.

The state is written first, then what follows from it; the controller goes on from any place where this ends.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from routing.plan.model import RoutePlan
from routing.rollout import journal, machine
from routing.rollout import state as states
from routing.rollout.apply import Place, apply
from routing.rollout.check import check_plan
from routing.rollout.state import RolloutState
from slipway import experiment as experiments
from slipway.errors import ExperimentInvalid, ExperimentUnknown
from slipway.settings import Settings

#: A pass of ``apply`` that changed the state is followed by another; none needs more than these.
_PASSES = 5


def start(settings: Settings, model: str, plan: RoutePlan) -> RolloutState:
    """Starts a rollout, or changes the one that runs where nobody leaves the canary by that.

    Raises ModelNotFound, VersionNotFound, RoutesInvalid or RolloutRefused.
    """
    repository = Place(settings).repository
    repository.version_dir(model, repository.pointer(model).stable)

    def change(old: RolloutState | None) -> RolloutState:
        if old is not None and old.active:
            changed = machine.amend(old, plan, time.time())
            if changed is not old:
                check_plan(model, plan, repository)
            return changed
        return machine.begin(model, plan, check_plan(model, plan, repository), time.time())

    with states.layers_locked(settings.repository) if plan.layer is not None else contextlib.nullcontext():
        return transact(settings, model, change)


def promote(settings: Settings, model: str) -> RolloutState:
    """Moves the pointer to the canary. Raises ExperimentUnknown or RolloutRefused."""
    return _change(settings, model, lambda state: machine.promote(state, time.time(), ("a person promoted it",)))


def abort(settings: Settings, model: str) -> RolloutState:
    """All units back to the stable version at once. Raises ExperimentUnknown or RolloutRefused."""
    return _change(settings, model, lambda state: machine.abort(state, ("a person aborted it",), time.time()))


def stop(settings: Settings, model: str) -> RolloutState | None:
    """Ends it without a judgement; a rollout.json or experiment.json that nobody understands is removed.

    Raises ExperimentUnknown or RolloutRefused.
    """
    try:
        return _change(settings, model, lambda state: machine.stop(state, ("a person stopped it",), time.time()))
    except ExperimentInvalid:
        with states.locked(settings.repository, model):
            experiments.remove(settings.repository, model)
            states.remove(settings.repository, model)
        return None


def current(settings: Settings, model: str) -> RolloutState:
    """The rollout of a model, over or not; raises ExperimentUnknown, ModelNotFound for a model that is not there."""
    Place(settings).repository.versions(model)
    return _known(states.read(settings.repository, model), model)


def touch(settings: Settings, model: str) -> RolloutState:
    """One pass that changes nothing by itself: what was waited for may have come. Raises ExperimentUnknown."""
    return _change(settings, model, lambda state: state)


def transact(settings: Settings, model: str, change: Callable[[RolloutState | None], RolloutState]) -> RolloutState:
    """Reads, changes, writes and applies a rollout under its lock. ``change`` may raise: then nothing is written."""
    place = Place(settings)
    with states.locked(settings.repository, model):
        before = states.read(settings.repository, model)
        state = change(before)
        _keep(settings, before, state)
        for _ in range(_PASSES):
            after = apply(state, place, time.time())
            if after == state:
                break
            _keep(settings, state, after)
            state = after
    return state


def _keep(settings: Settings, before: RolloutState | None, after: RolloutState) -> None:
    if after != before:
        states.write(settings.repository, after)
        journal.note(settings, before, after)


def _change(settings: Settings, model: str, change: Callable[[RolloutState], RolloutState]) -> RolloutState:
    Place(settings).repository.versions(model)
    return transact(settings, model, lambda state: change(_known(state, model)))


def _known(state: RolloutState | None, model: str) -> RolloutState:
    if state is None:
        raise ExperimentUnknown(
            f"{model} has no rollout",
            fix=f"start one: `slipway route {model} --canary VERSION=SHARE` or `--shadow VERSION`",
        )
    return state
