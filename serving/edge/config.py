"""Writes everything that Envoy reads at start: the bootstrap and the first routing table."""

from __future__ import annotations

import json
from typing import Any

from serving.edge import experiment_clusters, fleet_clusters
from serving.edge import routes as route_table
from serving.edge.clusters import clusters
from serving.edge.listeners import again_listener, discard_listener, listener
from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes

Json = dict[str, Any]

#: Client connections over both ports; more are closed at once.
MAX_CONNECTIONS = 8192
#: Envoy's heap: above 90% of it the largest streams are reset and nothing new is accepted; bytes.
MAX_HEAP_BYTES = 2 * 1024**3

_TYPE = "type.googleapis.com/envoy.extensions"
_INTERNAL_LISTENERS = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": {"@type": f"{_TYPE}.bootstrap.internal_listener.v3.InternalListener"},
}


def _overload_manager() -> Json:
    def above(fraction: float) -> list[Json]:
        return [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": fraction}}]

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.fixed_heap",
                "typed_config": {
                    "@type": f"{_TYPE}.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": MAX_HEAP_BYTES,
                },
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{_TYPE}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": MAX_CONNECTIONS,
                },
            },
        ],
        "actions": [
            # Gives freed memory back to the system; the threshold is low because an idle Envoy should be small.
            {"name": "envoy.overload_actions.shrink_heap", "triggers": above(0.05)},
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": above(0.9)},
        ],
    }


def bootstrap(config: EdgeConfig) -> Json:
    """The static part of Envoy's configuration; everything that changes at run time is in the routes file."""
    admin_address = {"socket_address": {"address": "127.0.0.1", "port_value": config.admin_port}}
    return {
        "node": {"id": "slipway-edge", "cluster": "slipway"},
        "admin": {"address": admin_address},
        "static_resources": {
            "listeners": [
                listener(config, "http", config.http_port),
                listener(config, "grpc", config.grpc_port),
                discard_listener(),
                again_listener(config),
                *fleet_clusters.listeners(config),
            ],
            "clusters": [*clusters(config), *fleet_clusters.server_clusters(config)],
        },
        "dynamic_resources": {
            "cds_config": {
                "path_config_source": {
                    "path": str(config.clusters_path),
                    "watched_directory": {"path": str(config.clusters_path.parent)},
                },
                "resource_api_version": "V3",
            }
        },
        "bootstrap_extensions": [_INTERNAL_LISTENERS],
        "overload_manager": _overload_manager(),
    }


def write(config: EdgeConfig, routes: EdgeRoutes) -> None:
    """Write ``config.bootstrap_path`` and ``config.routes_path`` (directories are made)."""
    config.work_dir.mkdir(parents=True, exist_ok=True)
    config.log_dir.mkdir(parents=True, exist_ok=True)
    config.bootstrap_path.write_text(json.dumps(bootstrap(config), indent=1), encoding="utf-8")
    experiment_clusters.update(config, routes.experiments, routes.places)
    route_table.update(config, routes)
