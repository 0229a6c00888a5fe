"""Both benchmarks against real servers of a tiny model: seconds, not figures."""

import json
from pathlib import Path

import pytest

from benchmarks import chaos, serving
from benchmarks.load import LoadPlan, run_locust
from benchmarks.options import Options
from benchmarks.subject import Subject, find_subject
from benchmarks.wire import Expected
from serving import control
from serving.ports import free_ports
from slipway.repository import Repository
from slipway.settings import Settings
from tests.serving.dominant_colour import Recipe, publish

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory):
    """A served tiny model; a server of its own for each test, because one of them ends it."""
    root = tmp_path_factory.mktemp("benchmarked")
    http_port, grpc_port = free_ports("127.0.0.1", 2)
    made = Settings(root=root, triton_env=ROOT / ".venv-triton", http_port=http_port, grpc_port=grpc_port)
    made.repository.mkdir()
    publish(Repository(made.repository), root / "scratch", Recipe())
    control.start_detached(made)
    yield made
    control.stop(made)


def wrong_expectations(subject: Subject, protocol: str, images: Path) -> LoadPlan:
    return LoadPlan(
        protocol=protocol,
        address=subject.edge_http if protocol == "http" else subject.edge_grpc,
        model=subject.model,
        asked_version=None,
        versions=(subject.version,),
        images=images,
        expected=[Expected("red", 2.0)] * 8,
        batch=2,
        users=2,
        seconds=0.5,
        pids=subject.pids,
        warmup=0.1,
    )


def test_serving(settings, small, tmp_path):
    arms = ("raw", "grpc", "http", "triton-grpc", "envoy-grpc")
    options = Options(
        model="colour", seconds=0.5, rounds=1, concurrency=3, batch=2, arms=arms, out=tmp_path / "results"
    )
    report = serving.run(settings, options)
    for arm in report.arms:
        assert arm.failures == 0
        assert arm.images > 0
        assert arm.cpu_ms_per_image() > 0
    assert {path.name for path in report.folder.iterdir()} == {
        "report.html",
        "requests.csv",
        "rounds.csv",
        "summary.json",
    }
    # answers that differ from the pipeline's are failures, over either protocol
    subject = find_subject(settings, "colour")
    for protocol in ("http", "grpc"):
        record = run_locust(wrong_expectations(subject, protocol, small.images), tmp_path / protocol)
        assert record.requests
        assert all("instead of 'red' 2.0000" in error for _, _, error in record.requests)


def test_chaos(settings, tmp_path):
    options = chaos.ChaosOptions(model="colour", clients=4, calm=1.0, out=tmp_path)
    report = chaos.run(settings, options)
    outcomes = {outcome.event: outcome for outcome in report.outcomes}
    assert list(outcomes) == [
        "kill -9 one instance",
        "kill -9 all instances",
        "kill -9 Triton",
        "kill -9 Envoy",
        "SIGTERM supervisor",
    ]
    for event, outcome in outcomes.items():
        assert outcome.requests > 0
        assert event.startswith("SIGTERM") or outcome.seconds_to_first_good_answer is not None
    stopped = outcomes["SIGTERM supervisor"]
    assert (stopped.failed_in_flight, stopped.failed_later) == (0, 0)
    assert json.loads(report.path.read_text())["events"][0]["event"] == "kill -9 one instance"
