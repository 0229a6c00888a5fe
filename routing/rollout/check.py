"""Whether a plan fits the repository and the experiments of other models, before anything is written."""

from __future__ import annotations

from routing.plan.model import LayerPlan, RoutePlan
from routing.plan.share import show_share
from routing.rollout import state as states
from slipway.errors import ExperimentInvalid, RolloutRefused, RoutesInvalid
from slipway.repository import Repository


def check_plan(model: str, plan: RoutePlan, repository: Repository) -> int:
    """Returns the stable version. Raises ModelNotFound, VersionNotFound, RoutesInvalid or RolloutRefused."""
    stable = repository.pointer(model).stable
    for named in plan.versions:
        repository.version_dir(model, named)
    shadow = plan.shadow.version if plan.shadow else None
    for what, version in (("canary", plan.canary), ("shadow", shadow)):
        if version == stable:
            raise RoutesInvalid(
                f"{model}: the {what} is the stable version",
                observed=f"version {version}",
                expected=f"one of {', '.join(str(item) for item in repository.versions(model) if item != stable)}",
                fix=f"`slipway versions {model}` lists what is published",
            )
    if plan.layer is not None:
        _check_layer(model, plan.layer, repository)
    return stable


def check_layers(model: str, layer: LayerPlan, other: str, taken: LayerPlan) -> None:
    """Raises RolloutRefused when two models' experiments of one layer would share units."""
    if taken.name == layer.name and layer.start < taken.stop and taken.start < layer.stop:
        raise RolloutRefused(
            f"layer {layer.name!r}: {model} and {other} would share units",
            observed=f"{show_share(layer.start)}-{show_share(layer.stop)}",
            expected=f"a part outside {show_share(taken.start)}-{show_share(taken.stop)}",
            fix="give each experiment of a layer its own part of it",
        )


def _check_layer(model: str, layer: LayerPlan, repository: Repository) -> None:
    for other in states.rolled_out(repository.path):
        taken = _layer_of(other, repository) if other != model else None
        if taken is not None:
            check_layers(model, layer, other, taken)


def _layer_of(model: str, repository: Repository) -> LayerPlan | None:
    try:
        state = states.read(repository.path, model)
    except ExperimentInvalid:
        return None
    return state.plan.layer if state is not None and state.active else None
