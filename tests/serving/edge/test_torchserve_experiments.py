"""Experiments at a real edge before a real TorchServe, whose gRPC says OK of what its handlers refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest

from routing.assignment import assign
from serving.client.torchserve_proto import PREDICTIONS
from serving.edge.experiments import LiveExperiment
from serving.edge.routes import EdgeRoutes
from slipway.experiment import Arm, Experiment
from tests.serving.edge.edge_rig import log
from tests.serving.edge.test_torchserve_grpc import failure, message, told
from tests.serving.edge.torchserve_rig import TorchServeRig

pytestmark = pytest.mark.e2e
CANARY = Experiment("echo", "echo-1", "salt-1", stable=1, arms=(Arm(2, 0, 3000),), record=0)
ALL = (Arm(2, 0, 10000),)
Follow = Callable[[Experiment], None]
#: -> the version that answered, by the answer and by its header
Asked = tuple[str, str]


class Client:
    """Asks over one transport; ``failed`` is the code of an answer that is an error."""

    def __init__(self, rig: TorchServeRig, transport: str) -> None:
        self.rig, self.transport = rig, transport
        self.call = grpc.insecure_channel(f"127.0.0.1:{rig.edge.grpc_port}").unary_unary(PREDICTIONS)

    def ask(self, unit: str, text: str = "hi", request_id: str = "") -> Asked:
        sent = {"x-unit-id": unit, **({"x-request-id": request_id} if request_id else {})}
        if self.transport == "grpc":
            answer, call = self.call.with_call(message(text.encode()), timeout=30, metadata=list(sent.items()))
            return told(answer)["version"], str(dict(call.initial_metadata())["x-slipway-version"])
        reply = self.rig.request("POST", "/predictions/echo", text.encode(), {"Content-Type": "image/png", **sent})
        assert reply.status == 200, reply
        return json.loads(reply.body)["version"], reply.headers["x-slipway-version"]

    def refused(self, text: str, request_id: str) -> str:
        if self.transport == "grpc":
            return failure(lambda: self.ask("u", text, request_id))[1].partition(":")[0]
        sent = {"Content-Type": "image/png", "x-unit-id": "u", "x-request-id": request_id}
        return self.rig.request("POST", "/predictions/echo", text.encode(), sent).code


@pytest.fixture(params=["http", "grpc"])
def client(torchserve: TorchServeRig, request: pytest.FixtureRequest) -> Client:
    return Client(torchserve, request.param)


@pytest.fixture
def follow(torchserve: TorchServeRig) -> Iterator[Follow]:
    def start(experiment: Experiment) -> None:
        torchserve.route(EdgeRoutes(True, {"echo": 1}, (LiveExperiment(experiment, (1, 2, 3)),)))

    yield start
    torchserve.route(torchserve.table)


def test_edge_and_python_agree(follow: Follow, client: Client) -> None:
    follow(CANARY)
    expected = {unit: str(assign(CANARY, unit).version) for unit in (f"unit-{n}" for n in range(100))}
    assert {unit: client.ask(unit) for unit in expected} == {unit: (v, v) for unit, v in expected.items()}
    assert set(expected.values()) == {"1", "2"}


def test_what_a_client_did_wrong_is_no_failure_of_the_arm(follow: Follow, client: Client) -> None:
    follow(replace(CANARY, id="echo-coded", arms=ALL))
    for number in range(8):
        assert client.refused("coded", f"c-{client.transport}-{number}") == "IMAGE_TRUNCATED"
    row = log(client.rig, f"c-{client.transport}-7")
    assert (row["answered"], row["failed"], row["attempts"]) == ("2", None, 1)


def test_a_fault_of_both_is_answered_as_it_is(follow: Follow, client: Client) -> None:
    follow(replace(CANARY, id="echo-both", arms=ALL))
    assert client.refused("fail", f"b-{client.transport}") == "NETWORK_FAILED"
    assert log(client.rig, f"b-{client.transport}")["attempts"] == 2


def test_without_a_fallback_the_error_of_the_arm_is_answered(follow: Follow, client: Client) -> None:
    follow(replace(CANARY, id="echo-alone", arms=ALL, fallback=False))
    assert client.refused("fail2", f"a-{client.transport}") == "NETWORK_FAILED"
    row = log(client.rig, f"a-{client.transport}")
    assert (row["answered"], row["attempts"]) == ("2", 1)


def test_a_failing_arm_falls_back_and_is_ejected(follow: Follow, client: Client) -> None:
    """Also when many requests meet it at once; after five failures in a row the arm is not asked at all."""
    follow(replace(CANARY, id=f"echo-{client.transport}", arms=ALL))
    first = f"f-{client.transport}-first"
    assert client.ask("u", "fail2", first) == ("1", "1")
    row = log(client.rig, first)
    assert (row["assigned"], row["answered"], row["failed"], row["attempts"]) == ("2", "1", "1", 2)
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda n: client.ask(f"u{n}", "fail2"), range(32))) == {("1", "1")}
    assert client.ask("u", "fail2", f"{first}-out") == ("1", "1")
    row = log(client.rig, f"{first}-out")
    assert (row["assigned"], row["answered"], row["failed"], row["attempts"]) == ("2", "1", None, 1)
