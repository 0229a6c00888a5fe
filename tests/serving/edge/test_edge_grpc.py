"""gRPC at the edge: unmodified clients, hostile frames and messages, blocked and streaming methods."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from tests.serving.edge.edge_rig import LIMIT, Rig

pytestmark = pytest.mark.e2e

SERVICE = "/inference.GRPCInferenceService/"
MODEL_INFER = SERVICE + "ModelInfer"
Change = Callable[[pb.ModelInferRequest], Any]


def echo(text: bytes = b"hi", model: str = "echo", version: str = "") -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name="image", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<I", len(text)) + text)
    return request


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + struct.pack(">I", len(message)) + message


@pytest.fixture(scope="module", params=["http port", "grpc port"])
def channel(rig: Rig, request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    port = rig.edge.http_port if request.param == "http port" else rig.edge.grpc_port
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]) as opened:
        yield opened


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def unary(channel: grpc.Channel, method: str, message: bytes, **options: Any) -> bytes:
    return channel.unary_unary(method)(message, timeout=15, **options)


def test_unmodified_client(rig: Rig, channel: grpc.Channel) -> None:
    port = rig.edge.grpc_port
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("echo")
        assert client.get_server_metadata().name == "triton"
        assert list(client.get_model_metadata("echo").versions) == ["2"]
        assert list(client.get_model_metadata("echo", "3").versions) == ["3"]
        assert client.get_model_config("echo").config.name == "echo"
        assert {one.version for one in client.get_inference_statistics("echo").model_stats} == {"1", "2", "3"}
        image = triton.InferInput("image", [2, 1], "BYTES")
        image.set_data_from_numpy(np.array([[b"a"], [b"bcd"]], dtype=object))
        for version, expected in (("", b"2"), ("1", b"1"), ("3", b"3")):
            answer = client.infer("echo", [image], model_version=version)
            assert answer.as_numpy("labels").tolist() == [[expected, b"1"], [expected, b"3"]]
    assert unary(channel, "/grpc.health.v1.Health/Check", b"") == b"\x08\x01"


@pytest.mark.parametrize("size", [0, 1, 121, 122, 16_000, 65_530, 1_000_000, LIMIT - 1000])
def test_version_is_added_to_messages_of_any_size(channel: grpc.Channel, size: int) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    answer = stub.ModelInfer(echo(b"z" * size), timeout=15)
    assert answer.model_version == "2"
    assert answer.raw_output_contents[0].endswith(str(size).encode())


@pytest.mark.parametrize(
    "method",
    ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryStatus",
     "SystemSharedMemoryRegister", "CudaSharedMemoryRegister", "TraceSetting", "LogSettings"],
)  # fmt: skip
def test_administration_is_blocked(channel: grpc.Channel, method: str) -> None:
    code, text = failure(lambda: unary(channel, SERVICE + method, b""))
    assert code is grpc.StatusCode.PERMISSION_DENIED and text.startswith("ENDPOINT_FORBIDDEN: ")


@pytest.mark.parametrize("method", [SERVICE + "Nope", "/x.Y/Z", "/grpc.health.v1.Health/Watch", "/v2/repository/index"])
def test_unknown_methods(channel: grpc.Channel, method: str) -> None:
    code, text = failure(lambda: unary(channel, method, b""))
    assert code is grpc.StatusCode.UNIMPLEMENTED and text.startswith("ENDPOINT_UNKNOWN: ")


def test_compressed_message_is_refused(channel: grpc.Channel) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    code, text = failure(lambda: stub.ModelInfer(echo(b"z" * 9999), timeout=15, compression=grpc.Compression.Gzip))
    assert code is grpc.StatusCode.UNIMPLEMENTED and text.startswith("MEDIA_TYPE_UNSUPPORTED: ")


def test_too_large(channel: grpc.Channel) -> None:
    for size in (LIMIT, 100 * 1024 * 1024):
        code, text = failure(lambda size=size: unary(channel, MODEL_INFER, echo(b"z" * size).SerializeToString()))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and text.startswith("REQUEST_TOO_LARGE: ")


def shape(*dimensions: int) -> Change:
    def change(request: pb.ModelInferRequest) -> None:
        del request.inputs[0].shape[:]
        request.inputs[0].shape.extend(dimensions)

    return change


def attribute(name: str, value: object) -> Change:
    return lambda request: setattr(request.inputs[0], name, value)


def shared_memory(request: pb.ModelInferRequest) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"


def shared_output(request: pb.ModelInferRequest) -> None:
    request.outputs.add(name="labels").parameters["shared_memory_byte_size"].int64_param = 9


def classes(kind: str, value: object) -> Change:
    return lambda request: setattr(request.outputs.add(name="labels").parameters["classification"], kind, value)


CHANGES: dict[str, Change] = {
    **{f"shape-{size}": shape(size, 16) for size in (2**28, 2**31, 2**40, 2**58, 2**62, 2**63 - 1, -1, -(2**63))},
    "shape-wraps": shape(2**32, 2**32),
    "shape-zero-times-huge": shape(0, 2**62),
    "shape-100000-dims": shape(*([1] * 100_000)),
    "shape-rank": shape(1, 1, 1),
    "shape-batch-too-large": shape(9, 1),
    "shape-mismatch": shape(2, 1),
    "datatype-unknown": attribute("datatype", "FP31"),
    "datatype-empty": attribute("datatype", ""),
    "datatype-other": attribute("datatype", "INT8"),
    "name-unknown": attribute("name", "nope"),
    "shared-memory": shared_memory,
    "shared-memory-output": shared_output,
    "classes-of-strings": classes("int64_param", 3),
    "classes-as-text": classes("string_param", "3"),
    "no-inputs": lambda request: request.ClearField("inputs"),
    "inputs-twice": lambda request: request.inputs.append(request.inputs[0]),
    "inputs-300": lambda request: request.inputs.extend([request.inputs[0]] * 300),
    "outputs-300": lambda request: request.outputs.extend([pb.ModelInferRequest.InferRequestedOutputTensor()] * 300),
    "output-unknown": lambda request: request.outputs.add(name="nope"),
    "raw-twice": lambda request: request.raw_input_contents.append(b"x"),
    "raw-100000": lambda request: request.raw_input_contents.extend([b""] * 100_000),
    "raw-truncated": lambda request: request.raw_input_contents.__setitem__(0, b"\x09\0\0\0hi"),
    "raw-none": lambda request: request.ClearField("raw_input_contents"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_hostile_message(rig: Rig, channel: grpc.Channel, name: str) -> None:
    request = echo()
    CHANGES[name](request)
    code, text = failure(lambda: unary(channel, MODEL_INFER, request.SerializeToString()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and text.startswith("REQUEST_INVALID: "), (code, text)
    assert rig.triton and rig.triton.poll() is None


@pytest.mark.parametrize(
    ("model", "version", "code"),
    [("nope", "", "MODEL_NOT_FOUND"), ("nope", "1", "MODEL_NOT_FOUND"), ("", "", "MODEL_NOT_FOUND"),
     ("../echo", "", "MODEL_NOT_FOUND"), ("echo\n", "", "MODEL_NOT_FOUND"), ("echo", "9", "VERSION_NOT_FOUND"),
     ("echo", "-1", "VERSION_NOT_FOUND"), ("echo", "x", "VERSION_NOT_FOUND"), ("echo", "9" * 200, "VERSION_NOT_FOUND")],
)  # fmt: skip
def test_unknown_target(channel: grpc.Channel, model: str, version: str, code: str) -> None:
    message = echo(model=model, version=version).SerializeToString()
    status, text = failure(lambda: unary(channel, MODEL_INFER, message))
    assert status is grpc.StatusCode.NOT_FOUND and text.startswith(f"{code}: ")


GOOD = echo().SerializeToString()
FRAMES = {
    "nothing": b"",
    "four-bytes": b"\0\0\0\0",
    "declares-more": b"\0" + struct.pack(">I", len(GOOD) + 1) + GOOD,
    "declares-less": b"\0" + struct.pack(">I", len(GOOD) - 1) + GOOD,
    "declares-4-gib": b"\0\xff\xff\xff\xff" + GOOD,
    "two-messages": frame(GOOD) * 2,
    "flag-2": frame(GOOD, 2),
    "flag-255": frame(GOOD, 255),
    "cut-message": frame(GOOD[:-3]),
    "zeros": frame(b"\0" * 50),
    "ones": frame(b"\xff" * 50),
    "group": frame(GOOD + b"\x0b\x0c"),
    "wire-type-6": frame(GOOD + b"\x0e"),
    "name-is-number": frame(b"\x08\x01" + GOOD),
    "inputs-is-number": frame(GOOD + b"\x28\x01"),
    "varint-11-bytes": frame(GOOD + b"\x30" + b"\xff" * 11),
    "length-negative": frame(GOOD + b"\x32" + b"\xff" * 9 + b"\x01"),
    "text": frame(b"hello world"),
    "json": frame(b'{"model_name": "echo"}'),
}


@pytest.mark.parametrize("name", FRAMES)
def test_hostile_frame(rig: Rig, name: str) -> None:
    """Sent over HTTP/1.1, which lets a test choose every byte; the edge treats it as the same gRPC."""
    reply = rig.request("POST", MODEL_INFER, FRAMES[name], {"Content-Type": "application/grpc", "TE": "trailers"})
    assert (reply.status, reply.headers["grpc-status"]) == (200, "3"), reply
    assert unquote(reply.headers["grpc-message"]).startswith("request_malformed: "), reply
    assert rig.triton and rig.triton.poll() is None


def test_a_later_field_cannot_name_another_version(channel: grpc.Channel) -> None:
    """Protobuf takes the last of a repeated field; so does the edge."""
    stub = channel.unary_unary(MODEL_INFER, response_deserializer=pb.ModelInferResponse.FromString)
    answer = stub(GOOD + b"\x12\x011" + b"\x12\x013", timeout=15)
    assert answer.model_version == "3"
    assert stub(GOOD + b"\x12\x011" + b"\x12\x00", timeout=15).model_version == "2"


def test_errors_of_models_are_coded(channel: grpc.Channel) -> None:
    code, text = failure(lambda: unary(channel, MODEL_INFER, echo(b"coded").SerializeToString()))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and text == "IMAGE_TRUNCATED: it ends"
    code, text = failure(lambda: unary(channel, MODEL_INFER, echo(b"raise").SerializeToString()))
    assert code is grpc.StatusCode.INTERNAL and text.startswith("INTERNAL: ")
    assert ".py" not in text and "\n" not in text


def test_deadline_of_the_client_counts(channel: grpc.Channel) -> None:
    call = channel.unary_unary(MODEL_INFER)
    code, _ = failure(lambda: call(echo(b"sleep2").SerializeToString(), timeout=0.3))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
