"""The supervised TorchServe: started empty, waited for, stopped, and swept up after."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serving import ports
from serving.json_log import ComponentLog, open_log
from serving.supervisor.process import ManagedProcess
from serving.torchserve import launcher, leftovers, log_lines
from serving.torchserve.config import Ports, TorchServeConfig
from serving.torchserve.exporter import QueueExporter
from serving.torchserve.installation import find_torchserve
from serving.torchserve.management import ManagementClient
from serving.torchserve.private_folder import temporary_folder
from slipway.errors import ServerStartFailed
from slipway.settings import Settings

_HOST = "127.0.0.1"
_LIVE_POLL = 0.1
_TAKEN = "Address already in use"
__all__ = ["TorchServeServer", "choose_ports", "configure", "temporary_folder"]


def configure(settings: Settings) -> TorchServeConfig:
    """Finds TorchServe and Java, chooses free ports. Raises EnvironmentUnfit."""
    folder = settings.state_dir / "torchserve"
    return TorchServeConfig(
        installation=find_torchserve(),
        folder=folder,
        temporary=temporary_folder(folder),
        ports=choose_ports(),
        max_request_bytes=settings.max_request_bytes,
    )


def choose_ports() -> Ports:
    """Ports of loopback that are free now."""
    return Ports(*ports.free_ports(_HOST, 6))


@dataclass
class TorchServeServer:
    """One TorchServe process at a time. Call ``start`` from the main thread. ``folder``: the state directory."""

    config: TorchServeConfig
    folder: Path
    log: ComponentLog
    process: ManagedProcess | None = None
    client: ManagementClient | None = None
    _exporter: QueueExporter | None = None
    _reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    _lines: ComponentLog = field(init=False)

    def __post_init__(self) -> None:
        self._lines = open_log("torchserve", self.folder / "logs")

    @property
    def died(self) -> bool:
        """Whether it was started and runs no more."""
        return self.process is not None and self.process.returncode is not None

    def reason(self, model: str, version: int) -> str | None:
        """Why the handler of a version could not start, in its own words; None when it did not say."""
        return self._reasons.get((model, str(version)))

    def start(self, timeout: float, give_up: Callable[[], bool]) -> ManagementClient:
        """Starts the process and waits until it answers. Raises ServerStartFailed with the end of its log.

        ``give_up``: asked while waiting; True ends the wait, with ServerStartFailed too.
        """
        swept = leftovers.sweep(self.config.temporary)
        # somebody may have taken the name since it was chosen: it is free while nothing runs
        self.config = replace(self.config, temporary=temporary_folder(self.config.folder))
        launcher.prepare(self.config)
        argv, environment = launcher.command(self.config)
        self._reasons.clear()
        self.process = ManagedProcess(
            "torchserve", argv, environment, self._line, launcher.working_directory(self.config)
        )
        host, chosen = self.config.host, self.config.ports
        self.client = ManagementClient((host, chosen.management), (host, chosen.http))
        self.log.info("torchserve started", pid=self.process.pid, swept=swept, http=chosen.http)
        deadline = time.monotonic() + timeout
        while not self.client.live(timeout=1.0):
            if self.process.returncode is not None or time.monotonic() > deadline or give_up():
                raise self._failed(timeout)
            time.sleep(_LIVE_POLL)
        self._export_queues(self.client)
        return self.client

    def move_ports(self) -> None:
        """Chooses other ports, for the case that somebody took ours while TorchServe was down."""
        self.config = replace(self.config, ports=choose_ports())

    def ports_taken(self) -> bool:
        """Whether the process ended because a port was not free."""
        return self.died and self.process is not None and _TAKEN in self.process.tail(20)

    def stop(self, grace: float) -> int | None:
        """SIGTERM, SIGKILL after ``grace`` seconds; workers go with java. Then removes what they left in TMPDIR.

        Requests in flight are reset (0.12): the edge is drained first."""
        if self._exporter is not None:
            self._exporter.close()
            self._exporter = None
        self.client = None
        code = self.process.stop(grace) if self.process is not None else None
        self.process = None
        leftovers.sweep(self.config.temporary)
        shutil.rmtree(self.config.temporary, ignore_errors=True)
        return code

    def state(self) -> dict[str, Any]:
        """What goes into the state file."""
        host, chosen = self.config.host, self.config.ports
        values: dict[str, Any] = {
            "http": f"{host}:{chosen.http}",
            "grpc": f"{host}:{chosen.grpc}",
            "metrics": f"{host}:{chosen.metrics}",
            "management": f"{host}:{chosen.management}",
            "queue_metrics": f"{host}:{chosen.queue}",
        }
        if self.process is not None:
            values |= {"pid": self.process.pid, "ticks": self.process.ticks}
        return values

    def _export_queues(self, client: ManagementClient) -> None:
        """At its port, or at another one when somebody took it meanwhile. Raises ServerStartFailed."""
        host, wanted = self.config.host, self.config.ports
        try:
            self._exporter = QueueExporter(host, wanted.queue, client)
        except OSError as taken:
            try:
                self._exporter = QueueExporter(host, 0, client)
            except OSError as problem:
                raise ServerStartFailed("the exporter of TorchServe's queues has no port", observed=problem) from taken
            self.config = replace(self.config, ports=replace(wanted, queue=self._exporter.port))
            self.log.warning("the port of the queues' exporter was taken", port=wanted.queue, now=self._exporter.port)

    def _line(self, line: str) -> None:
        fields = log_lines.parse(line)
        if fields["message"] == log_lines.START_FAILED and "error" in fields:
            self._reasons[str(fields.get("model")), str(fields.get("version"))] = str(fields["error"])
        self._lines.write(fields.pop("level"), fields.pop("message"), **fields)

    def _failed(self, timeout: float) -> ServerStartFailed:
        code = self.process.returncode if self.process is not None else None
        ended = f"ended with {code}" if code is not None else f"did not answer within {timeout:.0f} s"
        tail = self.process.tail() if self.process is not None else ""
        return ServerStartFailed(
            f"TorchServe {ended}", observed=tail or "no output", fix=f"see {self.folder / 'logs' / 'torchserve.jsonl'}"
        )
