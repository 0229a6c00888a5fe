"""The edge's two listeners: HTTP and gRPC on the first, gRPC (and HTTP) on the second; limits, log and filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.edge import scripts
from serving.edge.local_replies import local_reply_config
from serving.edge.process import EdgeConfig
from serving.edge.protocols import PROTOCOLS
from serving.edge.routes import ROUTE_TABLE, retry_policy

Json = dict[str, Any]

#: Room for the gRPC frame and the version that is added to a message of exactly the largest size; bytes.
BUFFER_SLACK = 65536
MAX_HEADERS = 64
MAX_HEADERS_KIB = 32
MAX_STREAMS = 256

_TYPE = "type.googleapis.com/envoy.extensions"

#: Envoy takes orders from x-envoy-* headers (timeouts, retries); x-slipway-* ones are the Lua filter's own.
_REMOVE_STEERING = {
    "name": "envoy.http.early_header_mutation.header_mutation",
    "typed_config": {
        "@type": f"{_TYPE}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        "mutations": [
            {"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in ("x-envoy-", "x-slipway-")
        ],
    },
}
DISCARD_LISTENER = "discard"
AGAIN_LISTENER = "again"
#: The version of the host that was picked. In an answer it is of the host that gave it, which only Envoy knows where an
#: arm and the stable version were both asked; tries.lua makes the place for it. Hosts without this metadata leave the
#: header as clusters.py wrote it: Envoy writes no empty value.
HOST_VERSION = "%UPSTREAM_METADATA(slipway:version)%"
#: Names the cluster behind that listener.
AGAIN_HEADER = "x-slipway-again"
_REFUSE = {"match": {"prefix": "/"}, "direct_response": {"status": 400}}


def lua_filter(names: tuple[str, ...]) -> Json:
    """An HTTP filter that runs the Lua program made of ``names``."""
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": scripts.program(names)},
            # The route was chosen by the client's path; the rewritten one must not choose again.
            "clear_route_cache": False,
        },
    }


def header_mutation(kind: str, headers: dict[str, str], action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    """An HTTP filter that writes ``headers``. ``kind``: request_mutations or response_mutations."""
    mutations = [
        {"append": {"header": {"key": key, "value": value}, "append_action": action}} for key, value in headers.items()
    ]
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {kind: mutations},
        },
    }


def _router() -> Json:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router", "suppress_envoy_headers": True},
    }


def http2_options(config: EdgeConfig) -> Json:
    """Windows that take a whole request: the stream window also bounds what a filter may buffer of an h2 request."""
    window = config.max_request_bytes + BUFFER_SLACK
    return {
        "max_concurrent_streams": MAX_STREAMS,
        "initial_stream_window_size": max(65535, window),
        "initial_connection_window_size": max(65535, window),
    }


def _access_log(config: EdgeConfig) -> Json:
    noted = "%DYNAMIC_METADATA(slipway:request:{})%"
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog",
            "path": str(config.access_log_path),
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "method": "%REQ(:METHOD)%",
                    "path": noted.format("path"),
                    "path_sent": "%REQ(:PATH):512%",
                    "protocol": "%PROTOCOL%",
                    "model": noted.format("model"),
                    "version": noted.format("version"),
                    "experiment": noted.format("experiment"),
                    "unit": noted.format("unit"),
                    "why": noted.format("why"),
                    "assigned": noted.format("assigned"),
                    "answered": "%RESP(X-SLIPWAY-VERSION)%",
                    "failed": "%REQ(X-SLIPWAY-FAILED)%",
                    "status": "%RESPONSE_CODE%",
                    "grpc_status": "%GRPC_STATUS_NUMBER%",
                    "code": "%RESP(X-SLIPWAY-ERROR)%",
                    "duration_ms": "%DURATION%",
                    "bytes_received": "%BYTES_RECEIVED%",
                    "bytes_sent": "%BYTES_SENT%",
                    "upstream": "%UPSTREAM_HOST%",
                    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                    "flags": "%RESPONSE_FLAGS%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "deadline": noted.format("deadline"),
                    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
                }
            },
        },
    }


def _routes_from_file(config: EdgeConfig) -> Json:
    path = config.routes_path
    source = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {
        "route_config_name": ROUTE_TABLE,
        "config_source": {"path_config_source": source, "resource_api_version": "V3"},
    }


def _limits(config: EdgeConfig) -> Json:
    return {
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_headers_count": MAX_HEADERS,
            "headers_with_underscores_action": "ALLOW",
        },
        "max_request_headers_kb": MAX_HEADERS_KIB,
        "request_headers_timeout": f"{config.headers_timeout}s",
        "request_timeout": f"{config.body_timeout}s",
        "stream_idle_timeout": f"{config.request_timeout}s",
        "delayed_close_timeout": "1s",
        "http2_protocol_options": http2_options(config),
    }


def _trust() -> Json:
    """What a client's headers and paths may not do: reach hidden endpoints, steer Envoy, learn what runs behind."""
    return {
        "normalize_path": True,
        "merge_slashes": True,
        # The Lua allow-list then judges the path that the engine would see.
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        "early_header_mutation_extensions": [_REMOVE_STEERING],
        "use_remote_address": True,
        "skip_xff_append": True,
        "server_name": "slipway",
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
    }


def connection_manager(config: EdgeConfig) -> Json:
    """The HTTP connection manager that both listeners share."""
    return {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "rds": _routes_from_file(config),
        "http_filters": [
            lua_filter(PROTOCOLS[config.engine].way_in(fleet=bool(config.servers))),
            header_mutation("response_mutations", {"x-slipway-version": HOST_VERSION}, "OVERWRITE_IF_EXISTS"),
            _router(),
        ],
        "access_log": [_access_log(config)],
        "local_reply_config": local_reply_config(),
        **_limits(config),
        **_trust(),
    }


def discard_listener() -> Json:
    """Inside Envoy, reached through the discard cluster: answers refused requests when their body has ended."""
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "discard",
        "http_filters": [lua_filter(scripts.DISCARD), _router()],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [_REFUSE]}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": DISCARD_LISTENER, "internal_listener": {}, "filter_chains": [chain]}


def inner_listener(
    config: EdgeConfig,
    name: str,
    action: Json,
    filters: Sequence[Json] = (),
    local_replies: Json | None = None,
    removed: Sequence[str] = (),
) -> Json:
    """Inside Envoy, reached by its name: what the first router cannot do to a request, a second one behind it does.

    ``action``: of the one route, whose time limit is that of the first router. ``removed``: headers of the request.
    """
    route: Json = {"match": {"prefix": "/"}, "route": {**action, "timeout": "0s"}}
    if removed:
        route["request_headers_to_remove"] = list(removed)
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [*filters, _router()],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "local_reply_config": local_replies or local_reply_config(),
        "common_http_protocol_options": {"headers_with_underscores_action": "ALLOW"},
        "http2_protocol_options": http2_options(config),
        "max_request_headers_kb": 2 * MAX_HEADERS_KIB,
        "stream_idle_timeout": "0s",
        "skip_xff_append": True,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": name,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": config.max_request_bytes + BUFFER_SLACK,
        "filter_chains": [chain],
    }


def again_listener(config: EdgeConfig) -> Json:
    """An arm's request on its way to the stable version, with retries of its own."""
    action = {"cluster_header": AGAIN_HEADER, "retry_policy": retry_policy(PROTOCOLS[config.engine].retries)}
    # behind it, a failure of the stable version is nothing that another try makes good
    return inner_listener(config, AGAIN_LISTENER, action, removed=("x-slipway-arm", "x-slipway-tried"))


def listener(config: EdgeConfig, name: str, port: int) -> Json:
    """One listener of the edge on ``config.host``:``port``, HTTP/1.1 and HTTP/2 without TLS."""
    chain = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager(config)}
        ]
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": config.host, "port_value": port}},
        "per_connection_buffer_limit_bytes": config.max_request_bytes + BUFFER_SLACK,
        "filter_chains": [chain],
    }
