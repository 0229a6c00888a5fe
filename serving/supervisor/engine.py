"""What the supervisor asks of a model server, whichever it is: Triton and TorchServe stand behind the same calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from serving.supervisor.desired import DesiredModel
from serving.supervisor.process import ManagedProcess
from slipway.errors import VersionLoadFailed


class Addresses(NamedTuple):
    """The server's ports on loopback."""

    http: int
    grpc: int


class Instance(Protocol):
    """A process of the server that answers for one version; ``instance``: the server's name for it."""

    @property
    def model(self) -> str: ...  # noqa: D102

    @property
    def version(self) -> int: ...  # noqa: D102

    @property
    def instance(self) -> str: ...  # noqa: D102

    @property
    def pid(self) -> int: ...  # noqa: D102

    @property
    def alive(self) -> bool: ...  # noqa: D102


class ModelLoader(Protocol):
    """Makes the server hold exactly the versions that are wanted. Loading happens on one thread."""

    @property
    def models(self) -> list[str]:
        """Server models of which something is loaded."""

    def mark_stale(self, model: str) -> None:
        """This model is to be loaded anew, although nothing changed in the repository. From any thread."""

    def count_auto(self, model: str, called: bool) -> None:
        """Whether a network answers requests (``called``), for those that have as many instances as that needs."""

    def is_current(self, model: str, versions: Sequence[int]) -> bool:
        """Whether the server holds exactly these versions as they are on the disk."""

    def apply(self, model: str, versions: Sequence[int]) -> dict[int, VersionLoadFailed]:
        """Loads ``versions``, the most wanted first, and no other; returns those that were refused, with reasons.

        What served before goes on serving. Raises ServerUnavailable."""

    def unload(self, model: str) -> None:
        """Unloads every version of a model. Raises ServerUnavailable."""

    def reap_orphans(self) -> None:
        """Ends what was replaced or is wanted no more, once nothing waits for it. Called at every tick."""


class Checks(Protocol):
    """Golden predictions. Raise VersionLoadFailed for a wrong answer, ServerUnavailable and InstanceDead for none."""

    def public(self, model: str, version: int) -> None:
        """Asks one version of a public model for its golden image."""

    def network(self, model: str, network: str, version: int) -> None:
        """Asks a network of the public ``model`` by itself."""


@dataclass(frozen=True)
class Session:
    """What one process of the server offers until it ends; the next process brings another.

    ``desired``: what is to be loaded of a model, from the repository. ``looked``: called after every pass and probe.
    """

    loader: ModelLoader
    checks: Checks
    desired: Callable[[str], DesiredModel]
    looked: Callable[[], None] = lambda: None


class Engine(Protocol):
    """One kind of model server; at most one process of it at a time."""

    @property
    def name(self) -> str:
        """As ``SLIPWAY_ENGINE`` spells it."""

    @property
    def process(self) -> ManagedProcess | None:
        """The server, None before the first start and after a stop."""

    @property
    def died(self) -> bool:
        """Whether it was started and runs no more."""

    @property
    def addresses(self) -> Addresses:
        """Where the edge finds it."""

    @property
    def versions(self) -> dict[str, str | None]:
        """Versions of what it consists of, for the log."""

    @property
    def stop_grace(self) -> float:
        """Seconds that it gets to end once nothing is in flight."""

    def start(self, timeout: float, give_up: Callable[[], bool]) -> Session:
        """Starts the process and waits until it answers; from the main thread. Raises ServerStartFailed with the end
        of its log. ``give_up``: asked while waiting; True ends the wait, with ServerStartFailed too."""

    def stop(self, grace: float) -> int | None:
        """SIGTERM, SIGKILL after ``grace`` seconds; then removes what is left of it."""

    def ports_taken(self) -> bool:
        """Whether the process ended because a port was not free."""

    def move_ports(self) -> None:
        """Chooses other ports for the next start."""

    def live(self, timeout: float) -> bool:
        """Whether the server answers at all."""

    def instances(self) -> list[Instance]:
        """The processes that should be alive now."""

    def renew(self, model: str) -> None:
        """An instance of the model died: whatever the server does not do about it by itself."""

    def state(self) -> dict[str, Any]:
        """What goes into the state file."""
