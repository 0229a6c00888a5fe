"""The supervised Envoy: configured from the board's routes, started, waited for, drained, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from serving import ports
from serving.edge import admin, log_lines, routes
from serving.edge import config as edge_config
from serving.edge.process import EdgeConfig, command, workers
from serving.edge.routes import EdgeRoutes
from serving.json_log import ComponentLog, open_log
from serving.supervisor.edge_clusters import EdgeClusters
from serving.supervisor.engine import Addresses
from serving.supervisor.process import ManagedProcess
from serving.triton.model_config import usable_cores
from slipway.errors import ServerNotRunning, ServerStartFailed
from slipway.settings import Settings

_READY_POLL = 0.05
_ROTATE_SECONDS = 20.0
_ACCESS_LOG_BYTES = 64 << 20


def configure(settings: Settings, engine: Addresses, log: ComponentLog) -> EdgeConfig:
    """The edge's addresses. Raises PortUnavailable for a taken port that was asked for by name."""
    explicit = settings.ports_are_explicit
    http = ports.choose(settings.host, settings.http_port, explicit, "HTTP")
    grpc = ports.choose(settings.host, settings.grpc_port, explicit, "gRPC")
    for name, wanted, chosen in (("http", settings.http_port, http), ("grpc", settings.grpc_port, grpc)):
        if wanted != chosen:
            log.warning("the edge port was taken, another one is used", protocol=name, wanted=wanted, chosen=chosen)
    return EdgeConfig(
        host=settings.host,
        http_port=http,
        grpc_port=grpc,
        admin_port=ports.free_ports("127.0.0.1", 1)[0],
        engine_http_port=engine.http,
        engine_grpc_port=engine.grpc,
        max_request_bytes=settings.max_request_bytes,
        log_dir=settings.state_dir / "logs",
        work_dir=settings.state_dir / "edge",
        engine=settings.engine,
        servers=settings.server_addresses,
        worker_threads=workers(usable_cores()),
    )


@dataclass
class EdgeServer:
    """One Envoy process at a time. Call ``start`` from the main thread."""

    config: EdgeConfig
    log: ComponentLog
    process: ManagedProcess | None = None
    _routes: EdgeRoutes = field(default_factory=lambda: EdgeRoutes(ready=False))
    _clusters: EdgeClusters = field(init=False)
    _lines: ComponentLog = field(init=False)
    _rotate_at: float = field(default_factory=lambda: time.monotonic() + _ROTATE_SECONDS)

    def __post_init__(self) -> None:
        self._clusters = EdgeClusters(self.log)
        self._lines = open_log("envoy", self.config.log_dir)

    @property
    def died(self) -> bool:
        """Whether it was started and runs no more."""
        return self.process is not None and self.process.returncode is not None

    def start(self, timeout: float, give_up: Callable[[], bool]) -> None:
        """Writes the configuration, starts Envoy and waits until it listens. Raises ServerStartFailed."""
        self.config.work_dir.mkdir(parents=True, exist_ok=True)
        edge_config.write(self.config, self._routes)
        self._clusters.started(self.config, self._routes)
        argv, environment = command(self.config)
        self.process = ManagedProcess("envoy", argv, environment, self._line, self.config.work_dir)
        self.log.info("envoy started", pid=self.process.pid, http=self.config.http_port, grpc=self.config.grpc_port)
        deadline = time.monotonic() + timeout
        while not admin.ready(self.config):
            if self.process.returncode is not None or time.monotonic() > deadline or give_up():
                raise self._failed(timeout)
            time.sleep(_READY_POLL)

    def update(self, wanted: EdgeRoutes) -> None:
        """Replaces the live routes when they differ. Call it often: what Envoy is not ready for yet waits for the next
        call. While no Envoy runs, the routes are those that the next one starts with."""
        if self.process is not None and not self.died:
            wanted = self._clusters.admit(self.config, self._routes, wanted)
        if wanted != self._routes:
            self._routes = wanted
            routes.update(self.config, wanted)
            self.log.info("routes", ready=wanted.ready, versions=wanted.default_versions)

    def rotate_access_log(self) -> None:
        """Renames the access log when it is too large; Envoy writes it and does not limit it."""
        path = self.config.access_log_path
        if time.monotonic() < self._rotate_at:
            return
        self._rotate_at = time.monotonic() + _ROTATE_SECONDS
        try:
            if path.stat().st_size > _ACCESS_LOG_BYTES:
                path.replace(path.with_suffix(".1.jsonl"))
                admin.reopen_logs(self.config)
        except (FileNotFoundError, ServerNotRunning) as problem:
            self.log.warning("the access log was not rotated", reason=str(problem))

    def point_at(self, engine: Addresses) -> None:
        """Takes other ports of the engine; the next start uses them."""
        self.config = replace(self.config, engine_http_port=engine.http, engine_grpc_port=engine.grpc)

    def drain(self, timeout: float) -> bool:
        """No new requests, and waits for the accepted ones; False when some are left after ``timeout`` seconds."""
        return self.process is None or self.died or admin.drain(self.config, timeout)

    def stop(self, grace: float) -> int | None:
        """SIGTERM, SIGKILL after ``grace`` seconds."""
        code = self.process.stop(grace) if self.process is not None else None
        self.process = None
        return code

    def state(self) -> dict[str, Any]:
        """What goes into the state file."""
        values: dict[str, Any] = {"admin": f"127.0.0.1:{self.config.admin_port}"}
        if self.process is not None:
            values |= {"pid": self.process.pid, "ticks": self.process.ticks}
        return values

    def address(self) -> dict[str, str]:
        """What clients connect to."""
        return {
            "http": f"{self.config.host}:{self.config.http_port}",
            "grpc": f"{self.config.host}:{self.config.grpc_port}",
        }

    def _line(self, line: str) -> None:
        fields = log_lines.parse(line)
        self._lines.write(fields.pop("level"), fields.pop("message"), **fields)

    def _failed(self, timeout: float) -> ServerStartFailed:
        code = self.process.returncode if self.process is not None else None
        ended = f"ended with {code}" if code is not None else f"was not ready within {timeout:.0f} s"
        tail = self.process.tail() if self.process is not None else ""
        return ServerStartFailed(f"Envoy {ended}", observed=tail or "no output", fix=f"see {self.config.log_dir}")
