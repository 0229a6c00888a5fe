"""The clusters of an experiment's versions, in a file that Envoy watches.

A version is a cluster of its own, so that Envoy counts, limits and ejects it alone. An arm's requests go to an
aggregate of the arm's cluster and the stable one's: a failed try, or an ejected arm, moves on to the stable version.
Which version a try meets is in the metadata of the host that Envoy picked; ``lua/tries.lua`` writes it into the
request.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any

from serving.edge import admin
from serving.edge.experiments import LiveExperiment, aggregate_name, copies, version_name
from serving.edge.listeners import BUFFER_SLACK, http2_options, lua_filter
from serving.edge.process import EdgeConfig
from serving.edge.protocols import PROTOCOLS
from serving.edge.watched_file import replace_watched

Json = dict[str, Any]

#: Requests of one arm that may be under way at once; more are answered by SERVER_UNAVAILABLE.
MAX_ARM_REQUESTS = 1024
#: Failures in a row after which an arm gets no traffic for a while: its units see the stable version.
EJECT_AFTER = 5

_TYPE = "type.googleapis.com/envoy.extensions"
_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def _options(config: EdgeConfig, transport: str) -> Json:
    protocol: Json = {"http_protocol_options": {}}
    if transport == "grpc":
        protocol = {"http2_protocol_options": http2_options(config)}
    mutation = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    header = {"key": "x-slipway-try", "value": "%UPSTREAM_METADATA(slipway:version)%"}
    return {
        "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": "5s"},
        "explicit_http_config": protocol,
        "http_filters": [
            {
                "name": "envoy.filters.http.header_mutation",
                "typed_config": {
                    "@type": f"{_TYPE}.filters.http.header_mutation.v3.HeaderMutation",
                    "mutations": {"request_mutations": [{"append": {"header": header, **mutation}}]},
                },
            },
            lua_filter(PROTOCOLS[config.engine].tries),
            {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {"@type": f"{_TYPE}.filters.http.upstream_codec.v3.UpstreamCodec"},
            },
        ],
    }


def _version_cluster(config: EdgeConfig, model: str, version: int, transport: str, limit: int, eject: bool) -> Json:
    port = config.engine_grpc_port if transport == "grpc" else config.engine_http_port
    name = version_name(model, version, transport)
    host = {
        "metadata": {"filter_metadata": {"slipway": {"version": str(version)}}},
        "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}},
    }
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), limit)
    ejection = {
        "consecutive_5xx": EJECT_AFTER,
        "enforcing_consecutive_5xx": 100,
        "enforcing_success_rate": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_time": "60s",
        "max_ejection_percent": 100,
    }
    return {
        "@type": _CLUSTER,
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": config.max_request_bytes + BUFFER_SLACK,
        "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", **limits}]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        **({"outlier_detection": ejection} if eject else {}),
        "typed_extension_protocol_options": {_PROTOCOL: _options(config, transport)},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }


def _aggregate_cluster(config: EdgeConfig, model: str, arm: int, stable: int, transport: str) -> Json:
    members = [version_name(model, arm, transport), version_name(model, stable, transport)]
    return {
        "@type": _CLUSTER,
        "name": aggregate_name(model, arm, transport),
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "per_connection_buffer_limit_bytes": config.max_request_bytes + BUFFER_SLACK,
        "typed_extension_protocol_options": {_PROTOCOL: _options(config, transport)},
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {"@type": f"{_TYPE}.clusters.aggregate.v3.ClusterConfig", "clusters": members},
        },
    }


def clusters(config: EdgeConfig, live: LiveExperiment) -> list[Json]:
    """The clusters of an experiment's versions, for both transports."""
    found, made = live.experiment, []
    for transport in ("http", "grpc"):
        made.append(_version_cluster(config, found.model, found.stable, transport, MAX_ARM_REQUESTS, False))
        copied = _version_cluster(config, found.model, found.stable, transport, found.compare_concurrency, False)
        made.append({**copied, "name": copies(found.model, found.stable, transport)})
        for arm in live.arms:
            made.append(_version_cluster(config, found.model, arm, transport, MAX_ARM_REQUESTS, True))
            made.append(_aggregate_cluster(config, found.model, arm, found.stable, transport))
        if live.shadow is not None and found.shadow is not None:
            copied = _version_cluster(config, found.model, live.shadow, transport, found.shadow.concurrency, False)
            made.append({**copied, "name": copies(found.model, live.shadow, transport)})
    return made


def discovery_response(config: EdgeConfig, experiments: Sequence[LiveExperiment]) -> Json:
    """The content of the clusters file; its ``version_info`` is a hash of it. Of two clusters of one name, the one of
    the earlier experiment stays."""
    named: dict[str, Json] = {}
    for cluster in (cluster for live in experiments for cluster in clusters(config, live)):
        named.setdefault(cluster["name"], cluster)
    resources = list(named.values())
    digest = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "resources": resources}


def update(config: EdgeConfig, experiments: Sequence[LiveExperiment]) -> None:
    """Replaces the clusters of experiments; requests under way in clusters that go are finished."""
    replace_watched(config.clusters_path, config.work_dir, discovery_response(config, experiments))


def wait_in_force(config: EdgeConfig, experiments: Sequence[LiveExperiment], timeout: float) -> bool:
    """Whether Envoy has taken exactly these clusters within ``timeout`` seconds. Raises ServerNotRunning."""
    expected = discovery_response(config, experiments)["version_info"]
    deadline = time.monotonic() + timeout
    while admin.clusters_version(config) != expected:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
