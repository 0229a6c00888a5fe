"""What the data plane is told, as a function of the rollout's state."""

from __future__ import annotations

from routing.plan.share import buckets
from routing.rollout.state import EXPOSED, RolloutState
from slipway.experiment import BUCKETS, Arm, Experiment, Layer, Shadow

#: The canary's units begin here for ever: a larger share adds buckets at the end and takes nobody out.
_START = 0


def experiment_of(state: RolloutState) -> Experiment | None:
    """The experiment of a state; while it aborts, only that its versions stay loaded; None when it is over.

    The same state gives the same experiment, so that it can be written again after a crash.
    """
    if state.status in ("promoted", "stopped"):
        return None
    plan = state.plan
    if state.status not in EXPOSED:
        # no header, no layer: whatever of the plan did harm ends with the abort
        return Experiment(model=state.model, id=state.experiment, salt=state.salt, stable=state.stable, record=0)
    return Experiment(
        model=state.model,
        id=state.experiment,
        salt=state.salt,
        stable=state.stable,
        arms=_arms(state),
        shadow=_shadow(state),
        units=plan.units,
        override=plan.override,
        allow=dict(plan.allow),
        layer=_layer(state),
        record=buckets(plan.record),
        compare=buckets(plan.compare) if plan.canary is not None else 0,
        compare_concurrency=plan.compare_concurrency,
        keep_images=plan.keep_images,
        fallback=plan.fallback,
        try_timeout=plan.try_timeout,
    )


def _arms(state: RolloutState) -> tuple[Arm, ...]:
    if state.plan.canary is None:
        return ()
    return (Arm(version=state.plan.canary, start=_START, width=buckets(state.share)),)


def _shadow(state: RolloutState) -> Shadow | None:
    shadow = state.plan.shadow
    if shadow is None or state.status == "promoting":
        return None
    return Shadow(version=shadow.version, buckets=buckets(shadow.share), concurrency=shadow.concurrency)


def _layer(state: RolloutState) -> Layer | None:
    layer = state.plan.layer
    if layer is None:
        return None
    start, stop = buckets(layer.start), buckets(layer.stop)
    return Layer(name=layer.name, start=start, width=min(stop, BUCKETS) - start)
