"""Where the edge sends requests: the engine's HTTP and gRPC ports on loopback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.edge.listeners import BUFFER_SLACK, DISCARD_LISTENER, header_mutation, http2_options, lua_filter
from serving.edge.process import EdgeConfig
from serving.edge.protocols import PROTOCOLS
from serving.edge.routes import DISCARD_CLUSTER, GRPC_CLUSTER, HTTP_CLUSTER

Json = dict[str, Any]

#: Requests that may be under way, waiting or being retried at once; beyond it the answer is SERVER_UNAVAILABLE.
MAX_REQUESTS = 4096

_TYPE = "type.googleapis.com/envoy.extensions"
_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


#: What an upstream filter chain ends with.
_CODEC = {
    "name": "envoy.filters.http.upstream_codec",
    "typed_config": {"@type": f"{_TYPE}.filters.http.upstream_codec.v3.UpstreamCodec"},
}


def circuit_breakers(limit: int) -> Json:
    """At most ``limit`` requests under way, and as many retries: Envoy's own limit of retries is 3."""
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [{"priority": "DEFAULT", **dict.fromkeys(limits, limit)}]}


def upstream_options(config: EdgeConfig, transport: str, filters: Sequence[Json]) -> Json:
    """How the engine is spoken to over ``transport`` (http, grpc), through ``filters`` once per try."""
    protocol: Json = {"http_protocol_options": {}}
    if transport == "grpc":
        protocol = {"http2_protocol_options": http2_options(config)}
    options = {
        "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
        # Triton 2.51 waits for idle HTTP connections when it shuts down: do not keep them long.
        "common_http_protocol_options": {"idle_timeout": "5s"},
        "explicit_http_config": protocol,
        "http_filters": [*filters, _CODEC],
    }
    return {
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": config.max_request_bytes + BUFFER_SLACK,
        "typed_extension_protocol_options": {_PROTOCOL: options},
    }


def static_cluster(name: str, endpoints: Sequence[Json], limit: int) -> Json:
    """A cluster of fixed hosts, without how they are spoken to. ``limit``: requests under way at once."""
    return {
        "name": name,
        "type": "STATIC",
        "circuit_breakers": circuit_breakers(limit),
        # Never send to a host that is known to be down, even when all are.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": list(endpoints)}]},
    }


def engine_cluster(
    config: EdgeConfig, name: str, transport: str, filters: Sequence[Json], limit: int = MAX_REQUESTS, **host: Json
) -> Json:
    """A cluster of the engine's one host. ``limit``: requests under way at once; ``host``: more about the endpoint."""
    port = config.engine_grpc_port if transport == "grpc" else config.engine_http_port
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    endpoints = [{"endpoint": endpoint, **host}]
    return {**static_cluster(name, endpoints, limit), **upstream_options(config, transport, filters)}


def inner_endpoint(listener: str) -> Json:
    """A listener inside Envoy, by its name."""
    return {"address": {"envoy_internal_address": {"server_listener_name": listener}}}


def _discard_cluster() -> Json:
    endpoint = inner_endpoint(DISCARD_LISTENER)
    # HTTP/2, because emptying the first piece in Lua sets content-length: 0, which ends an HTTP/1 request at once.
    options = {
        "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": DISCARD_CLUSTER,
        "type": "STATIC",
        "circuit_breakers": circuit_breakers(MAX_REQUESTS),
        "typed_extension_protocol_options": {_PROTOCOL: options},
        "load_assignment": {"cluster_name": DISCARD_CLUSTER, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


def clusters(config: EdgeConfig) -> list[Json]:
    """The engine's HTTP/1.1 cluster, its gRPC (HTTP/2) cluster, and the listener that takes refused bodies."""
    # an answer of the engine, and none of the edge itself, names the version that request.lua wrote into the request
    version = header_mutation("response_mutations", {"x-slipway-version": "%REQ(X-SLIPWAY-WRITTEN)%"})
    filters = [version, lua_filter(PROTOCOLS[config.engine].upstream)]
    return [
        engine_cluster(config, HTTP_CLUSTER, "http", filters),
        engine_cluster(config, GRPC_CLUSTER, "grpc", filters),
        _discard_cluster(),
    ]
