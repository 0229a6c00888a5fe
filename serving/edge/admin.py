"""Talks to a running Envoy through its admin port: ready, active requests, drain."""

from __future__ import annotations

import http.client
import json
import time

from serving.edge.process import EdgeConfig
from slipway.errors import ServerNotRunning

_ACTIVE = "http.edge.downstream_rq_active"
_CONNECTIONS = "http.edge.downstream_cx_active"
_CLUSTERS = "cluster_manager.cds.version_text"
_TABLE = "http.edge.rds.slipway.version_text"


def _ask(config: EdgeConfig, method: str, path: str) -> tuple[int, str]:
    """``(status, body)`` of the admin interface; ServerNotRunning when nothing answers within 2 s."""
    connection = http.client.HTTPConnection("127.0.0.1", config.admin_port, timeout=2.0)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise ServerNotRunning(
            "the edge does not answer on its admin port",
            observed=repr(error),
            expected=f"Envoy on 127.0.0.1:{config.admin_port}",
            fix=f"see {config.log_dir / 'envoy.jsonl'}",
        ) from error
    finally:
        connection.close()


def _stats(config: EdgeConfig, names: str) -> dict[str, int | str]:
    """Statistics whose name matches the regular expression ``names``."""
    _, body = _ask(config, "GET", f"/stats?format=json&filter={names}")
    return {entry["name"]: entry["value"] for entry in json.loads(body)["stats"] if "name" in entry}


def ready(config: EdgeConfig) -> bool:
    """Whether Envoy runs, has its routing table and listens. Never raises; not a statement about the engine."""
    try:
        status, _ = _ask(config, "GET", "/ready")
        return status == 200 and bool(route_table_version(config))
    except ServerNotRunning:
        return False


def route_table_version(config: EdgeConfig) -> str:
    """The ``version_info`` of the routing table in force; empty before the first."""
    return str(_stats(config, "^http.edge.rds.slipway.version_text$").get(_TABLE, ""))


def clusters_version(config: EdgeConfig) -> str:
    """The ``version_info`` of the clusters file in force; empty before the first."""
    return str(_stats(config, f"^{_CLUSTERS}$").get(_CLUSTERS, ""))


def active_requests(config: EdgeConfig) -> int:
    """Requests that were accepted and not yet answered, both ports together. ServerNotRunning when Envoy is gone."""
    return int(_stats(config, "^http.edge.downstream_rq_active$").get(_ACTIVE, 0))


def reopen_logs(config: EdgeConfig) -> None:
    """Open the access log anew, after it was renamed away."""
    _ask(config, "POST", "/reopen_logs")


def drain(config: EdgeConfig, timeout: float) -> bool:
    """Stop accepting, let accepted requests finish; True when none is left, False after ``timeout`` seconds.

    For ``config.drain_grace`` seconds new requests are still taken while every answer says ``connection: close``
    (HTTP/2: GOAWAY), so that busy clients leave by themselves; then the ports are closed. A second call goes on
    waiting. Raises ServerNotRunning when Envoy is gone.
    """
    deadline = time.monotonic() + timeout
    _ask(config, "POST", "/healthcheck/fail")
    _ask(config, "POST", "/drain_listeners?graceful")
    while time.monotonic() < deadline:
        if _closed(config) and active_requests(config) == 0:
            return True
        time.sleep(0.02)
    return False


def _closed(config: EdgeConfig) -> bool:
    """Whether every listener has stopped, those inside Envoy among them."""
    found = _stats(config, "^listener_manager.listener_(added|stopped)$")
    added, stopped = (int(found.get(f"listener_manager.listener_{name}", 0)) for name in ("added", "stopped"))
    return 0 < added <= stopped
