"""The clusters of an experiment's versions, in a file that Envoy watches.

A version is a cluster of its own, so that Envoy counts, limits and ejects it alone. An arm's requests go to an
aggregate of the arm's cluster and the stable one's: a failed try, or an ejected arm, moves on to the stable version.
Which version a try meets is in the metadata of the host that Envoy picked; ``lua/tries.lua`` writes it into the
request.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from serving.edge import admin, fleet_clusters
from serving.edge.clusters import MAX_REQUESTS, circuit_breakers, engine_cluster, inner_endpoint, upstream_options
from serving.edge.experiments import LiveExperiment, again_name, aggregate_name, copies, version_name
from serving.edge.fleet import Places
from serving.edge.listeners import AGAIN_HEADER, AGAIN_LISTENER, HOST_VERSION, header_mutation, lua_filter
from serving.edge.process import EdgeConfig
from serving.edge.protocols import PROTOCOLS
from serving.edge.watched_file import digest, replace_watched

Json = dict[str, Any]

#: Requests of one arm that may be under way at once; more are answered by SERVER_UNAVAILABLE.
MAX_ARM_REQUESTS = 1024
#: Failures in a row after which an arm gets no traffic for a while: its units see the stable version.
EJECT_AFTER = 5
_NOWHERE: Places = {}

_TYPE = "type.googleapis.com/envoy.extensions"
_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


#: Envoy's own field of a host that is out for a while.
_EJECTION = {
    "consecutive_5xx": EJECT_AFTER,
    "enforcing_consecutive_5xx": 100,
    "enforcing_success_rate": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "interval": "1s",
    "base_ejection_time": "5s",
    "max_ejection_time": "60s",
    "max_ejection_percent": 100,
}


def _filters(config: EdgeConfig, **headers: str) -> list[Json]:
    """The version of the host that was picked, as a header, with ``headers``; then the script that reads it."""
    named = header_mutation("request_mutations", {"x-slipway-try": HOST_VERSION, **headers})
    return [named, lua_filter(PROTOCOLS[config.engine].tries)]


def _about(version: int) -> Json:
    return {"filter_metadata": {"slipway": {"version": str(version)}}}


def _version(config: EdgeConfig, name: str, version: int, transport: str, limit: int = MAX_ARM_REQUESTS) -> Json:
    filters = _filters(config)
    return {"@type": _CLUSTER, **engine_cluster(config, name, transport, filters, limit, metadata=_about(version))}


def _again(config: EdgeConfig, model: str, stable: int, transport: str) -> Json:
    """The stable version behind Envoy's inner listener, whose router repeats what never reached a model. An arm's own
    router tries twice and no more, so that no request is multiplied."""
    name = again_name(model, stable, transport)
    host = {"endpoint": inner_endpoint(AGAIN_LISTENER), "metadata": _about(stable)}
    return {
        "@type": _CLUSTER,
        **engine_cluster(config, name, transport, (), MAX_ARM_REQUESTS),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }


def _aggregate(config: EdgeConfig, model: str, arm: int, stable: int, transport: str) -> Json:
    members = [version_name(model, arm, transport), again_name(model, stable, transport)]
    again = {AGAIN_HEADER: version_name(model, stable, transport)}  # filters are those of the aggregate, not the member
    return {
        "@type": _CLUSTER,
        "name": aggregate_name(model, arm, transport),
        "lb_policy": "CLUSTER_PROVIDED",
        # the router counts its retries here, and all requests that an arm has may fail at once
        "circuit_breakers": circuit_breakers(MAX_ARM_REQUESTS),
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {"@type": f"{_TYPE}.clusters.aggregate.v3.ClusterConfig", "clusters": members},
        },
        **upstream_options(config, transport, _filters(config, **again)),
    }


def clusters(config: EdgeConfig, live: LiveExperiment) -> list[Json]:
    """The clusters of an experiment's versions, for both transports."""
    found, made = live.experiment, []
    copied = {found.stable: found.compare_concurrency}
    if live.shadow is not None and found.shadow is not None:
        copied[live.shadow] = found.shadow.concurrency
    for transport in ("http", "grpc"):
        stable = version_name(found.model, found.stable, transport)
        made.append(_version(config, stable, found.stable, transport, MAX_REQUESTS))
        made.append(_again(config, found.model, found.stable, transport))
        for arm in live.arms:
            cluster = _version(config, version_name(found.model, arm, transport), arm, transport)
            # without a fallback nobody else answers: an ejected arm's units would get nothing at all
            made.append({**cluster, "outlier_detection": _EJECTION} if found.fallback else cluster)
            made.append(_aggregate(config, found.model, arm, found.stable, transport))
        for version, limit in copied.items():
            made.append(_version(config, copies(found.model, version, transport), version, transport, limit))
    return made


def _spread(config: EdgeConfig, named: dict[str, Json], places: Places) -> None:
    """The versions of a fleet: clusters of experiments get their hosts too, other versions get clusters."""
    for key, names in places.items():
        for transport in fleet_clusters.TRANSPORTS:
            for name in fleet_clusters.cluster_names(key, names, transport):
                if name == version_name(*key, transport):
                    named.setdefault(name, _version(config, name, key[1], transport, MAX_REQUESTS))
                if name in named:
                    named[name] = fleet_clusters.spread(config, named[name], names, transport)


def discovery_response(config: EdgeConfig, experiments: Sequence[LiveExperiment], places: Places = _NOWHERE) -> Json:
    """The content of the clusters file; its ``version_info`` is a hash of it. Of two clusters of one name, the one of
    the earlier experiment stays. ``places``: see ``serving.edge.fleet``."""
    named: dict[str, Json] = {}
    for cluster in (cluster for live in experiments for cluster in clusters(config, live)):
        named.setdefault(cluster["name"], cluster)
    _spread(config, named, places)
    resources = list(named.values())
    return {"version_info": digest(resources), "resources": resources}


def names(config: EdgeConfig, experiments: Sequence[LiveExperiment], places: Places = _NOWHERE) -> frozenset[str]:
    """The clusters that routes of these may name."""
    return frozenset(cluster["name"] for cluster in discovery_response(config, experiments, places)["resources"])


def update(config: EdgeConfig, experiments: Sequence[LiveExperiment], places: Places = _NOWHERE) -> None:
    """Replaces the clusters of versions; requests under way in clusters that go are finished."""
    replace_watched(config.clusters_path, config.work_dir, discovery_response(config, experiments, places))


def wait_in_force(
    config: EdgeConfig, experiments: Sequence[LiveExperiment], timeout: float, places: Places = _NOWHERE
) -> bool:
    """Whether Envoy has taken exactly these clusters within ``timeout`` seconds. Raises ServerNotRunning."""
    expected = discovery_response(config, experiments, places)["version_info"]
    deadline = time.monotonic() + timeout
    while admin.clusters_version(config) != expected:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
