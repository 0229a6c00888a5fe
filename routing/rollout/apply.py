"""Makes experiment.json and the pointer fit a rollout's state. Idempotent: after a crash, it is simply done again.

Order is what keeps every request answered: on the way to promotion the experiment goes last, after the servers route
the new version; on the way back it goes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from routing.rollout import machine
from routing.rollout.experiment import experiment_of
from routing.rollout.state import EXPOSED, RolloutState
from serving.state import running_state
from slipway import experiment as experiments
from slipway.errors import ExperimentInvalid, SlipwayError, VersionLoadFailed
from slipway.experiment import Experiment
from slipway.repository import Pointer, Repository
from slipway.settings import Settings

#: An aborted experiment stays this long without arms, so that its versions are loaded until their last answers.
LINGER_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """Where a rollout takes effect."""

    settings: Settings

    @property
    def repository(self) -> Repository:
        """The repository that is served."""
        return Repository(self.settings.repository)


def apply(state: RolloutState, place: Place, now: float) -> RolloutState:
    """One pass: writes what differs, and returns the state that follows from what was found.

    The caller keeps the returned state; a later pass goes on from it. Returns at once: what has to be waited for (the
    servers route the new version) is looked at again by the next pass. Raises OSError for a disk that fails.
    """
    if state.status in EXPOSED and (after := _overtaken(state, place, now)) is not None:
        return after
    if state.status in ("running", "holding"):
        return _expose(state, place, now)
    if state.status == "promoting":
        return _promote(state, place, now)
    if state.status == "aborting":
        return _abort(state, place, now)
    if not _lingers(state, place, now):
        _remove(place, state)
    return state


def is_settled(state: RolloutState, place: Place) -> bool:
    """Whether nothing is left to do: it is over, and its experiment is gone."""
    found = None if state.active else _on_disk(place, state.model)
    return not state.active and (found is None or found.id != state.experiment)


def _lingers(state: RolloutState, place: Place, now: float) -> bool:
    if state.status != "aborted" or now >= state.ended + LINGER_SECONDS or not is_served(place, state.model):
        return False
    pointer = place.repository.pointer_or_none(state.model)
    return pointer is None or pointer.stable == state.stable


def is_served(place: Place, model: str) -> bool:
    """Whether a supervisor serves this model of this repository now."""
    found = running_state(place.settings.state_dir)
    ours = found is not None and found.repository == str(place.settings.repository)
    return ours and found is not None and found.model(model) is not None


def _expose(state: RolloutState, place: Place, now: float) -> RolloutState:
    """A share that comes into force later than the state says (its writer was killed before it wrote the experiment)
    begins now: requests of the time between had the old one, and would be counted against the new."""
    before, wanted = _on_disk(place, state.model), experiment_of(state)
    _write(place, wanted)
    late = before is None or wanted is None or before.id != wanted.id or before.arms != wanted.arms
    return machine.exposed(state, now) if late else state


def _overtaken(state: RolloutState, place: Place, now: float) -> RolloutState | None:
    """Somebody used `slipway promote` or `rollback`: the experiment must not hide what they asked for."""
    pointer = place.repository.pointer_or_none(state.model)
    ours = (state.stable,) if state.pointer_before is None else (state.stable, state.plan.canary)
    if pointer is None or pointer.stable in ours:
        return None
    _remove(place, state)
    return machine.overtaken(state, pointer.stable, now)


def _promote(state: RolloutState, place: Place, now: float) -> RolloutState:
    canary = state.plan.canary
    if canary is None:
        return machine.abort(state, ("there is no canary to promote",), now)
    try:
        if state.pointer_before is None:
            # everything that may refuse comes before the pointer's old value is kept; the flip is a later pass
            place.repository.verify(state.model, canary)
            return machine.flipping(state, place.repository.pointer(state.model))
        _write(place, experiment_of(state))
        pointer = place.repository.pointer(state.model)
        if pointer.stable != canary:
            pointer = place.repository.set_pointer(state.model, canary)
        if not _routed(place, state.model, canary, pointer):
            return state
    except SlipwayError as problem:
        return machine.abort(state, (f"not promoted: {problem.message}", *_observed(problem)), now)
    _remove(place, state)
    return machine.promoted(state, now, state.reasons)


def _abort(state: RolloutState, place: Place, now: float) -> RolloutState:
    _write(place, experiment_of(state))
    if state.pointer_before is not None:
        pointer = place.repository.pointer_or_none(state.model)
        if pointer is not None and pointer.stable == state.plan.canary:
            place.repository.restore_pointer(state.model, state.pointer_before, pointer)
    return machine.aborted(state, now)


def _routed(place: Place, model: str, version: int, pointer: Pointer) -> bool:
    """Whether requests without a version reach ``version``; also when nobody serves the model.

    As serving.control.wait_until_routed, without waiting. Raises VersionLoadFailed when the supervisor refused it
    after it saw this pointer.
    """
    if not is_served(place, model):
        return True
    served = running_state(place.settings.state_dir)
    found = served.model(model) if served else None
    if found is None or found.routed == version:
        return found is not None
    number = found.version(version)
    seen = found.pointer == version and found.pointer_updated >= pointer.updated
    if seen and number is not None and number.state == "failed":
        raise VersionLoadFailed(f"{model} version {version} is not served", observed=number.reason)
    return False


def _observed(problem: SlipwayError) -> tuple[str, ...]:
    return () if problem.observed is None else (str(problem.observed),)


def _on_disk(place: Place, model: str) -> Experiment | None:
    try:
        return experiments.read(place.settings.repository, model)
    except ExperimentInvalid:
        # it is about to be replaced by one that can be understood
        return None


def _write(place: Place, experiment: Experiment | None) -> None:
    if experiment is not None and _on_disk(place, experiment.model) != experiment:
        experiments.write(place.settings.repository, experiment)


def _remove(place: Place, state: RolloutState) -> None:
    """Only this rollout's own experiment, or one that nobody understands."""
    found = _on_disk(place, state.model)
    if found is None or found.id == state.experiment:
        experiments.remove(place.settings.repository, state.model)
