"""An edge that passes requests on to another one: what arrives there, what comes back, what is tried again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest

from serving.client.torchserve_proto import PREDICTIONS
from serving.edge.fleet import HERE
from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes
from serving.ports import free_ports
from slipway.servers import ServerAddress
from tests.serving.edge.edge_rig import LIMIT, EdgeRig, Rig, wait
from tests.serving.edge.hostile_torchserve import PREDICT
from tests.serving.edge.test_edge_grpc import MODEL_INFER
from tests.serving.edge.test_edge_grpc import echo as echo_message
from tests.serving.edge.test_edge_http import echo as echo_json
from tests.serving.edge.test_experiments import answered, log
from tests.serving.edge.test_torchserve_grpc import failure, message, told
from tests.serving.edge.test_torchserve_http import told as told_over_http
from tests.serving.edge.torchserve_rig import TorchServeRig

pytestmark = pytest.mark.e2e
ECHO = "/v2/models/echo/infer"


@contextmanager
def front(folder: Path, engine: str, own: tuple[int, int], other: ServerAddress) -> Iterator[EdgeRig]:
    """An edge whose own engine is at the ports ``own``: version 1 is there and at the ``other``, 2 only there."""
    ports = free_ports("127.0.0.1", 3)
    edge = EdgeConfig(
        *("127.0.0.1", *ports, *own, LIMIT, folder / "log", folder / "work"), engine=engine, servers=(other,)
    )
    places = {("echo", 1): (HERE, other.name), ("echo", 2): (other.name,)}
    made = EdgeRig(folder, edge, EdgeRoutes(True, {"echo": 1}, places=places))
    try:
        made.start_envoy()
        yield made
    finally:
        made.stop()


def at(rig: EdgeRig) -> ServerAddress:
    return ServerAddress("127.0.0.1", rig.edge.http_port, rig.edge.grpc_port)


def nobody() -> tuple[int, int]:
    http, grpc_port = free_ports("127.0.0.1", 2)
    return http, grpc_port


@pytest.fixture(scope="module")
def to_triton(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeRig]:
    """Before the edge of the rig; its own engine is dead."""
    with front(tmp_path_factory.mktemp("front"), "triton", nobody(), at(rig)) as made:
        yield made


@pytest.fixture(scope="module")
def to_torchserve(torchserve: TorchServeRig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeRig]:
    with front(tmp_path_factory.mktemp("front"), "torchserve", nobody(), at(torchserve)) as made:
        yield made


def test_triton_answers_through_both_edges(rig: Rig, to_triton: EdgeRig) -> None:
    """With the own engine dead: a try that finds nobody goes to the other place."""
    for number in range(8):
        assert answered(to_triton.request("POST", ECHO, echo_json("hi"), {"x-request-id": f"q-{number}"})) == "1"
    rows = [log(to_triton, f"q-{number}") for number in range(8)]
    assert {row["upstream"] for row in rows} == {f"envoy://{at(rig).at('http')}/"}
    # the other edge was told the version, and decided nothing
    assert (log(rig, "q-0")["version"], log(rig, "q-0")["why"]) == ("1", "override")
    with grpc.insecure_channel(f"127.0.0.1:{to_triton.edge.grpc_port}") as channel:
        call = channel.unary_unary(MODEL_INFER)
        for version in ("", "1", "2"):
            sent = echo_message(b"x" * 1_000_000)
            sent.model_version = version
            _, about = call.with_call(sent.SerializeToString(), timeout=20)
            assert dict(about.initial_metadata())["x-slipway-version"] == (version or "1")
    assert to_triton.request("GET", "/v2/models/echo/versions/2/ready").status == 200


def test_errors_keep_their_words_and_are_not_repeated(rig: Rig, to_triton: EdgeRig) -> None:
    reply = to_triton.request("POST", "/v2/models/echo/versions/2/infer", echo_json("coded"), {"x-request-id": "q-c"})
    assert (reply.status, reply.code, reply.headers["x-slipway-error"]) == (400, "IMAGE_TRUNCATED", "image_truncated")
    assert json.loads(reply.body)["request_id"] == "q-c" and log(to_triton, "q-c")["attempts"] == 1
    reply = to_triton.request("POST", "/v2/models/echo/versions/2/infer", echo_json("raise"), {"x-request-id": "q-r"})
    assert (reply.status, reply.code) == (500, "INTERNAL") and log(to_triton, "q-r")["attempts"] == 1
    # one line of the log there: it was asked once
    assert log(rig, "q-r")["status"] == 500
    assert to_triton.request("POST", ECHO, b"x" * (LIMIT + 1)).code == "REQUEST_TOO_LARGE"


def test_torchserve_gets_its_parameters(to_torchserve: EdgeRig) -> None:
    headers = {"x-slipway-query": "top_k=9", "x-request-id": "q-ts"}
    for path in (PREDICT, f"{PREDICT}/2"):
        reply = to_torchserve.request("POST", f"{path}?top_k=1&name=a%20b", b"image", headers)
        assert json.loads(told_over_http(reply)["headers"]["x-slipway-parameters"]) == {"top_k": "1", "name": "a b"}
        assert reply.headers["x-slipway-version"] == told_over_http(reply)["version"]
    reply = to_torchserve.request("POST", f"{PREDICT}/2", b"image", headers)
    assert "x-slipway-parameters" not in told_over_http(reply)["headers"]


def test_torchserve_answers_over_grpc(to_torchserve: EdgeRig) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{to_torchserve.edge.grpc_port}") as channel:
        call = channel.unary_unary(PREDICTIONS)
        for version in ("", "1", "2"):
            assert told(call(message(version=version), timeout=60))["version"] == (version or "1")
        code, text = failure(lambda: call(message(b"coded", version="2"), timeout=60))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and text.startswith("IMAGE_TRUNCATED: ")


class Liar(BaseHTTPRequestHandler):
    """A server that was proven a moment ago, and has not got the version any more."""

    protocol_version = "HTTP/1.1"
    behaviour, asked = "", 0

    def do_POST(self) -> None:
        assert self.headers["slipway-forwarded"] == "1" and self.path == "/v2/models/echo/versions/1/infer"
        type(self).asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        if self.behaviour == "breaks":
            self.close_connection = True
            return
        code = self.behaviour
        body = json.dumps({"error": f"{code}: the model is not loaded at the moment", "code": code}).encode()
        self.send_response(503 if code == "SERVER_UNAVAILABLE" else 404)
        for name, value in (("x-slipway-error", code), ("content-length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("behaviour", ["VERSION_NOT_FOUND", "SERVER_UNAVAILABLE", "breaks"])
def test_what_no_model_had_is_asked_of_another_place(rig: Rig, tmp_path: Path, behaviour: str) -> None:
    kind = type("Behaving", (Liar,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = rig.edge.engine_http_port, rig.edge.engine_grpc_port
    other = ServerAddress("127.0.0.1", server.server_port, nobody()[1])
    try:
        with front(tmp_path, "triton", own, other) as made:

            def asked() -> bool:
                assert answered(made.request("POST", ECHO, echo_json("hi"))) == "1"
                return kind.asked >= 3

            wait(asked, 20, "requests to the other server")
    finally:
        server.shutdown()
        server.server_close()
