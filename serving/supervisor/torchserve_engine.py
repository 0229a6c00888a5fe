"""TorchServe behind the supervisor's calls: the server, its loader, golden predictions, and the pids of its workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from serving import process_id
from serving.json_log import ComponentLog
from serving.supervisor.desired import read_in_process
from serving.supervisor.engine import Addresses, Instance, Session
from serving.supervisor.process import ManagedProcess
from serving.torchserve.archive import Archives
from serving.torchserve.loader import TorchServeLoader
from serving.torchserve.management import ManagementClient
from serving.torchserve.readiness import check_version
from serving.torchserve.server import TorchServeServer, configure
from slipway.errors import ServerUnavailable, VersionLoadFailed
from slipway.repository import Repository
from slipway.settings import Settings

_GOLDEN_TIMEOUT = 20.0
#: Java ends within 4 s when nothing is in flight (0.12), and takes its workers with it.
_STOP_GRACE = 10.0


@dataclass(frozen=True)
class TorchServeChecks:
    """See :class:`serving.supervisor.engine.Checks`."""

    client: ManagementClient
    repository: Repository

    def public(self, model: str, version: int) -> None:
        """The version by its number, through the port that clients' requests take."""
        check_version(self.client, self.repository, model, version, _GOLDEN_TIMEOUT)

    def network(self, model: str, network: str, version: int) -> None:
        """Networks run inside the workers of the public model, which answered: there is nothing to ask."""


@dataclass(frozen=True)
class TorchServeWorker:
    """One worker process. TorchServe starts another in its place when it dies, with another pid."""

    pid: int
    ticks: int | None
    model: str
    version: int

    @property
    def instance(self) -> str:
        """TorchServe has no names for workers."""
        return f"{self.model}/{self.version} pid {self.pid}"

    @property
    def alive(self) -> bool:
        """Whether this very process runs."""
        return process_id.alive(self.pid, self.ticks)


class _Loader(TorchServeLoader):
    """Says which model's workers it is about to end: their deaths are no accidents."""

    def __init__(self, forget: Callable[[str], None], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._forget = forget

    def apply(self, model: str, versions: Sequence[int]) -> dict[int, VersionLoadFailed]:
        """As in TorchServeLoader."""
        self._forget(model)
        return super().apply(model, versions)

    def unload(self, model: str) -> None:
        """As in TorchServeLoader."""
        self._forget(model)
        super().unload(model)


class TorchServeEngine:
    """See :class:`serving.supervisor.engine.Engine`. Raises EnvironmentUnfit without TorchServe or Java."""

    name = "torchserve"

    def __init__(self, settings: Settings, log: ComponentLog) -> None:
        self._settings, self._log = settings, log
        self._repository = Repository(settings.repository)
        self._server = TorchServeServer(configure(settings), settings.state_dir, log)
        self._loader: TorchServeLoader | None = None
        self._workers: list[TorchServeWorker] = []

    @property
    def process(self) -> ManagedProcess | None:
        """The java process."""
        return self._server.process

    @property
    def died(self) -> bool:
        """Whether it was started and runs no more."""
        return self._server.died

    @property
    def addresses(self) -> Addresses:
        """The HTTP and gRPC inference ports."""
        return Addresses(self._server.config.ports.http, self._server.config.ports.grpc)

    @property
    def versions(self) -> dict[str, str | None]:
        """TorchServe's and Java's."""
        installation = self._server.config.installation
        return {"torchserve": installation.version, "java": str(installation.java.version)}

    @property
    def stop_grace(self) -> float:
        """See ``_STOP_GRACE``."""
        return _STOP_GRACE

    def start(self, timeout: float, give_up: Callable[[], bool]) -> Session:
        """Raises ServerStartFailed."""
        client, config = self._server.start(timeout, give_up), self._server.config
        archives = Archives(
            self._repository, config.store, config.cores, config.response_timeout, config.startup_timeout
        )
        self._loader = _Loader(self._forget, client, archives, self._log, timeout, self._server.reason)
        keep = self._settings.load_previous
        return Session(
            loader=self._loader,
            checks=TorchServeChecks(client, self._repository),
            desired=lambda model: read_in_process(self._repository, model, keep),
            looked=self._look,
        )

    def stop(self, grace: float) -> int | None:
        """Removes what workers left in TMPDIR too."""
        self._workers = []
        return self._server.stop(grace)

    def ports_taken(self) -> bool:
        """Whether the process ended because a port was not free."""
        return self._server.ports_taken()

    def move_ports(self) -> None:
        """Chooses other ports for the next start."""
        self._server.move_ports()

    def live(self, timeout: float) -> bool:
        """Whether management and inference answer."""
        return self._server.client is not None and self._server.client.live(timeout)

    def instances(self) -> list[Instance]:
        """The workers as they were seen last; asked of the kernel at every tick, of TorchServe after every pass."""
        return list(self._workers)

    def renew(self, model: str) -> None:
        """TorchServe has started another worker already; the dead one is not mentioned again."""
        self._workers = [worker for worker in self._workers if worker.model != model or worker.alive]

    def state(self) -> dict[str, Any]:
        """Addresses and pid."""
        return {"name": self.name, **self._server.state()}

    def _forget(self, model: str) -> None:
        self._workers = [worker for worker in self._workers if worker.model != model]

    def _look(self) -> None:
        """Which processes there are now. On the loading thread."""
        try:
            found = self._loader.workers() if self._loader is not None else []
        except ServerUnavailable:
            return
        ticks = {item.pid: process_id.start_ticks(item.pid) for item in found if item.pid > 0}
        self._workers = [
            TorchServeWorker(item.pid, ticks[item.pid], item.model, item.version)
            for item in found
            if ticks.get(item.pid) is not None
        ]
