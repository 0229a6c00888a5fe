"""The order in which a real Envoy gets an experiment's clusters and routes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.edge import experiment_clusters
from serving.edge.experiments import LiveExperiment
from serving.edge.fleet import HERE
from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes
from serving.json_log import open_log
from serving.ports import free_ports
from serving.supervisor.edge_server import EdgeServer
from slipway.experiment import Arm, Experiment

ARMED = LiveExperiment(Experiment("m", "e", "s", stable=1, arms=(Arm(2, 0, 1000),)), (1, 2, 3, 4))
ARMLESS = replace(ARMED, experiment=replace(ARMED.experiment, arms=()))
OTHER = replace(ARMED, experiment=replace(ARMED.experiment, arms=(Arm(3, 0, 1000),)))
#: Envoy refuses the whole file of its clusters.
REFUSED = replace(ARMED, experiment=replace(ARMED.experiment, arms=(Arm(4, 0, 1000),), compare_concurrency=-1))
#: A request that was given its way looks for its cluster within this many seconds.
LATEST = 3.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeServer]:
    folder = tmp_path_factory.mktemp("edge")
    config = EdgeConfig("127.0.0.1", *free_ports("127.0.0.1", 5), 1024, folder / "logs", folder / "work")
    config = replace(config, body_timeout=LATEST - 1.0, request_timeout=1.0)
    config.log_dir.mkdir()
    server = EdgeServer(config, open_log("supervisor", config.log_dir))
    try:
        server.start(30, lambda: False)
        yield server
    finally:
        server.stop(5)


@pytest.fixture
def server(running: EdgeServer) -> EdgeServer:
    running.update(table())
    return running


def table(*found: LiveExperiment, ready: bool = True) -> EdgeRoutes:
    return EdgeRoutes(ready, {"m": 1}, found)


def clusters(config: EdgeConfig) -> set[str]:
    return {cluster["name"] for cluster in json.loads(config.clusters_path.read_text())["resources"]}


def ways(config: EdgeConfig) -> set[str]:
    """The clusters of versions that the table on disk leads to."""
    (found,) = json.loads(config.routes_path.read_text())["resources"]
    routes = found["virtual_hosts"][0]["routes"]
    return {route["route"]["cluster"] for route in routes if route["route"]["cluster"].startswith("m/")}


def test_an_abort_leaves_the_clusters_for_requests_that_were_given_their_way(server: EdgeServer) -> None:
    """However many changes come after it: a body that takes its time is sent on when it is complete."""
    server.update(table(ARMED))
    assert "m/2/http+stable" in ways(server.config)
    aborted = time.monotonic()
    for found in ((ARMLESS,), (OTHER,), (), (ARMLESS,)):
        server.update(table(*found))
        assert "m/2/http+stable" in clusters(server.config) - ways(server.config)
    assert time.monotonic() < aborted + LATEST
    while "m/2/http+stable" in clusters(server.config):
        assert time.monotonic() < aborted + 3 * LATEST
        time.sleep(0.1)
        server.update(table(ARMLESS))
    assert time.monotonic() > aborted + LATEST
    assert "m/1/http" in clusters(server.config)


def test_routes_wait_for_their_clusters(server: EdgeServer) -> None:
    for former in ((), (ARMED,)):
        server.update(table(*former))
        before = ways(server.config)
        server.update(table(REFUSED, ready=False))
        assert ways(server.config) == before, "what was in force stays"
        # the rest of the table does not wait
        assert '"ready": false' in server.config.routes_path.read_text()
        begun = time.monotonic()
        server.update(table(REFUSED))
        assert ways(server.config) == before and time.monotonic() < begun + 0.5, "asked again, not waited for again"
    # what takes an arm away waits for nothing
    begun = time.monotonic()
    server.update(table(ARMLESS))
    assert ways(server.config) == set() and time.monotonic() < begun + 0.5
    server.update(table(OTHER))
    assert "m/3/http+stable" in ways(server.config)


def test_places_wait_for_their_clusters_too(server: EdgeServer) -> None:
    spread = replace(table(), places={("m", 7): (HERE,)})
    server.update(replace(table(REFUSED), places=spread.places))
    assert ways(server.config) == set()
    server.update(spread)
    assert ways(server.config) == {"m/7/http", "m/7/grpc"}
    server.update(table())
    assert ways(server.config) == set() and {"m/7/http", "m/7/grpc"} <= clusters(server.config)


def test_nothing_is_waited_for_without_an_envoy(tmp_path: Path) -> None:
    """It reads its clusters before its routes, when it starts."""
    config = EdgeConfig("127.0.0.1", 1, 2, 3, 4, 5, 1024, tmp_path, tmp_path)
    server = EdgeServer(config, open_log("supervisor", tmp_path))
    server.update(table(ARMED))
    assert ways(config) <= experiment_clusters.names(config, (ARMED,))
    assert "m/2/http+stable" in ways(config)
