"""What is said of a version on another server, when it is asked for, and what follows for this one's requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serving.edge.fleet import HERE
from serving.golden import Golden
from serving.json_log import open_log
from serving.ports import free_ports
from serving.supervisor.board import Board
from serving.supervisor.desired import read_in_process
from serving.supervisor.fleet.ask import open_asker
from serving.supervisor.fleet.fleet import Fleet, View
from serving.supervisor.fleet.prober import Prober, judged
from slipway.contract import Contract
from slipway.errors import NetworkFailed, ServerNotRunning, ServerUnavailable, SlipwayError, VersionNotFound
from slipway.repository import Repository
from slipway.servers import ServerAddress
from slipway.settings import Settings
from tests.serving.dominant_colour import Recipe, publish


@dataclass
class Server:
    """A server that answers what the test says, and counts what it was asked."""

    prove_every: float = 10.0
    alive: bool = True
    has: set[int] = field(default_factory=set)
    lies: set[int] = field(default_factory=set)
    misnames: set[int] = field(default_factory=set)
    cheap_asked: int = 0
    proofs_asked: int = 0

    def live(self) -> None:
        if not self.alive:
            raise ServerNotRunning("connection refused")

    def cheap(self, model: str, version: int) -> None:
        self.cheap_asked += 1
        if version not in self.has:
            raise VersionNotFound("not ready")

    def golden(self, contract: Contract, version: int, golden: Golden) -> tuple[Mapping[str, Any], str]:
        self.proofs_asked += 1
        scores = golden.record["scores"]
        wrong = {**golden.record, "scores": [1.0 - score for score in scores]}
        return (wrong if version in self.lies else golden.record), "7" if version in self.misnames else str(version)

    def close(self) -> None:
        self.alive = False


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("fleet")
    made = Repository(root / "repository")
    made.path.mkdir()
    for gain in (4.0, 6.0):
        publish(made, root / "scratch", Recipe(gain=gain))
    return made


class Probing:
    """A prober and the time that it lives in."""

    def __init__(self, repository: Repository, folder: Path, server: Server) -> None:
        self.now, self.wanted = 100.0, {"colour": (1, 2)}
        log = open_log("supervisor", folder)
        self.prober = Prober("other:1", server, repository, lambda: self.wanted, log, lambda: self.now)

    def look(self, seconds: float = 1.0) -> dict[int, str]:
        self.now += seconds
        self.prober.look()
        return {item.version: item.state for item in self.prober.state.versions}


def test_a_version_is_proven_once_and_then_asked_cheaply(repository: Repository, tmp_path: Path) -> None:
    server = Server(has={1, 2})
    probing = Probing(repository, tmp_path, server)
    assert probing.look() == {1: "ready", 2: "ready"}
    assert probing.prober.proven == {("colour", 1), ("colour", 2)}
    for _ in range(9):
        probing.look()
    assert (server.proofs_asked, server.cheap_asked) == (2, 20)
    probing.look()
    assert server.proofs_asked == 4


def test_one_failure_takes_it_out_and_a_proof_brings_it_back(repository: Repository, tmp_path: Path) -> None:
    server = Server(has={1, 2})
    probing = Probing(repository, tmp_path, server)
    probing.look()
    server.has = {1}
    assert probing.look() == {1: "ready", 2: "lagging"}
    server.has, server.lies = {1, 2}, {2}
    # it says that it is ready: that alone does not count
    assert probing.look() == {1: "ready", 2: "wrong"}
    assert probing.prober.proven == {("colour", 1)}
    server.lies = set()
    assert probing.look() == {1: "ready", 2: "ready"}


def test_another_version_that_answers_is_wrong(repository: Repository, tmp_path: Path) -> None:
    probing = Probing(repository, tmp_path, Server(has={1, 2}, misnames={1}))
    assert probing.look() == {1: "wrong", 2: "ready"}
    (one, _) = probing.prober.state.versions
    assert "another version answered" in one.reason and "7" in one.reason


def test_a_dead_server_is_asked_once_a_round(repository: Repository, tmp_path: Path) -> None:
    server = Server(has={1, 2})
    probing = Probing(repository, tmp_path, server)
    probing.look()
    server.alive, asked = False, server.cheap_asked
    assert probing.look() == {1: "unreachable", 2: "unreachable"}
    assert server.cheap_asked == asked and probing.prober.proven == frozenset()
    # what it proved before is not believed when it comes back
    server.alive, server.lies = True, {1}
    assert probing.look() == {1: "wrong", 2: "ready"}


def test_what_is_wanted_no_more_is_forgotten(repository: Repository, tmp_path: Path) -> None:
    probing = Probing(repository, tmp_path, Server(has={1, 2}))
    probing.look()
    probing.wanted = {"colour": (2,)}
    assert probing.look() == {2: "ready"} and probing.prober.proven == {("colour", 2)}


@pytest.mark.parametrize(
    ("problem", "state"),
    [
        (NetworkFailed("colour version 2 failed", observed="VERSION_NOT_FOUND: version 2 is not loaded"), "lagging"),
        (NetworkFailed("failed", observed="MODEL_NOT_FOUND: model colour is not served"), "lagging"),
        (
            ServerUnavailable("no", observed="SERVER_UNAVAILABLE: the model is not loaded at the moment"),
            "lagging",
        ),
        (ServerUnavailable("no", observed="SERVER_UNAVAILABLE: the model server did not answer"), "unreachable"),
        (ServerNotRunning("10.0.0.7:8000 does not answer", observed="timed out"), "unreachable"),
        (NetworkFailed("colour version 2 failed", observed="INTERNAL: the model failed"), "wrong"),
    ],
)
def test_how_a_failure_is_judged(problem: SlipwayError, state: str) -> None:
    found, reason = judged(problem)
    assert found == state
    assert problem.message in reason and (problem.observed is None or str(problem.observed) in reason)


@pytest.mark.parametrize("engine", ["triton", "torchserve"])
def test_nobody_at_the_address(engine: str) -> None:
    http, grpc = free_ports("127.0.0.1", 2)
    asker = open_asker(engine, ServerAddress("127.0.0.1", http, grpc))
    with pytest.raises(ServerNotRunning):
        asker.live()
    asker.close()


def board_of(repository: Repository, **states: str) -> Board:
    """``v1="ready"``: the states of versions on this machine."""
    board = Board()
    board.observe(read_in_process(repository, "colour"))
    for name, state in states.items():
        board.mark("colour", int(name[1:]), state, "damaged" if state == "failed" else None)
    return board


def test_places_are_this_machine_and_the_servers_with_a_proof(repository: Repository) -> None:
    board = board_of(repository, v1="ready", v2="ready")
    view = View(board, {"a:1": frozenset({("colour", 1)}), "b:1": frozenset({("colour", 1), ("colour", 2)})})
    assert view.places() == {("colour", 1): (HERE, "a:1", "b:1"), ("colour", 2): (HERE, "b:1")}
    board.all_loading()
    assert view.places() == {("colour", 1): ("a:1", "b:1"), ("colour", 2): ("b:1",)}
    assert View(board, {"a:1": frozenset()}).places() == {}


def test_the_pointers_version_is_the_default_where_only_another_server_has_it(repository: Repository) -> None:
    for version in (2, 1):
        repository.set_pointer("colour", version)
    board = board_of(repository, v1="failed", v2="ready")
    assert board.default_versions() == {"colour": 2}
    view = View(board, {"a:1": frozenset({("colour", 1)})})
    assert view.default_versions() == {"colour": 1} and view.ready_versions("colour") == (1, 2)
    assert View(board, {"a:1": frozenset()}).default_versions() == {"colour": 2}


def test_a_model_that_was_only_elsewhere_is_away_and_not_unknown(repository: Repository) -> None:
    board = board_of(repository, v1="failed", v2="failed")
    assert board.default_versions() == {}
    assert View(board, {"a:1": frozenset()}, {"colour": 1, "gone": 3}).default_versions() == {"colour": 1}


def test_without_other_servers_there_are_no_places(repository: Repository, tmp_path: Path) -> None:
    board = board_of(repository, v1="ready", v2="ready")
    fleet = Fleet(Settings(root=tmp_path), repository, board, open_log("supervisor", tmp_path))
    assert fleet.places(fleet.view()) == {} and fleet.states == ()
    assert fleet.view().default_versions() == board.default_versions()
