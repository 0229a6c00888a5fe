"""What a declared file would change of the rollouts that run, before anything is written."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from routing.plan.diff import diff
from routing.plan.model import RoutePlan, Routes
from routing.rollout import machine
from routing.rollout import state as states
from routing.rollout.check import check_layers, check_plan
from routing.rollout.state import RolloutState
from slipway.repository import Repository
from slipway.settings import Settings


@dataclass(frozen=True)
class Change:
    """One model of the file. ``says``: in words; ``lines``: what differs, by key; ``acts``: whether there is to do."""

    model: str
    plan: RoutePlan
    says: str
    lines: tuple[str, ...] = ()
    acts: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {"model": self.model, "says": self.says, "lines": list(self.lines), "acts": self.acts}


def changes(settings: Settings, routes: Routes) -> list[Change]:
    """In the file's order. Raises what a start of them would raise, so that nothing is done by halves."""
    layered = [(model, plan.layer) for model, plan in routes.models.items() if plan.layer is not None]
    for (model, layer), (other, taken) in itertools.combinations(layered, 2):
        check_layers(model, layer, other, taken)
    return [_change(settings, model, plan) for model, plan in routes.models.items()]


def _change(settings: Settings, model: str, plan: RoutePlan) -> Change:
    repository = Repository(settings.repository)
    stable = repository.pointer(model).stable
    state = states.read(settings.repository, model)
    if state is not None and state.active:
        return _of_active(model, plan, state, repository)
    if plan.canary == stable:
        return Change(model, plan, f"version {stable} is the stable one already")
    if state is not None and state.status == "aborted" and _tried(state.plan) == _tried(plan):
        # a file that is applied again and again must not bring back what was taken out for a reason
        return Change(
            model,
            plan,
            f"{' '.join(map(str, _tried(plan)))} was aborted ({'; '.join(state.reasons)})"
            " and is not started again from a file;"
            f" `slipway route {model} --{'shadow' if plan.canary is None else 'canary'} ...` does",
        )
    check_plan(model, plan, repository)
    return Change(model, plan, "starts", tuple(diff(None, plan)), acts=True)


def _tried(plan: RoutePlan) -> tuple[str, int | None]:
    """What the plan is about: its canary, or the shadow of one without."""
    if plan.canary is None and plan.shadow is not None:
        return "shadow version", plan.shadow.version
    return "version", plan.canary


def _of_active(model: str, plan: RoutePlan, state: RolloutState, repository: Repository) -> Change:
    lines = tuple(diff(state.plan, plan))
    if not lines:
        return Change(model, plan, f"{state.status} as declared")
    machine.amend(state, plan, state.ended)
    check_plan(model, plan, repository)
    return Change(model, plan, "changes", lines, acts=True)
