"""What is true of a rollout: ``<repository>/<model>/rollout.json``, replaced by atomic rename.

Experiment and pointer follow from it. Whoever is killed between two writes leaves this file, and whoever comes next
makes the others fit it.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from routing.plan.model import RoutePlan, Step
from slipway.errors import ExperimentInvalid
from slipway.files import remove_whatever, write_atomically
from slipway.repository import Pointer
from slipway.spec.base import Section

FILE_NAME = "rollout.json"
_LOCK = ".rollout.lock"
_LAYERS_LOCK = ".layers.lock"
#: Transitions kept; the oldest go first.
HISTORY = 200

Status = Literal["running", "holding", "promoting", "promoted", "aborting", "aborted", "stopped"]
#: Somebody has to do something for these; the others are over.
ACTIVE: frozenset[str] = frozenset(("running", "holding", "promoting", "aborting"))
#: Units see the canary, or copies reach the shadow.
EXPOSED: frozenset[str] = frozenset(("running", "holding", "promoting"))


class _Kept(Section):
    """A part of the file; times are real ones."""

    model_config = ConfigDict(allow_inf_nan=False)


class Segment(_Kept):
    """A time (epoch seconds) in which the canary's share stayed the same; ``until`` is None for the present one."""

    share: float
    since: float
    until: float | None = None


class Transition(_Kept):
    """One change: when (epoch seconds), to which status and step (0-based), and why."""

    time: float
    status: Status
    step: int
    share: float
    why: tuple[str, ...] = ()


class RolloutState(_Kept):
    """One rollout of one model, and the last one when it is over.

    ``experiment`` and ``salt`` never change in a rollout's life: they are the assignment of units. ``step``: 0-based
    index of ``plan.walk``; ``step_started``: epoch seconds. ``pointer_before``: the repository's pointer before the
    promotion, for the way back.
    """

    model: str
    plan: RoutePlan
    experiment: str
    salt: str
    stable: int
    started: float
    step: int = 0
    step_started: float
    segments: tuple[Segment, ...] = ()
    status: Status = "running"
    reasons: tuple[str, ...] = ()
    history: tuple[Transition, ...] = Field(default=())
    pointer_before: Pointer | None = None

    @property
    def active(self) -> bool:
        """Whether it is not over."""
        return self.status in ACTIVE

    @property
    def now_at(self) -> Step | None:
        """The present step; None without a canary."""
        return self.plan.walk[self.step] if self.plan.walk else None

    @property
    def share(self) -> float:
        """The canary's share of all units, 0..1, as the plan has it at the present step."""
        return self.now_at.share if self.now_at else 0.0

    @property
    def ended(self) -> float:
        """Epoch seconds of the last transition."""
        return self.history[-1].time if self.history else self.started


def path_of(repository: Path, model: str) -> Path:
    """Where a model's rollout lies."""
    return repository / model / FILE_NAME


def read(repository: Path, model: str) -> RolloutState | None:
    """The rollout of ``model``; None without one. Raises ExperimentInvalid for a file that cannot be understood,
    whatever is wrong with it."""
    path = path_of(repository, model)
    try:
        state = RolloutState.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as problem:
        raise _invalid(model, f"{path} cannot be understood", str(problem).splitlines()[0]) from problem
    if state.model != model:
        raise _invalid(model, f"{path} is of another model", state.model, model)
    if state.plan.walk and not 0 <= state.step < len(state.plan.walk):
        raise _invalid(model, f"{path}: there is no such step", str(state.step), f"0..{len(state.plan.walk) - 1}")
    return state


def _invalid(model: str, message: str, observed: str, expected: str | None = None) -> ExperimentInvalid:
    fix = f"`slipway route {model} --stop` ends the rollout and removes the file"
    return ExperimentInvalid(message, observed=observed, expected=expected, fix=fix)


def write(repository: Path, state: RolloutState) -> None:
    """Replaces the state in one step. Raises ExperimentInvalid for one that could not be read again."""
    text = state.model_dump_json(indent=1, exclude_defaults=True)
    try:
        RolloutState.model_validate_json(text)
    except ValidationError as problem:
        first = problem.errors()[0]
        raise ExperimentInvalid(
            f"the rollout of {state.model} cannot be written",
            observed=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            fix="correct the plan",
        ) from problem
    write_atomically(path_of(repository, state.model), text)


def remove(repository: Path, model: str) -> None:
    """Removes the state, whatever is wrong with it."""
    remove_whatever(path_of(repository, model))


def rolled_out(repository: Path) -> list[str]:
    """Names of the models that have, or had, a rollout; sorted."""
    return sorted(path.parent.name for path in repository.glob(f"*/{FILE_NAME}"))


@contextlib.contextmanager
def locked(repository: Path, model: str) -> Iterator[None]:
    """Command line and controller change one model's rollout one after the other.

    Its own lock: publishing and the pointer have another, which promoting takes inside this one.
    """
    with (repository / model / _LOCK).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def layers_locked(repository: Path) -> Iterator[None]:
    """Rollouts with a layer start one after the other, over all models: each sees what the others have taken.

    Taken before the model's own lock.
    """
    with (repository / _LAYERS_LOCK).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
