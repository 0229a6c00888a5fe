"""What a client sends must not look like a failure of the version that it was assigned to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from routing.store.rows import EXPOSURE_COLUMNS, exposure
from serving.edge import routes
from serving.edge.experiments import LiveExperiment
from serving.edge.routes import EdgeRoutes
from slipway.experiment import Arm
from tests.serving.edge.edge_rig import Rig, log, wait
from tests.serving.edge.hostile import ECHO
from tests.serving.edge.test_edge_grpc import MODEL_INFER, echo, failure, frame
from tests.serving.edge.test_edge_http import echo as echo_json
from tests.serving.edge.test_experiments import CANARY, Grpc, answered, ask

pytestmark = pytest.mark.e2e
ALL = replace(CANARY, id="echo-forged", arms=(Arm(2, 0, 10000),))
BAD = b"\xff\xfe"


@pytest.fixture(scope="module")
def arm(rig: Rig) -> Iterator[None]:
    """Every unit is the arm's, version 2."""
    rig.route(EdgeRoutes(True, {"echo": 1, "double": 1}, (LiveExperiment(ALL, (1, 2, 3)),)))
    wait(lambda: answered(ask(rig, "u")) == "2", 30, "the arm is free of what tests before did to it")
    client = Grpc(rig)
    wait(lambda: client.ask("u") == "2", 30, "the same over gRPC, which is a cluster of its own")
    yield
    rig.route(rig.table)


@pytest.fixture(scope="module")
def call(rig: Rig) -> Iterator[Callable[..., bytes]]:
    with grpc.insecure_channel(f"127.0.0.1:{rig.edge.grpc_port}") as channel:
        yield channel.unary_unary(MODEL_INFER)


def field(number: int, content: bytes) -> bytes:
    return bytes([number * 8 + 2, len(content)]) + content


def parameter(number: int, key: bytes, text: bytes) -> bytes:
    return field(number, field(1, key) + field(2, field(3, text)))


GOOD = echo().SerializeToString()
IMAGE = echo().inputs[0].SerializeToString()
NO_UTF8 = {
    "id": field(3, BAD),
    "parameter-name": parameter(4, BAD, b"x"),
    "parameter": parameter(4, b"k", BAD),
    "input-name": field(5, field(1, BAD)),
    "datatype": field(5, IMAGE + field(2, BAD)),
    "input-parameter-name": field(5, IMAGE + parameter(4, BAD, b"x")),
    "input-parameter": field(5, IMAGE + parameter(4, b"k", BAD)),
    "output-name": field(6, field(1, BAD)),
    "output-parameter": field(6, field(1, b"labels") + parameter(2, b"k", BAD)),
    "overlong": field(3, b"\xc0\xaf"),
    "surrogate": field(3, b"\xed\xa0\x80"),
    "cut": field(3, "ü".encode()[:1]),
}
#: Passes the edge: tensor contents, a list of 4-byte numbers, that end inside one. Triton says INTERNAL.
UNREADABLE = GOOD + field(5, IMAGE + field(5, field(6, b"xyz")))


@pytest.mark.parametrize("name", NO_UTF8)
def test_texts_are_utf8(rig: Rig, call: Callable[..., bytes], name: str) -> None:
    code, text = failure(lambda: call(GOOD + NO_UTF8[name], timeout=15))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and text.startswith("REQUEST_MALFORMED: "), text
    assert "UTF-8" in text, "the edge says so, not Triton"


def test_texts_of_other_letters_pass(rig: Rig, call: Callable[..., bytes]) -> None:
    message = echo()
    message.id, message.parameters["schlüssel"].string_param = "日本語", "🚢" * 3
    assert pb.ModelInferResponse.FromString(call(message.SerializeToString(), timeout=15)).id == "日本語"


@pytest.mark.parametrize(
    "name", ["", "is not found", "is not ready", "Stub process 'x' is not healthy", "n" * 129, "ü"]
)
def test_names_of_tensors_are_no_sentences(rig: Rig, call: Callable[..., bytes], name: str) -> None:
    request, tensor = json.loads(echo_json("x")), {"name": name}
    for body in ({"inputs": [{**request["inputs"][0], **tensor}]}, {**request, "outputs": [tensor]}):
        reply = rig.request("POST", ECHO, json.dumps(body).encode())
        assert (reply.status, reply.code) == (400, "REQUEST_INVALID"), reply
    of_input, of_output = echo(), echo()
    of_input.inputs[0].name = name
    of_output.outputs.add(name=name)
    for message in (of_input, of_output):
        code, text = failure(lambda message=message: call(message.SerializeToString(), timeout=15))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and text.startswith("REQUEST_INVALID: "), text


def test_what_triton_cannot_read_is_no_failure_of_the_arm(rig: Rig, arm: None, call: Callable[..., bytes]) -> None:
    for number in range(6):
        code, text = failure(lambda n=number: call(UNREADABLE, timeout=15, metadata=[("x-request-id", f"f-read-{n}")]))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and text.startswith("REQUEST_MALFORMED: "), text
        row = log(rig, f"f-read-{number}")
        assert (row["assigned"], row["answered"], row["failed"], row["attempts"]) == ("2", "2", None, 1)
        assert row["upstream"], "Triton said it"
    assert answered(ask(rig, "u")) == "2", "not ejected"


def test_long_headers_of_a_client_do_not_reach_triton(rig: Rig, arm: None, call: Callable[..., bytes]) -> None:
    long = "a" * 9000
    sent = {"cookie": long, "traceparent": long, "content-type": f"application/json; a={long}", "accept": "a/a"}
    reply = rig.request("POST", ECHO, echo_json("x"), {**sent, "x-request-id": "f-long"})
    assert answered(reply) == "2" and log(rig, "f-long")["attempts"] == 1
    head = f"POST {ECHO} HTTP/1.1\r\nHost: {long}\r\nConnection: close\r\nContent-Length: {len(echo_json('x'))}\r\n\r\n"
    assert answered(rig.raw(head.encode() + echo_json("x"))) == "2"
    named = "n" * 9000
    assert rig.request("POST", f"/v2/models/{named}/versions/1/infer", echo_json("x")).code == "MODEL_NOT_FOUND"
    assert call(GOOD, timeout=15, metadata=[("cookie", "a" * 20_000)])


def test_a_clients_deadline_is_no_failure_of_the_arm(rig: Rig, arm: None) -> None:
    """Sent over HTTP/1.1, by a client that waits longer than its own deadline: Envoy's answer is what counts then."""
    body = frame(echo(b"sleep0.6").SerializeToString())
    for number in range(6):
        head = f"POST {MODEL_INFER} HTTP/1.1\r\nHost: e\r\nContent-Type: application/grpc\r\nTE: trailers\r\n"
        head += f"grpc-timeout: 150m\r\nx-request-id: f-late-{number}\r\nContent-Length: {len(body)}\r\n\r\n"
        started = time.monotonic()
        reply = rig.raw(head.encode() + body)
        assert reply.headers["grpc-status"] == "4" and time.monotonic() - started < 0.5, reply
        row = log(rig, f"f-late-{number}")
        assert (row["assigned"], row["grpc_status"], row["failed"]) == ("2", 4, None)
        assert exposure(json.dumps(row).encode())[EXPOSURE_COLUMNS.index("failed")] is False
    assert answered(ask(rig, "u")) == "2", "not ejected"


def test_the_edges_own_limit_is_the_versions_failure(rig: Rig, arm: None, call: Callable[..., bytes]) -> None:
    """Whatever deadline the client has set beyond it."""
    short, table = replace(rig.edge, request_timeout=0.5), EdgeRoutes(True, {"echo": 1}, (LiveExperiment(ALL, (1, 2)),))
    routes.update(short, table)
    routes.wait_in_force(short, table)
    try:
        for name, timeout in (("own", None), ("client", 5)):
            request_id = f"f-limit-{name}"
            message, sent = echo(b"sleep0.9").SerializeToString(), [("x-request-id", request_id)]
            code, _ = failure(lambda m=message, s=sent, t=timeout: call(m, timeout=t, metadata=s))
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED
            row = log(rig, request_id)
            assert exposure(json.dumps(row).encode())[EXPOSURE_COLUMNS.index("failed")] is True, row
    finally:
        rig.route(EdgeRoutes(True, {"echo": 1, "double": 1}, (LiveExperiment(ALL, (1, 2, 3)),)))
