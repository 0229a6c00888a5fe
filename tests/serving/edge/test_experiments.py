"""Experiments at a real edge before a real Triton: who sees which version, what is copied, what a failing arm costs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from routing.assignment import assign
from serving.edge import experiment_clusters
from serving.edge.copies import Copies, counted
from serving.edge.experiments import LiveExperiment
from serving.edge.routes import EdgeRoutes
from serving.state import ProcessState, State
from slipway.experiment import Arm, Experiment, Layer, Shadow
from tests.serving.edge.edge_rig import ECHO_CONFIG, Reply, Rig, log, wait
from tests.serving.edge.test_edge_grpc import MODEL_INFER
from tests.serving.edge.test_edge_grpc import echo as echo_message
from tests.serving.edge.test_edge_http import echo as echo_json

pytestmark = pytest.mark.e2e
CANARY = Experiment("echo", "echo-1", "salt-1", stable=1, arms=(Arm(2, 0, 3000),), record=0)
UNITS = [f"unit-{n}" for n in range(200)] + ["", "ü", "日本語", "a" * 300, "x;y=z", 'quote"', "é" * 200]
BLANKS = [" lead", "trail ", "\t both \t ", "a  b", "c" * 250 + "   " + "d" * 50, " " * 300 + "far"]


def ask(rig: Rig, unit: str | None, text: str = "hi", path: str = "/v2/models/echo/infer", **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if unit:
        sent["x-unit-id"] = unit
    return rig.request("POST", path, echo_json(text), sent)


def answered(reply: Reply) -> str:
    assert reply.status == 200, reply
    version = str(json.loads(reply.body)["model_version"])
    assert reply.headers["x-slipway-version"] == version
    return version


class Grpc:
    def __init__(self, rig: Rig) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{rig.edge.grpc_port}")
        self.call = self.channel.unary_unary(
            MODEL_INFER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )

    def ask(self, unit: str, text: str = "hi", request_id: str = "") -> str:
        sent = [("x-unit-id", unit), *([("x-request-id", request_id)] if request_id else [])]
        answer, call = self.call.with_call(echo_message(text.encode()), timeout=20, metadata=sent)
        assert dict(call.initial_metadata())["x-slipway-version"] == answer.model_version
        return str(answer.model_version)


@pytest.fixture
def follow(rig: Rig) -> Iterator[object]:
    def start(experiment: Experiment, ready: tuple[int, ...] = (1, 2, 3)) -> None:
        rig.route(EdgeRoutes(True, {"echo": 1, "double": 1}, (LiveExperiment(experiment, ready),)))

    yield start
    rig.route(rig.table)


def test_edge_and_python_agree_over_both_transports(rig: Rig, follow) -> None:
    follow(CANARY)
    client = Grpc(rig)
    for unit in UNITS[:200]:
        expected = str(assign(CANARY, unit).version)
        assert answered(ask(rig, unit)) == expected
        assert client.ask(unit) == expected
    for unit in UNITS[200:]:
        if unit:
            assert answered(ask(rig, unit)) == str(assign(CANARY, unit).version), unit
    for unit in BLANKS:
        expected = assign(CANARY, unit)
        assert answered(ask(rig, unit, x_request_id=f"q-{expected.unit_hash}")) == str(expected.version), unit
        assert log(rig, f"q-{expected.unit_hash}")["unit"] == expected.unit_hash
        assert client.ask(unit.replace("\t", " "), request_id=f"q-grpc-{expected.unit_hash}") == str(
            expected.version
        ), unit
        assert log(rig, f"q-grpc-{expected.unit_hash}")["unit"] == expected.unit_hash


def test_a_larger_share_takes_nobody_out(rig: Rig, follow) -> None:
    follow(CANARY)
    before = {unit for unit in UNITS[:100] if answered(ask(rig, unit)) == "2"}
    follow(replace(CANARY, arms=(Arm(2, 0, 6000),)))
    after = {unit for unit in UNITS[:100] if answered(ask(rig, unit)) == "2"}
    assert before < after and 10 < len(before) < len(after) < 90


def test_clusters_of_an_arm_that_is_taken_back_outlive_its_routes(rig: Rig) -> None:
    """A request that waits for its second try still finds the stable version there."""
    armed = LiveExperiment(CANARY, (1, 2, 3))
    armless = LiveExperiment(replace(CANARY, arms=()), (1, 2, 3))
    found = experiment_clusters.discovery_response(rig.edge, (armless, armed))
    names = [cluster["name"] for cluster in found["resources"]]
    assert "echo/2/grpc+stable" in names and len(names) == len(set(names))
    alone = experiment_clusters.discovery_response(rig.edge, (armless,))
    assert "echo/2/grpc+stable" not in [cluster["name"] for cluster in alone["resources"]]


def test_override_allow_list_and_paths_win_and_are_marked(rig: Rig, follow) -> None:
    unit = next(unit for unit in UNITS if assign(CANARY, unit).version == 1)
    long = "v" * 256
    follow(replace(CANARY, allow={"vip": 3, long: 3, long + "w": 2}))
    for named in (" vip ", long, long + "w"):
        assert answered(ask(rig, named)) == "3"
    cases = {
        "override": (ask(rig, unit, x_model_version="3", x_request_id="q-override"), "3"),
        "allow": (ask(rig, "vip", x_request_id="q-allow"), "3"),
        "stable": (ask(rig, unit, x_request_id="q-stable"), "1"),
    }
    for why, (reply, version) in cases.items():
        row = log(rig, f"q-{why}")
        assert answered(reply) == version
        assert (row["why"], row["assigned"], row["answered"], row["experiment"]) == (why, version, version, "echo-1")
    reply = ask(rig, unit, path="/v2/models/echo/versions/2/infer", x_request_id="q-path")
    row = log(rig, "q-path")
    assert answered(reply) == "2" and row["why"] == "override" and row["experiment"] is None
    assert ask(rig, unit, x_model_version="nonsense", x_request_id="q-nonsense").code == "VERSION_NOT_FOUND"
    row = log(rig, "q-nonsense")
    assert (row["experiment"], row["assigned"], row["code"]) == (None, None, "VERSION_NOT_FOUND")
    assert ask(rig, unit, x_model_version="77").code == "VERSION_NOT_FOUND"


def test_cookies_and_layers(rig: Rig, follow) -> None:
    layered = replace(CANARY, units=("cookie:uid",), layer=Layer("home", 0, 5000))
    follow(layered)
    for unit in UNITS[:40]:
        assert answered(ask(rig, None, cookie=f"a=b; uid={unit}; c=d")) == str(assign(layered, unit).version)
    assert {assign(layered, unit).why for unit in UNITS[:40]} == {"arm", "stable", "layer"}


def test_an_arm_that_is_not_ready_gets_nobody(rig: Rig, follow) -> None:
    follow(CANARY, ready=(1,))
    unit = next(unit for unit in UNITS if assign(CANARY, unit).version == 2)
    assert answered(ask(rig, unit, x_request_id="q-unready")) == "1"
    assert log(rig, "q-unready")["why"] == "unready"


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_failing_arm_falls_back_and_is_ejected(rig: Rig, follow, transport: str) -> None:
    """The client never sees the failure; after five in a row the arm is not asked at all."""
    follow(replace(CANARY, id=f"echo-{transport}", arms=(Arm(2, 0, 10000),)))
    client = Grpc(rig)
    for number in range(8):
        if transport == "http":
            assert answered(ask(rig, f"u{number}", "raise2", x_request_id=f"q-{transport}-{number}")) == "1"
        else:
            assert client.ask(f"u{number}", "raise2") == "1"
    if transport == "http":
        first, last = log(rig, "q-http-0"), log(rig, "q-http-7")
        assert (first["assigned"], first["answered"], first["failed"]) == ("2", "1", "1")
        assert (last["assigned"], last["answered"], last["failed"]) == ("2", "1", None)
    wait(lambda: answered(ask(rig, "u1")) == "2", 20, "the arm is asked again after its ejection")


def test_a_fault_of_both_is_answered_once_as_it_is(rig: Rig, follow) -> None:
    follow(replace(CANARY, id="echo-both", arms=(Arm(2, 0, 10000),)))
    reply = ask(rig, "u", "raise", x_request_id="q-both")
    assert reply.status == 500 and log(rig, "q-both")["attempts"] == 2
    reply = ask(rig, "u", "coded", x_request_id="q-coded")
    assert reply.status == 400 and reply.code == "IMAGE_TRUNCATED" and log(rig, "q-coded")["attempts"] == 1
    wait(lambda: answered(ask(rig, "u1")) == "2", 20, "the arm is asked again")


def seen(rig: Rig, version: int, text: str) -> int:
    path = rig.folder / "repository" / "echo" / str(version) / "model.py.seen"
    return path.read_bytes().splitlines().count(text.encode()) if path.exists() else 0


def test_a_shadow_sees_copies_and_nobody_sees_it(rig: Rig, follow) -> None:
    follow(replace(CANARY, id="echo-shadow", arms=(), shadow=Shadow(3, 10000, 8)))
    client = Grpc(rig)
    for number in range(5):
        assert answered(ask(rig, f"u{number}", "shadowed")) == "1"
        assert client.ask(f"u{number}", "shadowed") == "1"
    wait(lambda: seen(rig, 3, "shadowed") == 10, 10, "ten copies")
    assert seen(rig, 1, "shadowed") == 10


def test_an_arms_requests_are_copied_to_the_stable_version(rig: Rig, follow) -> None:
    follow(replace(CANARY, id="echo-copy", arms=(Arm(2, 0, 10000),), compare=10000))
    client = Grpc(rig)
    assert answered(ask(rig, "u", "paired")) == "2" and client.ask("u", "paired") == "2"
    wait(lambda: seen(rig, 1, "paired") == 2 and seen(rig, 2, "paired") == 2, 10, "copies to the stable version")


def test_a_shadow_that_hangs_slows_nobody(rig: Rig, follow) -> None:
    """Its copies are capped; the primary's answers are as quick as without it."""
    state = State(ProcessState(1, None), "ready", "", {}, {}, {"admin": f"127.0.0.1:{rig.edge.admin_port}"})
    follow(replace(CANARY, id="echo-hang", arms=(), shadow=Shadow(3, 10000, 2)))
    before = counted(state, "echo", 3) or Copies()
    started = time.monotonic()
    versions = Counter(answered(ask(rig, f"u{n}", "hang3")) for n in range(40))
    assert versions == {"1": 40} and time.monotonic() - started < 5
    after = counted(state, "echo", 3)
    assert after is not None
    # as many as may be under way, and may wait for a connection; all others were dropped
    assert 2 <= after.waiting <= 4
    assert after.sent - before.sent + after.dropped - before.dropped == 40
    assert after.failed == before.failed
    assert counted(state, "echo", 7) is None


def test_clients_cannot_send_the_edges_own_headers(rig: Rig, follow) -> None:
    follow(CANARY)
    unit = next(unit for unit in UNITS if assign(CANARY, unit).version == 1)
    forged = {"x_slipway_route": "echo/2", "x_slipway_try": "2", "x_slipway_arm": "2", "x_slipway_record": "image"}
    assert answered(ask(rig, unit, **forged)) == "1"


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_failing_arm_is_asked_once_while_the_stable_version_is_away(rig: Rig, follow, transport: str) -> None:
    """All tries after the arm's are the stable version's, and ask for it."""
    follow(replace(CANARY, id=f"echo-away-{transport}", arms=(Arm(2, 0, 10000),)))
    request_id = f"q-away-{transport}"
    client = Grpc(rig)
    free = {"http": lambda: answered(ask(rig, "u")), "grpc": lambda: client.ask("u")}[transport]
    wait(lambda: free() == "2", 30, "the arm is free of what tests before did to it")
    serve_versions(rig, "specific {versions: [2, 3]}")
    before = seen(rig, 2, "raise2")
    with ThreadPoolExecutor(1) as pool:
        if transport == "http":
            found = pool.submit(lambda: answered(ask(rig, "u", "raise2", x_request_id=request_id)))
        else:
            found = pool.submit(lambda: client.ask("u", "raise2", request_id))
        time.sleep(0.7)
        serve_versions(rig, "all {}")
        assert found.result(20) == "1"
    assert seen(rig, 2, "raise2") == before + 1
    row = log(rig, request_id)
    assert (row["answered"], row["failed"], row["attempts"]) == ("1", "1", 2)


def serve_versions(rig: Rig, policy: str) -> None:
    path = rig.folder / "repository" / "echo" / "config.pbtxt"
    path.write_text(ECHO_CONFIG.replace("all {}", policy))
    assert rig.repository_call("echo", "load")
