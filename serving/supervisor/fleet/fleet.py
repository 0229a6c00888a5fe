"""This machine and the other servers as one: which versions can be served, and at which places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from serving.edge.fleet import HERE, Places
from serving.json_log import ComponentLog
from serving.state import ServerState
from serving.supervisor.board import Board
from serving.supervisor.fleet.ask import open_asker
from serving.supervisor.fleet.prober import Prober
from slipway.repository import Repository
from slipway.settings import Settings


class Served(Protocol):
    """What routes and experiments ask of what is served; a Board, or a View."""

    def models(self) -> list[str]:
        """Names of the public models, sorted."""

    def ready_versions(self, model: str) -> tuple[int, ...]:
        """Versions that may get requests."""

    def default_versions(self) -> dict[str, int]:
        """Model or network -> the version of requests without one."""

    def reloading(self, model: str) -> int | None:
        """The pointer's version while it is loaded again."""


@dataclass(frozen=True)
class View:
    """The board of this machine, with what other servers have proven.

    ``proven``: by name of the server. ``elsewhere``: the last known versions of requests without one, of models that
    only other servers had: while those are away too, the model is unavailable, not unknown.
    """

    board: Board
    proven: dict[str, frozenset[tuple[str, int]]]
    elsewhere: dict[str, int] = field(default_factory=dict)

    def models(self) -> list[str]:
        """As in Board."""
        return self.board.models()

    def ready_versions(self, model: str) -> tuple[int, ...]:
        """As in Board; a version that only another server has counts too."""
        elsewhere = {version for found in self.proven.values() for name, version in found if name == model}
        return tuple(sorted({*self.board.ready_versions(model), *elsewhere}))

    def default_versions(self) -> dict[str, int]:
        """As in Board; the pointer's version also where only another server has it."""
        pointers, ready = self.board.pointers(), self.ready_versions
        last = {model: version for model, version in self.elsewhere.items() if model in pointers}
        routes = last | self.board.default_versions()
        return routes | {model: pointer for model, pointer in pointers.items() if pointer in ready(model)}

    def reloading(self, model: str) -> int | None:
        """As in Board."""
        return self.board.reloading(model)

    def places(self) -> Places:
        """Where each version is proven; versions that are so nowhere are left out."""
        return {
            (model, version): names
            for model in self.models()
            for version in self.board.wanted().get(model, ())
            if (names := self._names(model, version))
        }

    def _names(self, model: str, version: int) -> tuple[str, ...]:
        here = (HERE,) if version in self.board.ready_versions(model) else ()
        return (*here, *(name for name, found in self.proven.items() if (model, version) in found))


class Fleet:
    """The probers of all other servers; without any it is the board alone, and no thread runs."""

    def __init__(self, settings: Settings, repository: Repository, board: Board, log: ComponentLog) -> None:
        self._board = board
        self._elsewhere: dict[str, int] = {}
        self._probers = {
            server.name: Prober(server.name, open_asker(settings.engine, server), repository, board.wanted, log)
            for server in settings.server_addresses
        }

    def start(self) -> None:
        """Begins to ask the servers."""
        for prober in self._probers.values():
            prober.start()

    def stop(self) -> None:
        """Asks no more."""
        for prober in self._probers.values():
            prober.stop()

    @property
    def states(self) -> tuple[ServerState, ...]:
        """Every server as it was seen last."""
        return tuple(prober.state for prober in self._probers.values())

    def view(self) -> View:
        """What is served now."""
        view = View(self._board, {name: prober.proven for name, prober in self._probers.items()}, self._elsewhere)
        if self._probers:
            own = self._board.default_versions()
            self._elsewhere = {name: last for name, last in view.default_versions().items() if name not in own}
        return view

    def places(self, view: View) -> Places:
        """Nothing without other servers: requests go to the own engine as they always did."""
        return view.places() if self._probers else {}
