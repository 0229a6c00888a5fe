"""TorchServe's gRPC at the edge: versions, errors that come as OK, hostile frames, blocked and streaming methods."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import grpc
import pytest

from serving.client.torchserve_proto import PACKAGE, PING, PREDICTIONS, messages
from serving.edge.routes import EdgeRoutes
from tests.serving.edge.edge_rig import LIMIT
from tests.serving.edge.torchserve_rig import TorchServeRig

pytestmark = pytest.mark.e2e
SERVICE = f"/{PACKAGE}.InferenceAPIsService/"
Request, Response = messages()


@pytest.fixture(scope="module", params=["http port", "grpc port"])
def channel(torchserve: TorchServeRig, request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    port = torchserve.edge.http_port if request.param == "http port" else torchserve.edge.grpc_port
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]) as opened:
        yield opened


def message(body: bytes = b"hi", model: str = "echo", version: str = "", **more: bytes) -> bytes:
    return Request(model_name=model, model_version=version, input={"body": body, **more}).SerializeToString()


def unary(channel: grpc.Channel, method: str, content: bytes, **options: Any) -> bytes:
    return channel.unary_unary(method)(content, timeout=60, **options)


def told(content: bytes) -> dict:
    return json.loads(Response.FromString(content).prediction)


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("size", [0, 1, 121, 122, 16_000, 65_530, 1_000_000, LIMIT - 1000])
def test_version_is_added_to_messages_of_any_size(channel: grpc.Channel, size: int) -> None:
    answer = told(unary(channel, PREDICTIONS, message(b"z" * size)))
    assert (answer["version"], answer["bytes"]) == ("2", size)


def test_a_named_version_answers_and_is_named(channel: grpc.Channel) -> None:
    for version, expected in (("", "2"), ("1", "1"), ("3", "3")):
        answer, call = channel.unary_unary(PREDICTIONS).with_call(message(version=version), timeout=60)
        assert told(answer)["version"] == expected
        assert dict(call.initial_metadata())["x-slipway-version"] == expected


def test_health(torchserve: TorchServeRig, channel: grpc.Channel) -> None:
    assert b"Healthy" in unary(channel, PING, b"")
    assert unary(channel, "/grpc.health.v1.Health/Check", b"") == b"\x08\x01"
    assert unary(channel, "/grpc.health.v1.Health/Check", b"\x0a\x01x") == b"\x08\x01"
    torchserve.route(EdgeRoutes(False, torchserve.table.default_versions))
    try:
        for method in (PING, "/grpc.health.v1.Health/Check"):
            code, text = failure(lambda method=method: unary(channel, method, b""))
            assert code is grpc.StatusCode.UNAVAILABLE and text.startswith("SERVER_UNAVAILABLE: ")
    finally:
        torchserve.route(torchserve.table)


def test_an_error_of_the_handler_is_a_status_although_torchserve_says_ok(channel: grpc.Channel) -> None:
    code, text = failure(lambda: unary(channel, PREDICTIONS, message(b"coded")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and text == 'IMAGE_TRUNCATED: it "ends"'
    code, text = failure(lambda: unary(channel, PREDICTIONS, message(b"raise")))
    assert code is grpc.StatusCode.INTERNAL and text.startswith("INTERNAL: ") and "secret" not in text


@pytest.mark.parametrize(
    ("model", "version", "code"),
    [("nope", "", "MODEL_NOT_FOUND"), ("nope", "1", "MODEL_NOT_FOUND"), ("", "", "MODEL_NOT_FOUND"),
     ("../echo", "", "MODEL_NOT_FOUND"), ("echo\n", "", "MODEL_NOT_FOUND"), ("echo", "9", "VERSION_NOT_FOUND"),
     ("echo", "1.0", "VERSION_NOT_FOUND"), ("echo", "9" * 200, "VERSION_NOT_FOUND")],
)  # fmt: skip
def test_unknown_target(channel: grpc.Channel, model: str, version: str, code: str) -> None:
    status, text = failure(lambda: unary(channel, PREDICTIONS, message(model=model, version=version)))
    assert status is grpc.StatusCode.NOT_FOUND and text.startswith(f"{code}: "), (status, text)
    assert "org.pytorch" not in text and "\n" not in text


@pytest.mark.parametrize("method", ["ListModels", "RegisterModel", "UnregisterModel", "ScaleWorker", "SetDefault"])
def test_management_is_blocked(channel: grpc.Channel, method: str) -> None:
    path = f"/org.pytorch.serve.grpc.management.ManagementAPIsService/{method}"
    code, text = failure(lambda: unary(channel, path, b""))
    assert code is grpc.StatusCode.PERMISSION_DENIED and text.startswith("ENDPOINT_FORBIDDEN: ")


@pytest.mark.parametrize(
    "method",
    [SERVICE + "StreamPredictions", SERVICE + "StreamPredictions2", SERVICE + "Nope", "/grpc.health.v1.Health/Watch",
     "/inference.GRPCInferenceService/ModelInfer", "/predictions/echo", "/models",
     "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ModelInfer"],
)  # fmt: skip
def test_other_methods_are_unknown(channel: grpc.Channel, method: str) -> None:
    code, text = failure(lambda: list(channel.unary_stream(method)(message(), timeout=15)))
    assert code is grpc.StatusCode.UNIMPLEMENTED and text.startswith("ENDPOINT_UNKNOWN: ")
    assert ("stream" in text) == ("Stream" in method or "Watch" in method)


def test_too_large_and_compressed(channel: grpc.Channel) -> None:
    code, text = failure(lambda: unary(channel, PREDICTIONS, message(b"z" * LIMIT)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and text.startswith("REQUEST_TOO_LARGE: ")
    code, text = failure(lambda: unary(channel, PREDICTIONS, message(b"z" * 9999), compression=grpc.Compression.Gzip))
    assert code is grpc.StatusCode.UNIMPLEMENTED and text.startswith("MEDIA_TYPE_UNSUPPORTED: ")


def frame(content: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + struct.pack(">I", len(content)) + content


GOOD = message()
FRAMES = {
    "nothing": b"",
    "declares-more": b"\0" + struct.pack(">I", len(GOOD) + 1) + GOOD,
    "declares-4-gib": b"\0\xff\xff\xff\xff" + GOOD,
    "two-messages": frame(GOOD) * 2,
    "flag-2": frame(GOOD, 2),
    "cut-message": frame(GOOD[:-3]),
    "zeros": frame(b"\0" * 50),
    "ones": frame(b"\xff" * 50),
    "name-is-number": frame(b"\x08\x01" + GOOD),
    "text": frame(b"hello world"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_hostile_frame(torchserve: TorchServeRig, name: str) -> None:
    """Sent over HTTP/1.1, which lets a test choose every byte; the edge treats it as the same gRPC."""
    reply = torchserve.request(
        "POST", PREDICTIONS, FRAMES[name], {"Content-Type": "application/grpc", "TE": "trailers"}
    )
    assert (reply.status, reply.headers["grpc-status"]) == (200, "3"), reply
    assert unquote(reply.headers["grpc-message"]).startswith("request_malformed: "), reply


def test_inputs_that_are_none(channel: grpc.Channel) -> None:
    """Fields that only TorchServe reads: whatever it says is coded."""
    for content in (GOOD[: GOOD.index(b"\x1a")], GOOD + b"\x1a\x00", GOOD + b"\x1a\x02\x0a\x00"):
        try:
            unary(channel, PREDICTIONS, content)
        except grpc.RpcError as error:
            assert error.details().split(":")[0] in ("REQUEST_INVALID", "INTERNAL"), error.details()


def test_nothing_was_hurt(torchserve: TorchServeRig) -> None:
    assert torchserve.whole()


def test_deadline_of_the_client_counts(channel: grpc.Channel) -> None:
    call = channel.unary_unary(PREDICTIONS)
    code, _ = failure(lambda: call(message(b"sleep2"), timeout=0.3))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
