"""Which of TorchServe's answers the edge tries again: the frontend's own, never what a model says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.client.torchserve_proto import PREDICTIONS, messages
from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes
from serving.ports import free_ports
from tests.serving.edge.edge_rig import LIMIT, EdgeRig

pytestmark = pytest.mark.e2e

Request, Response = messages()
NO_WORKER = 'Model "echo" Version 2" has no worker to serve inference request. Please use scale workers API.'
ABSENT = "Model not found: echo"
ABSENT_VERSION = "Model version: 2 does not exist for model: echo"
PHRASES = ("has no worker to serve", "Model not found", "does not exist for model", NO_WORKER, ABSENT, ABSENT_VERSION)


class Engine:
    """Answers like TorchServe: the first of ``answers`` in turn, the last one from then on."""

    def __init__(self) -> None:
        self.answers: list[tuple[Any, str, dict[str, str]]] = []
        self.asked = 0

    def say(self, *answers: tuple[Any, str, dict[str, str]]) -> None:
        self.answers, self.asked = list(answers), 0

    def next(self) -> tuple[Any, str, dict[str, str]]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]

    @contextmanager
    def http(self, port: int) -> Iterator[None]:
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                status, text, headers = engine.next()
                self.send_response(status)
                for name, value in {"content-length": str(len(text.encode())), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()

    @contextmanager
    def grpc(self, port: int) -> Iterator[None]:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            status, text, _ = self.next()
            if status is not grpc.StatusCode.OK:
                context.abort(status, text)
            return Response(prediction=text.encode()).SerializeToString()

        service, method = PREDICTIONS.strip("/").split("/")
        server = grpc.server(ThreadPoolExecutor(2))
        handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield
        finally:
            server.stop(None).wait()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def rig(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeRig]:
    folder: Path = tmp_path_factory.mktemp("retries")
    ports = free_ports("127.0.0.1", 5)
    edge = EdgeConfig(
        host="127.0.0.1",
        http_port=ports[0],
        grpc_port=ports[1],
        admin_port=ports[2],
        engine_http_port=ports[3],
        engine_grpc_port=ports[4],
        max_request_bytes=LIMIT,
        log_dir=folder / "log",
        work_dir=folder / "work",
        engine="torchserve",
    )
    made = EdgeRig(folder, edge, EdgeRoutes(True, {"echo": 2}))
    with engine.http(ports[3]), engine.grpc(ports[4]):
        try:
            made.start_envoy()
            yield made
        finally:
            made.stop()


def frontend(code: int, kind: str, message: str) -> tuple[int, str, dict[str, str]]:
    text = json.dumps({"code": code, "type": kind, "message": message}, indent=2)
    return code, text, {"content-type": "application/json"}


def refused(quoted: str) -> str:
    return json.dumps({"error": f"REQUEST_INVALID: parameter classes names {quoted!r}", "code": "REQUEST_INVALID"})


@pytest.mark.parametrize(
    "answer",
    [
        frontend(503, "ServiceUnavailableException", NO_WORKER),
        frontend(404, "ModelNotFoundException", ABSENT),
        frontend(404, "ModelVersionNotFoundException", ABSENT_VERSION),
    ],
)
def test_a_version_that_is_not_there_yet_is_tried_again(
    rig: EdgeRig, engine: Engine, answer: tuple[int, str, dict[str, str]]
) -> None:
    engine.say(answer, answer, (200, "{}", {}))
    assert rig.request("POST", "/predictions/echo", b"x").status == 200
    assert engine.asked == 3


@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize("headers", [{"x-slipway-error": "REQUEST_INVALID"}, {}])
def test_a_model_that_quotes_its_client_is_asked_once(
    rig: EdgeRig, engine: Engine, phrase: str, headers: dict[str, str]
) -> None:
    bodies = (refused(phrase), phrase, json.dumps({"message": phrase, "type": "x"}))
    for body in bodies:
        engine.say((400, body, headers))
        assert rig.request("POST", "/predictions/echo", b"x").status >= 400
        assert engine.asked == 1, body


@pytest.mark.parametrize("phrase", PHRASES)
def test_what_a_model_raised_is_not_tried_again(rig: EdgeRig, engine: Engine, phrase: str) -> None:
    engine.say(frontend(500, "InternalServerException", phrase))
    assert rig.request("POST", "/predictions/echo", b"x").status >= 500
    assert engine.asked == 1


def call(rig: EdgeRig) -> grpc.StatusCode:
    with grpc.insecure_channel(f"127.0.0.1:{rig.edge.grpc_port}") as channel:
        message = Request(model_name="echo", input={"body": b"x"}).SerializeToString()
        try:
            channel.unary_unary(PREDICTIONS)(message, timeout=20)
        except grpc.RpcError as problem:
            return problem.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("message", [NO_WORKER, ABSENT, ABSENT_VERSION])
def test_a_version_that_is_not_there_yet_is_tried_again_over_grpc(rig: EdgeRig, engine: Engine, message: str) -> None:
    answer = (grpc.StatusCode.INTERNAL, f"{message}\nInternalServerException.()", {})
    engine.say(answer, answer, (grpc.StatusCode.OK, "{}", {}))
    assert call(rig) is grpc.StatusCode.OK
    assert engine.asked == 3


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_model_that_quotes_its_client_is_asked_once_over_grpc(rig: EdgeRig, engine: Engine, phrase: str) -> None:
    for status in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK):
        engine.say((status, f"REQUEST_INVALID: parameter classes names {phrase!r}", {}))
        call(rig)
        assert engine.asked == 1, status
