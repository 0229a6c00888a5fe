"""Which versions a TorchServe is made to hold, with a server of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from serving.json_log import open_log
from serving.torchserve import loader as module
from serving.torchserve.archive import Archives
from serving.torchserve.loader import TorchServeLoader
from serving.torchserve.management import ManagementClient, VersionInfo


class Server:
    """Holds the versions of one model; ``during``: called inside of a registration, an ending or a look."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.archives: set[int] = set()
        self.busy: set[int] = set()
        self.during: dict[str, Callable[[], object]] = {}

    def meanwhile(self, what: str) -> None:
        self.during.pop(what, lambda: None)()

    def describe(self, model: str) -> list[VersionInfo]:
        found = [VersionInfo(model, version, (), 0, 100) for version in sorted(self.held)]
        self.meanwhile("describe")
        return found

    def idle(self, found: VersionInfo) -> bool:
        return found.version not in self.busy

    def register(self, archive: str, workers: int, timeout: float) -> None:
        self.meanwhile("register")
        assert int(archive) in self.archives
        self.held.add(int(archive))

    def unregister(self, model: str, version: int) -> None:
        self.meanwhile("unregister")
        self.held.remove(version)

    def set_default(self, model: str, version: int) -> None:
        assert version in self.held

    # what Archives does
    def sweep(self) -> None: ...

    def workers(self, model: str) -> int:
        return 1

    def ensure(self, model: str, version: int) -> SimpleNamespace:
        self.archives.add(version)
        return SimpleNamespace(name=str(version))

    def discard(self, model: str, version: int) -> None:
        self.archives.discard(version)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def loader(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TorchServeLoader:
    """Version 2 retires and is due."""
    monkeypatch.setattr(module, "_RETIRE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    log = open_log("loader-test", tmp_path)
    made = TorchServeLoader(cast(ManagementClient, server), cast(Archives, server), log, 10)
    made.apply("m", [1, 2])
    made.apply("m", [1, 3])
    return made


def test_what_retires_is_ended(loader: TorchServeLoader, server: Server) -> None:
    assert server.held == {1, 2, 3}
    loader.reap_orphans()
    assert server.held == server.archives == {1, 3}


def test_what_has_requests_in_work_stays_as_long_as_the_edge_waits_for_them(
    loader: TorchServeLoader, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.busy = {2}
    loader.reap_orphans()
    assert server.held == {1, 2, 3}
    monkeypatch.setattr(module, "_RETIRE_AT_LAST", 0.0)
    loader.reap_orphans()
    assert server.held == {1, 3}


def test_a_version_that_is_wanted_again_is_not_ended_while_another_registers(
    loader: TorchServeLoader, server: Server
) -> None:
    server.during["register"] = loader.reap_orphans
    assert loader.apply("m", [4, 2, 1]) == {}
    loader.reap_orphans()
    assert server.held == server.archives == {1, 2, 4} and loader.is_current("m", [4, 2, 1])


@pytest.mark.parametrize("moment", ["describe", "unregister"])
def test_a_version_that_is_wanted_again_while_it_is_ended_is_registered_again(
    loader: TorchServeLoader, server: Server, moment: str
) -> None:
    wanted = threading.Thread(target=loader.apply, args=("m", [2, 1]))

    def want() -> None:
        wanted.start()
        wanted.join(0.3)  # without a lock it is done by then

    server.during[moment] = want
    loader.reap_orphans()
    wanted.join(10)
    loader.reap_orphans()
    assert {1, 2} <= server.held == server.archives and loader.is_current("m", [2, 1])


def test_a_look_for_what_is_there_and_an_ending_do_not_mix(loader: TorchServeLoader, server: Server) -> None:
    server.during["describe"] = loader.reap_orphans
    loader.apply("m", [2, 1])
    assert 2 in server.held and loader.is_current("m", [2, 1])


def test_nothing_is_ended_twice_while_a_model_is_unloaded(loader: TorchServeLoader, server: Server) -> None:
    server.during["unregister"] = loader.reap_orphans
    loader.unload("m")
    assert server.held == set()
