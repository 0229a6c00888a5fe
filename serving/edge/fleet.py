"""The ways of requests in a fleet: a version with places goes to the cluster of all of them, here and on other servers.

Their hosts are in ``serving.edge.fleet_clusters``. Without other servers no version has places, and nothing is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serving.edge.experiments import version_name

Json = dict[str, Any]
#: (model, version) -> the places where it is proven: HERE, and names of servers.
Places = Mapping[tuple[str, int], tuple[str, ...]]

#: This machine's own engine.
HERE = "here"
_RETRIES_ON_OTHERS = 5


def metadata(places: Places) -> Json:
    """What ``lua/fleet.lua`` reads: per model, its versions that have places, and whether this machine is one."""
    table: Json = {}
    for (model, version), names in places.items():
        table.setdefault(f"places:{model}", {})[str(version)] = "here" if HERE in names else "elsewhere"
    return table


def routes(places: Places, retry: Json) -> Iterator[tuple[str, str, Json]]:
    """``(value of x-slipway-route, transport, what the route's action adds)``. ``retry``: the policy of inference."""
    elsewhere = {
        **retry,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": _RETRIES_ON_OTHERS,
    }
    for model, version in places:
        # the more special match first
        for transport in ("grpc", "http"):
            action = {"cluster": version_name(model, version, transport), "retry_policy": elsewhere}
            yield f"{model}/{version}+all", transport, action


def stable_cluster(places: Places, model: str, version: int, own: Mapping[str, str]) -> dict[str, str]:
    """transport -> the cluster of an experiment's stable version: all its places, or the engine's ``own``."""
    if (model, version) not in places:
        return dict(own)
    return {transport: version_name(model, version, transport) for transport in own}
