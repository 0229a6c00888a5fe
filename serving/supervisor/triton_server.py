"""The supervised Triton: started, waited for, stopped, and swept up after."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serving import folders, ports
from serving.json_log import ComponentLog, open_log
from serving.supervisor.process import ManagedProcess
from serving.triton import launcher, leftovers, log_lines, shared_memory
from serving.triton.assemble import assemble_backends
from serving.triton.client import ControlClient
from serving.triton.environment import find_triton
from serving.triton.launcher import TritonConfig
from slipway.errors import ServerStartFailed
from slipway.settings import Settings

_LIVE_POLL = 0.02
_TAKEN = "already in use"


def configure(settings: Settings) -> TritonConfig:
    """Finds and checks the environment, assembles the backends, chooses free ports. Raises EnvironmentUnfit."""
    folders.refuse_unservable(settings)
    triton = find_triton(settings.triton_env)
    http, grpc, metrics = ports.free_ports("127.0.0.1", 3)
    return TritonConfig(
        triton=triton,
        repository=settings.repository,
        backends=assemble_backends(triton, settings.state_dir / "triton"),
        shm_prefix=shared_memory.prefix_for(settings.state_dir),
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
    )


def _empty_folder(state_dir: Path) -> Path:
    """Triton's working directory. The stubs' Python looks for modules there first (2.51), so it must hold none."""
    folder = state_dir / "triton" / "empty"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class TritonServer:
    """One Triton process at a time. Call ``start`` from the main thread."""

    config: TritonConfig
    folder: Path
    log: ComponentLog
    process: ManagedProcess | None = None
    client: ControlClient | None = None
    _lines: ComponentLog = field(init=False)

    def __post_init__(self) -> None:
        self._lines = open_log("triton", self.folder / "logs")

    @property
    def died(self) -> bool:
        """Whether it was started and runs no more."""
        return self.process is not None and self.process.returncode is not None

    def start(self, timeout: float, give_up: Callable[[], bool]) -> ControlClient:
        """Starts the process and waits until it answers. Raises ServerStartFailed with the end of its log.

        ``give_up``: asked while waiting; True ends the wait, with ServerStartFailed too.
        """
        swept = leftovers.sweep(self.config.shm_prefix)
        argv, environment = launcher.command(self.config)
        self.process = ManagedProcess("triton", argv, environment, self._line, _empty_folder(self.folder))
        self.client = ControlClient(f"{self.config.host}:{self.config.grpc_port}", self.config.admin_key)
        self.log.info("triton started", pid=self.process.pid, swept=swept, grpc=self.config.grpc_port)
        deadline = time.monotonic() + timeout
        while not self.client.live(timeout=0.5):
            if self.process.returncode is not None or time.monotonic() > deadline or give_up():
                raise self._failed(timeout)
            time.sleep(_LIVE_POLL)
        return self.client

    def move_ports(self) -> None:
        """Chooses other ports, for the case that somebody took ours while Triton was down."""
        http, grpc, metrics = ports.free_ports(self.config.host, 3)
        self.config = replace(self.config, http_port=http, grpc_port=grpc, metrics_port=metrics)

    def ports_taken(self) -> bool:
        """Whether the process ended because a port was not free."""
        return self.died and self.process is not None and _TAKEN in self.process.tail(20)

    def stop(self, grace: float) -> int | None:
        """SIGTERM, SIGKILL after ``grace`` seconds; then removes what is left in /dev/shm."""
        if self.client is not None:
            # An open channel is harmless, but an idle HTTP connection would hold the shutdown for its whole timeout.
            self.client.close()
            self.client = None
        code = self.process.stop(grace) if self.process is not None else None
        self.process = None
        leftovers.sweep(self.config.shm_prefix)
        return code

    def state(self) -> dict[str, Any]:
        """What goes into the state file."""
        address = self.config.host
        values: dict[str, Any] = {
            "http": f"{address}:{self.config.http_port}",
            "grpc": f"{address}:{self.config.grpc_port}",
            "metrics": f"{address}:{self.config.metrics_port}",
            "admin_key": self.config.admin_key,
        }
        if self.process is not None:
            values |= {"pid": self.process.pid, "ticks": self.process.ticks}
        return values

    def _line(self, line: str) -> None:
        fields = log_lines.parse(line)
        self._lines.write(fields.pop("level"), fields.pop("message"), **fields)

    def _failed(self, timeout: float) -> ServerStartFailed:
        code = self.process.returncode if self.process is not None else None
        ended = f"ended with {code}" if code is not None else f"did not answer within {timeout:.0f} s"
        tail = self.process.tail() if self.process is not None else ""
        return ServerStartFailed(
            f"Triton {ended}", observed=tail or "no output", fix=f"see {self.folder / 'logs' / 'triton.jsonl'}"
        )
