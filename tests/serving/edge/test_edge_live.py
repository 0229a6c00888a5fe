"""The edge while things change under load: the routing table, a drain, a dead Triton, a dead model process."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from serving.edge import admin, routes
from serving.edge.experiments import LiveExperiment
from serving.edge.routes import EdgeRoutes
from slipway.experiment import Arm, Experiment
from tests.serving.edge.edge_rig import Rig, wait
from tests.serving.edge.test_edge_grpc import MODEL_INFER
from tests.serving.edge.test_edge_grpc import echo as echo_message
from tests.serving.edge.test_edge_http import echo as echo_json

pytestmark = pytest.mark.e2e

REFUSED = "connection refused"


@dataclass
class Outcome:
    """What the clients saw: answers by version, failures of accepted requests, refused connections."""

    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    #: When each failed request was sent (monotonic seconds), in the order of ``failures``.
    failed_sent: list[float] = field(default_factory=list)
    refused: int = 0
    slowest: float = 0.0

    def fail(self, text: str, sent: float) -> None:
        self.failures.append(text)
        self.failed_sent.append(sent)


def http_client(rig: Rig, text: str, outcome: Outcome, stop: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", rig.edge.http_port, timeout=30)
    while not stop.is_set():
        try:
            connection.connect() if connection.sock is None else None
        except OSError:
            outcome.refused += 1
            return
        started = time.monotonic()
        try:
            connection.request("POST", "/v2/models/echo/infer", echo_json(text))
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            outcome.fail(f"http {error!r}", started)
            connection.close()
            continue
        outcome.slowest = max(outcome.slowest, time.monotonic() - started)
        if response.status == 200:
            outcome.versions[json.loads(body)["model_version"]] += 1
        else:
            outcome.fail(f"http {response.status} {body!r}", started)


def grpc_client(rig: Rig, text: str, outcome: Outcome, stop: threading.Event) -> None:
    request = echo_message(text.encode())
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(f"127.0.0.1:{rig.edge.grpc_port}", options=options) as channel:
        call = channel.unary_unary(
            MODEL_INFER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )
        while not stop.is_set():
            started = time.monotonic()
            try:
                outcome.versions[call(request, timeout=30).model_version] += 1
            except grpc.RpcError as error:
                if REFUSED in error.details().lower():
                    outcome.refused += 1
                    return
                outcome.fail(f"grpc {error.code()} {error.details()}", started)
            outcome.slowest = max(outcome.slowest, time.monotonic() - started)


@contextlib.contextmanager
def load(rig: Rig, text: str = "hi", clients: int = 2) -> Iterator[Outcome]:
    """Both transports, ``clients`` of each, one request after the other, until the block ends."""
    outcome, stop = Outcome(), threading.Event()
    jobs: list[Callable[..., None]] = [http_client, grpc_client] * clients
    threads = [threading.Thread(target=job, args=(rig, text, outcome, stop)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield outcome
    finally:
        stop.set()
        for thread in threads:
            thread.join(40)


def test_version_change_under_load_loses_nothing(rig: Rig) -> None:
    took = []
    with load(rig) as outcome:
        for version in (3, 1, 2) * 5:
            table = EdgeRoutes(True, {**rig.table.default_versions, "echo": version})
            started = time.monotonic()
            routes.update(rig.edge, table)
            routes.wait_in_force(rig.edge, table)
            took.append(time.monotonic() - started)
            time.sleep(0.05)
            answer = rig.request("POST", "/v2/models/echo/infer", echo_json("x"))
            assert json.loads(answer.body)["model_version"] == str(version)
    assert not outcome.failures
    assert set(outcome.versions) == {"1", "2", "3"}
    assert max(took) < 1.0


def test_drain_finishes_what_was_accepted(own_rig: Rig) -> None:
    with load(own_rig, "sleep0.05", clients=4) as outcome:
        time.sleep(1)
        started = time.monotonic()
        assert admin.drain(own_rig.edge, timeout=15)
        assert time.monotonic() - started < 6
        time.sleep(0.2)
    assert not outcome.failures
    assert outcome.refused == 8 and outcome.versions["2"] > 8
    assert admin.active_requests(own_rig.edge) == 0


def test_drain_waits_for_a_long_request_and_gives_up_in_time(own_rig: Rig) -> None:
    answered: list[int] = []
    job = threading.Thread(
        target=lambda: answered.append(own_rig.request("POST", "/v2/models/echo/infer", echo_json("sleep4")).status)
    )
    job.start()
    wait(lambda: admin.active_requests(own_rig.edge) == 1, 5, "request under way")
    assert not admin.drain(own_rig.edge, timeout=2)
    assert admin.drain(own_rig.edge, timeout=10)
    job.join(10)
    assert answered == [200]


@pytest.mark.parametrize("arms", [(), (Arm(3, 0, 10000),)], ids=["alone", "experiment"])
def test_killed_triton_fails_only_what_was_in_flight(own_rig: Rig, arms: tuple[Arm, ...]) -> None:
    found = LiveExperiment(Experiment("echo", "echo-1", "salt", stable=2, arms=arms), (1, 2, 3))
    own_rig.route(replace(own_rig.table, experiments=(found,) if arms else ()))
    with load(own_rig, "sleep0.05") as outcome:
        time.sleep(1)
        own_rig.kill_triton()
        gone = time.monotonic()
        time.sleep(1)
        own_rig.start_triton()
        before = sum(outcome.versions.values())
        wait(lambda: sum(outcome.versions.values()) > before + 20, 15, "answers after the restart")
    # SIGKILL takes milliseconds, and connections end one by one: a client may meet the dying process twice, and nobody
    # fails who asked after it was gone.
    assert all(sent < gone for sent in outcome.failed_sent), outcome.failures
    assert len(outcome.failures) <= 8, outcome.failures
    assert all("SERVER_UNAVAILABLE" in text for text in outcome.failures), outcome.failures
    assert outcome.slowest < 15


def test_dead_model_process_is_bridged_until_it_is_healed(own_rig: Rig) -> None:
    with load(own_rig) as outcome:
        time.sleep(0.5)
        for _ in range(2):  # both instances of the routed version
            own_rig.request("POST", "/v2/models/echo/infer", echo_json("crash"))
        time.sleep(1)
        assert own_rig.repository_call("echo", "unload")
        assert own_rig.repository_call("echo", "load")
        before = sum(outcome.versions.values())
        wait(lambda: sum(outcome.versions.values()) > before + 20, 15, "answers after the reload")
    # Each crash may take the requests with it that were in the same process.
    assert len(outcome.failures) <= 8, outcome.failures
    assert outcome.slowest < 15
    assert set(outcome.versions) == {"2"}


def test_a_dead_version_is_not_taken_for_another_that_a_request_kills(own_rig: Rig) -> None:
    """Instances have the same names in all versions. A request that was inside one that died is never repeated."""
    with grpc.insecure_channel(f"127.0.0.1:{own_rig.edge.grpc_port}") as channel:  # one worker of Envoy
        call = channel.unary_unary(MODEL_INFER)

        def ask(text: bytes, version: str) -> grpc.Future:
            return call.future(echo_message(text, version=version).SerializeToString(), timeout=15)

        for _ in range(2):  # both instances
            assert ask(b"crash", "2").code() is grpc.StatusCode.UNAVAILABLE
        waiting = ask(b"x", "2")  # is repeated, and meets both again and again
        time.sleep(1.5)
        assert ask(b"crash3", "3").code() is grpc.StatusCode.UNAVAILABLE
        waiting.cancel()
    assert (own_rig.folder / "repository/echo/3/model.py.seen").read_text().split() == ["crash3"]


def test_without_triton_health_is_down_at_once(own_rig: Rig) -> None:
    own_rig.kill_triton()
    started = time.monotonic()
    reply = own_rig.request("GET", "/v2/health/ready")
    assert (reply.status, reply.code) == (503, "SERVER_UNAVAILABLE")
    assert time.monotonic() - started < 2.5
    assert admin.ready(own_rig.edge)
