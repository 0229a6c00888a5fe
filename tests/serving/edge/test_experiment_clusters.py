"""What Envoy is told of the clusters of an experiment's versions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.edge import experiment_clusters
from serving.edge.clusters import MAX_REQUESTS
from serving.edge.experiments import LiveExperiment
from serving.edge.fleet import HERE, Places
from serving.edge.process import EdgeConfig
from slipway.experiment import Arm, Experiment, Shadow

EXPERIMENT = Experiment("m", "e", "s", stable=1, arms=(Arm(2, 0, 1000),), shadow=Shadow(3))
TRANSPORTS = ("http", "grpc")


def found(folder: Path, experiment: Experiment, places: Places) -> dict[str, dict[str, Any]]:
    edge = EdgeConfig("127.0.0.1", 1, 2, 3, 4, 5, 1000, folder, folder)
    live = LiveExperiment(experiment, (1, 2, 3))
    written = experiment_clusters.discovery_response(edge, (live,), places)["resources"]
    return {cluster["name"]: cluster for cluster in written}


@pytest.mark.parametrize("places", [{}, {("m", 1): (HERE,), ("m", 2): (HERE,)}])
def test_limits(tmp_path: Path, places: Places) -> None:
    named = found(tmp_path, EXPERIMENT, places)

    def limits(name: str) -> set[int]:
        (threshold,) = named[name]["circuit_breakers"]["thresholds"]
        return {threshold[f"max_{what}"] for what in ("connections", "pending_requests", "requests", "retries")}

    for transport in TRANSPORTS:
        # the stable version has no less room in an experiment than without one
        assert limits(f"m/1/{transport}") == {MAX_REQUESTS}
        # all that an arm has under way may fail at once, and is asked again: Envoy's own limit of retries is 3
        for name in (f"m/2/{transport}", f"m/2/{transport}+stable", f"m/1/{transport}+again"):
            assert limits(name) == {experiment_clusters.MAX_ARM_REQUESTS}
        assert limits(f"m/1/{transport}+copies") == limits(f"m/3/{transport}+copies") == {2}


def test_an_arm_that_nobody_stands_in_for_is_not_ejected(tmp_path: Path) -> None:
    for fallback in (True, False):
        named = found(tmp_path, replace(EXPERIMENT, fallback=fallback), {})
        for transport in TRANSPORTS:
            assert ("outlier_detection" in named[f"m/2/{transport}"]) is fallback
