"""The hosts of a fleet: each version is a cluster of all places where it is proven, here and on other servers.

Another server is reached through a listener inside this Envoy, one for each server and transport. A request that was
lost there (no connection, or one that broke) becomes an answer that is marked for a retry, and the retry takes another
host. It may be repeated although it was under way: what broke is the other server's Envoy or the network, for a death
of its engine is an answer of that Envoy. The own engine's connections are not treated so: see ``routes.retry_policy``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from serving.edge import scripts
from serving.edge.clusters import MAX_REQUESTS, inner_endpoint, static_cluster, upstream_options
from serving.edge.experiments import copies, version_name
from serving.edge.fleet import HERE
from serving.edge.listeners import inner_listener, lua_filter
from serving.edge.local_replies import lost_requests
from serving.edge.process import EdgeConfig
from slipway.servers import ServerAddress

Json = dict[str, Any]

TRANSPORTS = ("http", "grpc")
#: Requests that get no connection or no answer in time; a model's own errors are the same on every server.
_EJECTION = {
    "consecutive_gateway_failure": 5,
    "enforcing_consecutive_gateway_failure": 100,
    "enforcing_consecutive_5xx": 0,
    "enforcing_success_rate": 0,
    "interval": "1s",
    "base_ejection_time": "5s",
    "max_ejection_time": "60s",
    "max_ejection_percent": 50,
}


def listeners(config: EdgeConfig) -> list[Json]:
    """What passes requests on, one for each server and transport; the access log shows its name as ``upstream``."""
    names = [server.at(transport) for server in config.servers for transport in TRANSPORTS]
    forward = [lua_filter(scripts.FORWARD)]
    return [inner_listener(config, name, {"cluster": name}, forward, lost_requests()) for name in names]


def server_clusters(config: EdgeConfig) -> list[Json]:
    """The other servers' edges; names are looked up by Envoy."""
    return [_server_cluster(config, server, transport) for server in config.servers for transport in TRANSPORTS]


def _server_cluster(config: EdgeConfig, server: ServerAddress, transport: str) -> Json:
    address = {"address": server.host, "port_value": server.port(transport)}
    endpoints = [{"endpoint": {"address": {"socket_address": address}}}]
    cluster = static_cluster(server.at(transport), endpoints, MAX_REQUESTS)
    lookup = {"type": "STRICT_DNS", "dns_lookup_family": "V4_PREFERRED"} if server.is_name else {}
    return {**cluster, **lookup, **upstream_options(config, transport, ())}


def spread(config: EdgeConfig, cluster: Json, names: Sequence[str], transport: str) -> Json:
    """The cluster of one version with the hosts of these places; what was said of its one host is said of each."""
    (own,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    hosts = [own] if HERE in names else []
    for server in config.servers:
        if server.name in names:
            hosts.append({**own, "endpoint": inner_endpoint(server.at(transport))})
    assignment = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": hosts}]}
    return {"outlier_detection": _EJECTION, **cluster, "lb_policy": "LEAST_REQUEST", "load_assignment": assignment}


def cluster_names(key: tuple[str, int], names: Sequence[str], transport: str) -> Iterator[str]:
    """The clusters of a version that are spread. Copies of requests stay here where they can: so do their records."""
    model, version = key
    yield version_name(model, version, transport)
    if HERE not in names:
        yield copies(model, version, transport)
