"""The edge's half of an experiment: what the Lua filter reads, and the ways that its requests can go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slipway.experiment import Experiment

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True)
class LiveExperiment:
    """An experiment and those of its versions that answer now; the others get no traffic."""

    experiment: Experiment
    ready: tuple[int, ...]

    @property
    def arms(self) -> tuple[int, ...]:
        """Versions other than the stable one that requests may go to."""
        wanted = [*(arm.version for arm in self.experiment.arms), *self.experiment.allow.values()]
        return tuple(v for v in dict.fromkeys(wanted) if v in self.ready and v != self.experiment.stable)

    @property
    def shadow(self) -> int | None:
        """The version that gets copies of the stable one's requests."""
        shadow = self.experiment.shadow
        return shadow.version if shadow is not None and shadow.version in self.ready else None


def metadata(live: LiveExperiment) -> Json:
    """What ``lua/experiments.lua`` reads of one experiment; versions as text."""
    found = live.experiment
    arms = [
        {"version": str(arm.version), "start": arm.start, "width": arm.width, "ready": arm.version in live.arms}
        for arm in found.arms
    ]
    layer = found.layer
    return {
        "id": found.id,
        "salt": found.salt,
        "stable": str(found.stable),
        "arms": arms,
        "units": list(found.units),
        "override": found.override,
        "allow": {unit: str(version) for unit, version in found.allow.items() if version in live.ready},
        **({"layer": {"name": layer.name, "start": layer.start, "width": layer.width}} if layer else {}),
        "record": found.record,
        "compare": found.compare,
        "shadow": found.shadow.buckets if found.shadow and live.shadow is not None else 0,
        "keep_images": found.keep_images,
        "fallback": found.fallback,
        "routes": {str(version): True for version in live.arms},
    }


def version_name(model: str, version: int, transport: str) -> str:
    """The cluster of one version."""
    return f"{model}/{version}/{transport}"


def aggregate_name(model: str, version: int, transport: str) -> str:
    """The cluster of an arm that moves on to the stable version."""
    return f"{version_name(model, version, transport)}+stable"


def again_name(model: str, version: int, transport: str) -> str:
    """The cluster of the stable version as what an arm's request falls back to."""
    return f"{version_name(model, version, transport)}+again"


def copies(model: str, version: int, transport: str) -> str:
    """The cluster that a copy goes to: the version with a limit of its own."""
    return f"{version_name(model, version, transport)}+copies"


def _mirror(cluster: str) -> Json:
    return {"request_mirror_policies": [{"cluster": cluster, "disable_shadow_host_suffix_append": True}]}


def _onwards(found: Experiment, retry: Json) -> Json:
    """An arm's one try, then the stable version's, which repeats by itself what is worth it.

    At ``try_timeout`` the stable version is asked beside an arm that has not answered, and the first good answer counts
    (Envoy's hedging): its limit of a try would else end the stable version's too. The arm's time-out is a failure.
    """
    priority = {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": f"{_TYPE}.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    }
    limits = {"num_retries": 1, "per_try_timeout": f"{found.try_timeout:g}s"}
    return {
        "retry_policy": {**retry, **limits, "retry_priority": priority},
        "hedge_policy": {"hedge_on_per_try_timeout": True},
    }


def routes(live: LiveExperiment, stable_cluster: dict[str, str], retry: Json) -> Iterator[tuple[str, str, Json]]:
    """``(value of x-slipway-route, transport, what the route's action adds)`` for every way a request can go.

    ``stable_cluster``: transport -> the engine's own cluster. ``retry``: the retry policy of inference.
    """
    found, model = live.experiment, live.experiment.model
    onwards = _onwards(found, retry)
    for transport in ("grpc", "http"):
        for arm in live.arms:
            cluster = aggregate_name(model, arm, transport) if found.fallback else version_name(model, arm, transport)
            action = {"cluster": cluster, **(onwards if found.fallback else {"retry_policy": retry})}
            yield f"{model}/{arm}", transport, action
            copy = _mirror(copies(model, found.stable, transport))
            yield f"{model}/{arm}+copy", transport, {**action, **copy}
        if live.shadow is not None:
            action = {"cluster": stable_cluster[transport], "retry_policy": retry}
            copy = _mirror(copies(model, live.shadow, transport))
            yield f"{model}/{found.stable}+copy", transport, {**action, **copy}
