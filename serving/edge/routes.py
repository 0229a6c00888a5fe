"""The routing table of the edge: one file, replaced by atomic rename, that changes HTTP and gRPC together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from serving.edge import admin, fleet
from serving.edge import experiments as live
from serving.edge.experiments import LiveExperiment
from serving.edge.fleet import Places
from serving.edge.process import EdgeConfig
from serving.edge.protocols import PROTOCOLS
from serving.edge.watched_file import digest, replace_watched
from slipway.errors import ServerNotRunning

Json = dict[str, Any]

ROUTE_TABLE = "slipway"
HTTP_CLUSTER = "engine_http"
GRPC_CLUSTER = "engine_grpc"
DISCARD_CLUSTER = "discard"

_ROUTE_TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


@dataclass(frozen=True)
class EdgeRoutes:
    """What the edge may promise to clients.

    ``ready``: whether ``/v2/health/ready`` answers 200. ``default_versions``: the version that a request without one
    goes to, for every model that may be called without one (public models and networks alike). ``experiments``: what
    divides a model's requests; ``places``: with other servers, where a version is proven (``serving.edge.fleet``).
    Their clusters must be there first (``serving.edge.experiment_clusters``).
    """

    ready: bool
    default_versions: dict[str, int] = field(default_factory=dict)
    experiments: tuple[LiveExperiment, ...] = ()
    places: Places = field(default_factory=dict)


def retry_policy(retries: int) -> Json:
    """Repeat only what never reached a model: see ``lua/*_retries.lua`` for the answers that are marked.

    No ``reset``: a request that was in flight when the engine died may be what killed it.
    """
    return {
        "retry_on": "connect-failure,refused-stream,retriable-headers",
        "retriable_headers": [{"name": "x-slipway-retry", "present_match": True}],
        "num_retries": retries,
        "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
    }


def _action(cluster: str, timeout: float, retries: int = 0) -> Json:
    action: Json = {"cluster": cluster, "timeout": f"{timeout}s"}
    if cluster == GRPC_CLUSTER:
        # A client's own deadline counts when it is shorter.
        action["max_stream_duration"] = {"max_stream_duration": f"{timeout}s", "grpc_timeout_header_max": f"{timeout}s"}
    if retries:
        action["retry_policy"] = retry_policy(retries)
    return action


def _stream(config: EdgeConfig) -> Json:
    """Ends when nothing came for the time of a request, or at the client's own deadline; never repeated."""
    return {
        "cluster": GRPC_CLUSTER,
        "timeout": "0s",
        "idle_timeout": f"{config.request_timeout}s",
        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
    }


def _metadata(config: EdgeConfig, routes: EdgeRoutes) -> Json:
    """What the Lua filter reads; one key per model, because Envoy converts only the key that is asked for.

    ``stamp`` tells one table from another: ``lua/routing.lua`` keeps what it read until it changes.
    """
    limits = {"max_request_bytes": config.max_request_bytes, "request_timeout": config.request_timeout}
    table: Json = {"ready": routes.ready, **limits}
    for model, version in routes.default_versions.items():
        table[f"model:{model}"] = {"version": str(version)}
    for found in routes.experiments:
        table[f"experiment:{found.experiment.model}"] = live.metadata(found)
    table |= fleet.metadata(routes.places)
    return {"filter_metadata": {"envoy.filters.http.lua": {**table, "stamp": digest(table)}}}


def _way_rules(config: EdgeConfig, routes: EdgeRoutes, retries: int) -> Iterator[tuple[Json, Json]]:
    """The Lua filter names the way of a request in x-slipway-route, which no client can send."""
    own, retry = {"http": HTTP_CLUSTER, "grpc": GRPC_CLUSTER}, retry_policy(retries)
    ways = [*fleet.routes(routes.places, retry)]
    for found in routes.experiments:
        stable = fleet.stable_cluster(routes.places, found.experiment.model, found.experiment.stable, own)
        ways += live.routes(found, stable, retry)
    for name, transport, action in ways:
        header = {"name": "x-slipway-route", "string_match": {"exact": name}}
        match: Json = {"prefix": "/", "headers": [header]}
        if transport == "grpc":
            match["grpc"] = {}
        yield match, {**_action(own[transport], config.request_timeout), **action}


def route_configuration(config: EdgeConfig, routes: EdgeRoutes) -> Json:
    """The RouteConfiguration: refused bodies, health calls (no retries, 2 s), gRPC, the rest."""
    protocol, health = PROTOCOLS[config.engine], 2.0
    refused = {"name": "x-slipway-answer", "present_match": True}
    rules: list[tuple[Json, Json]] = [
        ({"prefix": "/", "headers": [refused]}, _action(DISCARD_CLUSTER, config.request_timeout)),
        *_way_rules(config, routes, protocol.retries),
        *(({"prefix": path, "grpc": {}}, _action(GRPC_CLUSTER, health)) for path in protocol.short_grpc),
        *(({"path": path, "grpc": {}}, _stream(config)) for path in protocol.streams),
        ({"prefix": "/", "grpc": {}}, _action(GRPC_CLUSTER, config.request_timeout, protocol.retries)),
        *(({"prefix": path}, _action(HTTP_CLUSTER, health)) for path in protocol.short_http),
        ({"prefix": "/"}, _action(HTTP_CLUSTER, config.request_timeout, protocol.retries)),
    ]
    metadata = _metadata(config, routes)
    table = [{"match": match, "route": action, "metadata": metadata} for match, action in rules]
    return {
        "@type": _ROUTE_TYPE,
        "name": ROUTE_TABLE,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": table}],
        # Clusters of versions come and go, and Envoy would refuse a whole table for one that is missing. It answers a
        # request for that by 503 at once (flags NC), which nothing repeats: serving/supervisor/edge_clusters.py.
        "validate_clusters": False,
    }


def discovery_response(config: EdgeConfig, routes: EdgeRoutes) -> Json:
    """The content of the routes file; its ``version_info`` is a hash of the table."""
    resource = route_configuration(config, routes)
    return {"version_info": digest(resource), "resources": [resource]}


def update(config: EdgeConfig, routes: EdgeRoutes) -> None:
    """Replace the routing table; a running Envoy follows in well under a second and loses no request.

    Returns when the file is in place; ``wait_in_force`` waits until Envoy has taken it.
    """
    replace_watched(config.routes_path, config.work_dir, discovery_response(config, routes))


def wait_in_force(config: EdgeConfig, routes: EdgeRoutes, timeout: float = 5.0) -> None:
    """Wait until Envoy has taken exactly this table.

    Raises:
        ServerNotRunning: Envoy has not taken it within ``timeout`` seconds.
    """
    expected = discovery_response(config, routes)["version_info"]
    deadline = time.monotonic() + timeout
    while (observed := admin.route_table_version(config)) != expected:
        if time.monotonic() > deadline:
            raise ServerNotRunning(
                f"the edge did not take the routing table within {timeout} s",
                observed=observed,
                expected=expected,
                fix=f"see {config.log_dir / 'envoy.jsonl'}",
            )
        time.sleep(0.01)
