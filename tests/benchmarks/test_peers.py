"""The peer answers as Slipway does, and the comparison runs both on real servers of a tiny model, for a moment."""

import http.client
import json
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest

from benchmarks.measures import Round
from benchmarks.peers import run as peers
from benchmarks.peers.fastapi_process import FastApiServer
from benchmarks.peers.report import ARMS, COLUMNS, PeersReport
from benchmarks.subject import Subject
from benchmarks.wire import Expected
from handlers.networks import open_network
from handlers.pipeline import Pipeline
from slipway.contract import Contract
from slipway.errors import BenchmarkFailed, ModelNotFound
from slipway.repository import Repository
from slipway.settings import Settings
from tests.serving.dominant_colour import Recipe, photograph, publish

ROOT = Path(__file__).resolve().parents[2]
_BOUNDARY = "aBoundaryOfTheForm"


def subject() -> Subject:
    return Subject("colour", 1, "fused", "openvino-int8", Path("c"), Path("n"), "", "", "", {})


def a_round(arm: str, number: int, speed: float, cpu: float) -> Round:
    used = {arm: cpu * speed / 1000} if arm.startswith("raw") else {"triton": cpu * speed / 1000, "client": 9.0}
    return Round(arm, number, 1.0, int(speed), speed, speed, [10.0] * int(speed), used)


@pytest.fixture
def report() -> PeersReport:
    figures = {
        "raw": (300, 6),
        "slipway-grpc": (270, 7),
        "slipway-http": (240, 8),
        "fastapi": (90, 20),
        "raw-onnx": (100, 18),
    }
    # the second round on half a machine, and as the run leaves them: in another order
    rounds = [a_round(arm, 1, *figures[arm]) for arm in ARMS]
    rounds += [a_round(arm, 2, figures[arm][0] / 2, figures[arm][1]) for arm in reversed(ARMS)]
    when = datetime(2026, 1, 2, tzinfo=timezone.utc)
    return PeersReport(subject(), peers.PeersOptions("colour", rounds=2), rounds, {"CPU": "of the test"}, when)


def test_report_sets_the_arms_against_each_other(report, tmp_path):
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in report.rows()}
    assert list(rows) == list(ARMS)
    assert rows["slipway-grpc"]["of raw"] == "0.900"
    assert rows["slipway-grpc"]["x FastAPI"] == "3.00"
    assert rows["slipway-grpc"]["CPU ms/image"] == "7.00", "without the client's"
    assert rows["slipway-grpc"]["FastAPI CPU / own"] == "2.86"
    assert "0.900 of raw (0.900 to 0.900 by round; target 0.85: met), 3.00 times FastAPI" in report.verdict()
    folder = report.write(tmp_path)
    values = json.loads((folder / "summary.json").read_text())
    assert values["arms"]["fastapi"]["times_fastapi"]["total"] == 1.0
    assert values["arms"]["slipway-http"]["cpu_of_raw"] == pytest.approx(0.75)
    assert (folder / "table.md").read_text().count("| slipway-grpc |") == 1


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"rounds": 0}, {"workers": 0}, {"concurrency": 0}])
def test_options_are_checked(wrong):
    with pytest.raises(BenchmarkFailed, match=next(iter(wrong))):
        peers.PeersOptions(**wrong)


def test_a_model_that_is_not_published_is_named(tmp_path):
    with pytest.raises(ModelNotFound, match="slipway export colour"):
        peers.run(Settings(root=tmp_path), peers.PeersOptions("colour"))


def living() -> set[int]:
    """Processes below this one, without those that have ended and were not waited for."""
    children = psutil.Process().children(recursive=True)
    return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}


def ask(address: str, body: bytes, kind: str = "image/jpeg"):
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", "/predict", body, {"Content-Type": kind})
    response = connection.getresponse()
    return response.status, json.loads(response.read()), response.headers["x-worker"]


def form(name: str, content: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.jpg"\r\n\r\n'
    return head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


@pytest.mark.e2e
def test_the_peer_answers_as_the_pipeline_does(small, tmp_path):
    contract = Contract.read(small.contract)
    (wanted,) = Pipeline(contract, open_network(small.network, contract.network.output)).run([photograph()])
    expected = Expected(wanted.labels[0], float(wanted.scores[0]))
    with FastApiServer(small.contract, small.network, 2, tmp_path / "log") as server:
        server.wait_ready(photograph(), expected)
        tree = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
        multipart = f"multipart/form-data; boundary={_BOUNDARY}"
        bare, formed = ask(server.address, photograph()), ask(server.address, form("image", photograph()), multipart)
        for status, values, worker in (bare, formed):
            assert status == 200
            assert values["labels"] == list(wanted.labels)
            assert values["scores"] == pytest.approx(wanted.scores.tolist(), abs=1e-6)
            assert int(worker) in tree
        status, values, _ = ask(server.address, b"no image")
        assert (status, values["code"]) == (400, "IMAGE_FORMAT_UNSUPPORTED")
        status, values, _ = ask(server.address, form("other", photograph()), multipart)
        assert (status, values["code"]) == (400, "REQUEST_INVALID")
    assert not [pid for pid in tree if psutil.pid_exists(pid)]


@pytest.mark.e2e
def test_a_peer_that_cannot_start_says_why_and_leaves_nothing(small, tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"this is not a network")
    before = living()
    with pytest.raises(BenchmarkFailed, match="FastAPI server does not answer"), FastApiServer(
        small.contract, broken, 1, tmp_path / "log"
    ) as server:  # fmt: skip
        server.wait_ready(photograph(), Expected("red", 1.0))
    assert "NETWORK_UNREADABLE" in (tmp_path / "log").read_text()
    assert living() == before


@pytest.mark.e2e
def test_both_are_measured_in_one_run_and_ended(tmp_path):
    settings = Settings(root=tmp_path, triton_env=ROOT / ".venv-triton")
    settings.repository.mkdir()
    publish(Repository(settings.repository), tmp_path / "scratch", Recipe())
    before = living()
    report = peers.run(settings, peers.PeersOptions("colour", seconds=0.3, rounds=1, concurrency=2))
    assert list(report.arms) == list(ARMS)
    for arm in report.arms.values():
        assert arm.failures == 0 and arm.images > 0 and arm.cpu_ms_per_image() > 0
    assert living() == before
    assert "times FastAPI" in report.verdict()
