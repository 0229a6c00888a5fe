"""An Envoy that only passes gRPC on: what any proxy costs on this machine, the floor under the edge's own cost."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from serving.edge.clusters import MAX_REQUESTS, static_cluster
from serving.edge.process import find_envoy, workers
from serving.ports import free_ports
from serving.supervisor.exec_child import mortal
from serving.triton.model_config import usable_cores
from slipway.errors import BenchmarkFailed

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy.extensions"
_START_SECONDS = 20.0
#: Until Envoy listens, and where nothing listens behind it.
_NOT_YET = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_RECONNECT = [(f"grpc.{which}_reconnect_backoff_ms", 50) for which in ("initial", "min", "max")]


@dataclass(frozen=True)
class PlainProxy:
    """``address``: host:port where it listens; ``pid``: of its process."""

    address: str
    pid: int


@contextmanager
def plain_proxy(target: str, folder: Path) -> Iterator[PlainProxy]:
    """Passes gRPC calls on to ``target`` (host:port on this machine) while the body runs; its files are in ``folder``.

    Raises BenchmarkFailed when no call can be passed on within 20 s, EnvironmentUnfit without an Envoy.
    """
    (port,) = free_ports("127.0.0.1", 1)
    config, log = folder / "plain-proxy.json", folder / "plain-proxy.log"
    config.write_text(json.dumps(_bootstrap(port, target)), encoding="utf-8")
    argv = [str(find_envoy()), "--config-path", str(config), "--concurrency", str(workers(usable_cores()))]
    argv += ["--disable-hot-restart", "--log-level", "warning"]
    with log.open("wb") as output:
        process = subprocess.Popen(mortal(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            _wait_ready(port, process, log)
            yield PlainProxy(f"127.0.0.1:{port}", process.pid)
        finally:
            process.kill()
            process.wait()


def _wait_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=_RECONNECT) as channel:
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        while (code := _status(live)) in _NOT_YET:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkFailed("the plain proxy passes nothing on", observed=f"{code}; {_tail(log)}")
            time.sleep(0.05)


def _status(call: grpc.UnaryUnaryMultiCallable) -> grpc.StatusCode:
    try:
        call(b"", timeout=1.0)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip()[-500:] or "its log is empty"


def _address(text: str) -> Json:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _bootstrap(port: int, target: str) -> Json:
    """One listener, the router as its only filter, one cluster: HTTP/2 on both sides."""
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "codec_type": "HTTP2",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "engine", "timeout": "0s"}}],
                }
            ]
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    options = {
        "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        **static_cluster("engine", [{"endpoint": {"address": _address(target)}}], MAX_REQUESTS),
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
    listener = {"name": "plain", "address": _address(f"127.0.0.1:{port}"), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
