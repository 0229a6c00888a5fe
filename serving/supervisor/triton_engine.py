"""Triton behind the supervisor's calls: the server, its loader, and golden predictions over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.json_log import ComponentLog
from serving.supervisor import golden
from serving.supervisor.desired import read_desired
from serving.supervisor.engine import Addresses, Instance, Session
from serving.supervisor.loader import Loader
from serving.supervisor.process import ManagedProcess
from serving.supervisor.triton_server import TritonServer, configure
from serving.triton.client import ControlClient
from slipway.repository import Repository
from slipway.settings import Settings

_GOLDEN_TIMEOUT = 20.0
_STOP_GRACE = 5.0
_SLOW_STOP_GRACE = 1.0


@dataclass(frozen=True)
class TritonChecks:
    """See :class:`serving.supervisor.engine.Checks`."""

    client: ControlClient
    repository: Repository

    def public(self, model: str, version: int) -> None:
        """The public model through the python backend."""
        golden.check_public(self.client, self.repository, model, version, _GOLDEN_TIMEOUT)

    def network(self, model: str, network: str, version: int) -> None:
        """The network as a Triton model of its own."""
        golden.check_network(self.client, self.repository, model, network, version, _GOLDEN_TIMEOUT)


class TritonEngine:
    """See :class:`serving.supervisor.engine.Engine`. Raises EnvironmentUnfit when there is no Triton to run."""

    name = "triton"

    def __init__(self, settings: Settings, log: ComponentLog) -> None:
        self._settings, self._log = settings, log
        self._repository = Repository(settings.repository)
        self._server = TritonServer(configure(settings), settings.state_dir, log)
        self._loader: Loader | None = None

    @property
    def process(self) -> ManagedProcess | None:
        """The ``tritonserver`` process."""
        return self._server.process

    @property
    def died(self) -> bool:
        """Whether it was started and runs no more."""
        return self._server.died

    @property
    def addresses(self) -> Addresses:
        """Its HTTP and gRPC ports."""
        return Addresses(self._server.config.http_port, self._server.config.grpc_port)

    @property
    def versions(self) -> dict[str, str | None]:
        """Versions of what the stubs import."""
        return self._server.config.triton.versions

    @property
    def stop_grace(self) -> float:
        """Short after an instance was replaced: Triton then waits its whole exit timeout in any case (2.51)."""
        return _SLOW_STOP_GRACE if self._loader is not None and self._loader.replaced else _STOP_GRACE

    def start(self, timeout: float, give_up: Callable[[], bool]) -> Session:
        """Raises ServerStartFailed."""
        client = self._server.start(timeout, give_up)
        pid = self._server.process.pid if self._server.process is not None else 0
        self._loader = Loader(client, pid, self._settings.repository, self._log, timeout)
        keep = self._settings.load_previous
        return Session(
            loader=self._loader,
            checks=TritonChecks(client, self._repository),
            desired=lambda model: read_desired(self._repository, model, keep),
        )

    def stop(self, grace: float) -> int | None:
        """Removes what is left in /dev/shm too."""
        return self._server.stop(grace)

    def ports_taken(self) -> bool:
        """Whether the process ended because a port was not free."""
        return self._server.ports_taken()

    def move_ports(self) -> None:
        """Chooses other ports for the next start."""
        self._server.move_ports()

    def live(self, timeout: float) -> bool:
        """Whether gRPC answers."""
        return self._server.client is not None and self._server.client.live(timeout)

    def instances(self) -> list[Instance]:
        """The python backend's stubs, whose deaths Triton does not notice."""
        return list(self._loader.stubs()) if self._loader is not None else []

    def renew(self, model: str) -> None:
        """A load that differs replaces the dead instance: its siblings serve until the new set is ready."""
        if self._loader is not None:
            self._loader.mark_stale(model)

    def state(self) -> dict[str, Any]:
        """Addresses, the key of the restricted APIs, pid."""
        return {"name": self.name, **self._server.state()}
