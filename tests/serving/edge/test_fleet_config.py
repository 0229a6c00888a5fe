"""What other servers add to the edge's configuration, and that it is as it always was without them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.edge import config, experiment_clusters, process, routes
from serving.edge.experiments import LiveExperiment
from serving.edge.fleet import HERE
from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes
from slipway.experiment import Arm, Experiment, Shadow
from slipway.servers import parse_servers

ONE, OTHER = "10.0.0.7:8000", "gpu-2.example.org:8000"
SERVERS = parse_servers(["10.0.0.7:8000:8001", "gpu-2.example.org:8000:8001"])
PLACES = {("m", 1): (HERE, ONE, OTHER), ("m", 2): (HERE, ONE), ("m", 3): (ONE,)}
EXPERIMENT = Experiment("m", "e", "s", stable=1, arms=(Arm(2, 0, 1000),), shadow=Shadow(3))
LIVE = LiveExperiment(EXPERIMENT, (1, 2, 3))


@pytest.fixture(params=["triton", "torchserve"])
def edge(tmp_path: Path, request: pytest.FixtureRequest) -> EdgeConfig:
    alone = EdgeConfig("127.0.0.1", 1, 2, 3, 4, 5, 1000, tmp_path / "log", tmp_path / "work", engine=request.param)
    return replace(alone, servers=SERVERS)


def written(edge: EdgeConfig, table: EdgeRoutes) -> list[str]:
    config.write(edge, table)
    return [path.read_text() for path in (edge.bootstrap_path, edge.routes_path, edge.clusters_path)]


def test_nothing_of_a_fleet_is_written_without_one(edge: EdgeConfig) -> None:
    alone = replace(edge, servers=())
    for table in (EdgeRoutes(True, {"m": 1}), EdgeRoutes(True, {"m": 1}, (LIVE,))):
        texts = written(alone, table)
        for word in ("slipway-forwarded", "places:", "+all", "previous_hosts", "LEAST_REQUEST", ONE, OTHER):
            assert not any(word in text for text in texts), word
    # and what is added is added: the rest of the bootstrap is the same
    bare, full = config.bootstrap(alone), config.bootstrap(edge)
    for part in ("clusters", "listeners"):
        ours, theirs = bare["static_resources"][part], full["static_resources"][part]
        names = [server.at(transport) for server in SERVERS for transport in ("http", "grpc")]
        assert [item["name"] for item in theirs] == [*(item["name"] for item in ours), *names]
    assert (
        full["static_resources"]["clusters"][: len(bare["static_resources"]["clusters"])]
        == (bare["static_resources"]["clusters"])
    )


def hosts(cluster: dict[str, Any]) -> list[str]:
    """``here``, or the inner listener of another server; each host has the version as its metadata."""
    (group,) = cluster["load_assignment"]["endpoints"]
    found = []
    for host in group["lb_endpoints"]:
        address = host["endpoint"]["address"]
        inner = address.get("envoy_internal_address", {}).get("server_listener_name")
        found.append(inner or HERE)
        assert host["metadata"]["filter_metadata"]["slipway"]["version"] == cluster["name"].split("/")[1]
    return found


def test_a_version_is_a_cluster_of_its_places(edge: EdgeConfig) -> None:
    found = experiment_clusters.discovery_response(edge, (LIVE,), PLACES)["resources"]
    named = {cluster["name"]: cluster for cluster in found}
    assert hosts(named["m/1/http"]) == [HERE, ONE, OTHER]
    assert hosts(named["m/1/grpc"]) == [HERE, "10.0.0.7:8001", "gpu-2.example.org:8001"]
    assert hosts(named["m/2/http"]) == [HERE, ONE] and hosts(named["m/3/grpc"]) == ["10.0.0.7:8001"]
    assert {named[name]["lb_policy"] for name in ("m/1/http", "m/2/http", "m/3/grpc")} == {"LEAST_REQUEST"}
    # an arm's own failures eject it; of another version only what the way there costs
    assert named["m/2/http"]["outlier_detection"]["consecutive_5xx"] == experiment_clusters.EJECT_AFTER
    assert named["m/1/http"]["outlier_detection"]["enforcing_consecutive_5xx"] == 0
    # copies stay here, where their predictions are recorded, unless the version is not here
    assert hosts(named["m/1/http+copies"]) == [HERE] and hosts(named["m/3/http+copies"]) == [ONE]


def ways(edge: EdgeConfig, table: EdgeRoutes) -> dict[tuple[str, bool], dict[str, Any]]:
    (host,) = routes.route_configuration(edge, table)["virtual_hosts"]
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for route in host["routes"]:
        header = route["match"].get("headers", [{}])[0]
        if header.get("name") == "x-slipway-route":
            key = header["string_match"]["exact"], "grpc" in route["match"]
            # the first that fits decides, and one without `grpc` fits gRPC too
            assert key[1] or (key[0], True) in found
            found[key] = route["route"]
    return found


def test_routes_lead_to_all_places_and_tries_to_another_host(edge: EdgeConfig) -> None:
    table = EdgeRoutes(True, {"m": 1}, (LIVE,), PLACES)
    found = ways(edge, table)
    for version in (1, 2, 3):
        for grpc in (True, False):
            way = found[f"m/{version}+all", grpc]
            assert way["cluster"] == f"m/{version}/{'grpc' if grpc else 'http'}"
            assert way["retry_policy"]["retry_host_predicate"][0]["name"].endswith("previous_hosts")
            # a request that was inside the own engine may be what killed it
            assert "reset" not in way["retry_policy"]["retry_on"].split(",")
            assert ("max_stream_duration" in way) is grpc
    assert found["m/1+copy", False]["cluster"] == "m/1/http"
    assert found["m/2", True]["cluster"] == "m/2/grpc+stable"
    only = ways(edge, EdgeRoutes(True, {"m": 1}, (LIVE,), {("m", 2): (HERE,)}))
    assert only["m/1+copy", False]["cluster"] == "engine_http"


def test_envoy_accepts_it(edge: EdgeConfig) -> None:
    config.write(edge, EdgeRoutes(True, {"m": 1}, (LIVE,), PLACES))
    # Envoy's validation reads no watched files: the clusters of versions go into the bootstrap
    bootstrap = json.loads(edge.bootstrap_path.read_text())
    bootstrap["static_resources"]["clusters"] += [
        {key: value for key, value in cluster.items() if key != "@type"}
        for cluster in json.loads(edge.clusters_path.read_text())["resources"]
    ]
    edge.bootstrap_path.write_text(json.dumps(bootstrap))
    argv, env = process.command(edge)
    done = subprocess.run([*argv, "--mode", "validate"], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
