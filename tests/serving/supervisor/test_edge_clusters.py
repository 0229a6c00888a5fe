"""The order in which the edge gets an experiment's clusters and routes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from serving.edge.experiments import LiveExperiment
from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes
from serving.json_log import open_log
from serving.supervisor.edge_server import EdgeServer
from slipway.experiment import Arm, Experiment

ARMED = LiveExperiment(Experiment("m", "e", "s", stable=1, arms=(Arm(2, 0, 1000),)), (1, 2))
ARMLESS = LiveExperiment(replace(ARMED.experiment, arms=()), (1, 2))


def names(config: EdgeConfig) -> set[str]:
    return {cluster["name"] for cluster in json.loads(config.clusters_path.read_text())["resources"]}


def test_an_abort_leaves_the_clusters_for_requests_between_two_tries(tmp_path: Path) -> None:
    config = EdgeConfig("127.0.0.1", 1, 2, 3, 4, 5, 1024, tmp_path, tmp_path)
    server = EdgeServer(config, open_log("supervisor", tmp_path))
    for found, there in (((ARMED,), True), ((ARMLESS,), True), ((), True), ((ARMLESS,), False)):
        server.update(EdgeRoutes(True, {"m": 1}, found))
        assert ("m/2/http+stable" in names(config)) is there
