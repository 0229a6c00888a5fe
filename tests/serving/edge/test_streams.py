"""Streams at a real edge before a real Triton: every message is checked, and gets the stable version."""

from __future__ import annotations

import json
import queue
import random
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from routing.assignment import assign
from routing.store.rows import exposure
from serving.edge.experiments import LiveExperiment
from serving.edge.routes import EdgeRoutes
from slipway.experiment import Arm, Experiment
from tests.serving.edge.edge_rig import LIMIT, Rig, dechunk, log, wait
from tests.serving.edge.test_edge_grpc import CHANGES, SERVICE, echo, frame

pytestmark = pytest.mark.e2e
STREAM = SERVICE + "ModelStreamInfer"
CANARY = Experiment("echo", "echo-stream", "salt-1", stable=1, arms=(Arm(2, 0, 3000),), record=0)


@pytest.fixture(scope="module")
def channel(rig: Rig) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{rig.edge.grpc_port}") as opened:
        yield opened


def stream(channel: grpc.Channel, messages: list[pb.ModelInferRequest], **options: Any) -> dict[str, str]:
    """Every answer by its request's id: the version that gave it, or the error."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    found = list(stub.ModelStreamInfer(iter(messages), timeout=30, **options))
    return {one.infer_response.id: one.error_message or one.infer_response.model_version for one in found}


def named(request_id: str, message: pb.ModelInferRequest) -> pb.ModelInferRequest:
    message.id = request_id
    return message


def image(text: bytes) -> triton.InferInput:
    made = triton.InferInput("image", [1, 1], "BYTES")
    made.set_data_from_numpy(np.array([[text]], dtype=object))
    return made


def test_an_unmodified_clients_stream_sees_the_stable_version_while_an_experiment_runs(rig: Rig) -> None:
    units = [unit for unit in (f"unit-{n}" for n in range(200)) if assign(CANARY, unit).version == 2][:20]
    rig.route(EdgeRoutes(True, {"echo": 1, "double": 1}, (LiveExperiment(CANARY, (1, 2, 3)),)))
    answers: queue.Queue[tuple[triton.InferResult, Exception | None]] = queue.Queue()
    try:
        with triton.InferenceServerClient(f"127.0.0.1:{rig.edge.grpc_port}") as client:
            sent = {"x-unit-id": units[0], "x-request-id": "q-stream", "x-model-version": "3"}
            client.start_stream(lambda result, error: answers.put((result, error)), headers=sent)
            for unit in units:
                client.async_stream_infer("echo", [image(unit.encode())], request_id=unit)
            found = [answers.get(timeout=10) for _ in units]
            client.async_stream_infer("echo", [image(b"x")], model_version="2", request_id="own")
            found.append(answers.get(timeout=10))
            client.stop_stream()

            def version() -> str:
                answer = client.infer("echo", [image(b"x")], headers={"x-unit-id": units[0]})
                return str(answer.get_response().model_version)

            wait(lambda: version() == "2", 20, "the canary for the same unit (a test before may have it ejected)")
    finally:
        rig.route(rig.table)
    assert [error for _, error in found if error] == []
    told = [(result.get_response().id, result.get_response().model_version) for result, _ in found]
    assert told == [*((unit, "1") for unit in units), ("own", "2")]
    row = log(rig, "q-stream")
    assert (row["why"], row["experiment"], row["unit"], row["model"]) == ("stream", None, None, "echo")
    assert exposure(json.dumps(row).encode()) is None


def test_a_stream_keeps_the_table_that_it_began_with_beside_requests_that_see_the_newest(rig: Rig) -> None:
    """Three tables: the filter keeps what it read of two."""
    sent: queue.Queue[pb.ModelInferRequest | None] = queue.Queue()
    with grpc.insecure_channel(f"127.0.0.1:{rig.edge.grpc_port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        found = stub.ModelStreamInfer(iter(sent.get, None), timeout=60)

        def of_stream() -> str:
            sent.put(echo())
            return str(next(found).infer_response.model_version)

        try:
            assert of_stream() == "2"
            for stable in (1, 3, 1):
                experiment = replace(CANARY, stable=stable, arms=())
                rig.route(EdgeRoutes(True, {"echo": stable, "double": 1}, (LiveExperiment(experiment, (1, 2, 3)),)))
                answered = [(of_stream(), stub.ModelInfer(echo(), timeout=10).model_version) for _ in range(5)]
                assert set(answered) == {("2", str(stable))}
        finally:
            sent.put(None)
            rig.route(rig.table)


def test_hostile_messages_are_answered_in_the_stream_and_do_not_reach_triton(rig: Rig, channel: grpc.Channel) -> None:
    messages = []
    for number, (name, change) in enumerate(CHANGES.items()):
        bad = named(name, echo())
        change(bad)
        messages += [bad, named(f"good-{number}", echo())]
    targets = {
        "nope": ("nope", ""),
        "../echo": ("../echo", ""),
        "no-name": ("", ""),
        "x": ("echo", "x"),
        "9": ("echo", "9"),
    }
    messages += [named(name, echo(model=model, version=version)) for name, (model, version) in targets.items()]
    found = stream(channel, messages)
    assert len(found) == len(messages)
    for name in CHANGES:
        assert found[name].startswith("REQUEST_INVALID: "), (name, found[name])
    assert {found[f"good-{number}"] for number in range(len(CHANGES))} == {"2"}
    assert {found[name].partition(":")[0] for name in targets} == {"MODEL_NOT_FOUND", "VERSION_NOT_FOUND"}
    assert rig.triton and rig.triton.poll() is None


def test_errors_of_models_are_coded(channel: grpc.Channel) -> None:
    found = stream(channel, [named(text, echo(text.encode())) for text in ("coded", "raise", "fine")])
    assert found["coded"] == "IMAGE_TRUNCATED: it ends" and found["fine"] == "2"
    assert found["raise"].startswith("INTERNAL: ") and ".py" not in found["raise"] and "\n" not in found["raise"]


@pytest.mark.parametrize("size", [0, 1, 16_000, 65_530, 1_000_000, LIMIT - 1000])
def test_messages_of_any_size(channel: grpc.Channel, size: int) -> None:
    messages = [named(str(number), echo(b"z" * size)) for number in range(3)]
    assert stream(channel, messages) == {"0": "2", "1": "2", "2": "2"}


def test_too_large_and_compressed_messages(rig: Rig, channel: grpc.Channel) -> None:
    """They are not read: their answers have no id, and the stream goes on."""
    messages = [named("a", echo()), echo(b"z" * LIMIT), named("b", echo())]
    found = stream(channel, messages)
    assert found.pop("").startswith("REQUEST_TOO_LARGE: ") and found == {"a": "2", "b": "2"}
    found = stream(channel, [echo(b"z" * 9999)], compression=grpc.Compression.Gzip)
    assert found[""].startswith("MEDIA_TYPE_UNSUPPORTED: ")
    assert rig.triton and rig.triton.poll() is None


def test_no_more_than_a_thousand_messages_wait_in_triton(channel: grpc.Channel) -> None:
    slow = [named(f"slow-{number}", echo(b"sleep1")) for number in range(2)]
    found = stream(channel, [*slow, *(named(str(number), echo()) for number in range(1500))])
    refused = [text for text in found.values() if text.startswith("SERVER_UNAVAILABLE: ")]
    assert len(found) == 1502 and 400 < len(refused) < 500
    assert set(found.values()) - set(refused) == {"2"}


GOOD = named("good", echo()).SerializeToString()


def pieces(body: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        size = next(sizes)
        yield body[at : at + size]
        at += size


def send(rig: Rig, parts: Iterator[bytes], pause: float) -> tuple[dict[str, str], list[bytes]]:
    """Sent over HTTP/1.1, which lets a test cut anywhere. -> headers, messages of the answer"""
    head = f"POST {STREAM} HTTP/1.1\r\nHost: edge\r\nContent-Type: application/grpc\r\nTE: trailers\r\n"
    with socket.create_connection(("127.0.0.1", rig.edge.grpc_port), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head.encode() + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in parts:
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            time.sleep(pause)
        connection.sendall(b"0\r\n\r\n")
        received = b""
        while more := connection.recv(65536):
            received += more
    start, _, body = received.partition(b"\r\n\r\n")
    lines = start.decode().split("\r\n")[1:]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body, found = dechunk(body) if "transfer-encoding" in headers else body, []
    while body:
        size = struct.unpack(">I", body[1:5])[0]
        found.append(body[5 : 5 + size])
        body = body[5 + size :]
    return headers, found


def told(messages: list[bytes]) -> list[str]:
    parsed = [pb.ModelStreamInferResponse.FromString(message) for message in messages]
    return [one.error_message.partition(":")[0] or one.infer_response.model_version for one in parsed]


@pytest.mark.parametrize("most", [1, 7, 100])
def test_frames_may_be_cut_anywhere(rig: Rig, most: int) -> None:
    draw = random.Random(most)
    body = frame(GOOD) * 2 + frame(b"\xff" * 50) + frame(GOOD, 2) + frame(GOOD)
    _, found = send(rig, pieces(body, iter(lambda: draw.randint(1, most), 0)), 0.001)
    assert sorted(told(found)) == sorted(["2", "2", "REQUEST_MALFORMED", "REQUEST_MALFORMED", "2"])


HOSTILE = {
    "empty": frame(b""), "zeros": frame(b"\0" * 50), "text": frame(b"hello world"), "group": frame(GOOD + b"\x0b\x0c"),
    "name-is-number": frame(b"\x08\x01" + GOOD), "length-negative": frame(GOOD + b"\x32" + b"\xff" * 9 + b"\x01"),
    "cut-message": frame(GOOD[:-3]), "flag-255": frame(GOOD, 255),
}  # fmt: skip


def test_malformed_messages_are_answered_one_by_one(rig: Rig) -> None:
    _, found = send(rig, iter([*HOSTILE.values(), frame(GOOD)]), 0)
    assert sorted(told(found)) == sorted(["MODEL_NOT_FOUND", *["REQUEST_MALFORMED"] * (len(HOSTILE) - 1), "2"])
    assert rig.triton and rig.triton.poll() is None


@pytest.mark.parametrize("tail", [b"\0", b"\0\0\0\0", frame(GOOD)[:-1], b"\0\xff\xff\xff\xff" + GOOD])
def test_a_stream_that_ends_inside_a_message_has_failed(rig: Rig, tail: bytes) -> None:
    """HTTP/1.1 carries no trailers to the client, so the log tells the status."""
    headers, found = send(rig, iter([frame(GOOD), tail]), 0)
    assert told(found)[0] == "2"
    row = log(rig, headers["x-request-id"])
    assert row["grpc_status"] == 3
    headers, found = send(rig, iter([tail[:4]]), 0)
    assert (headers["grpc-status"], found) == ("3", []), headers
    assert unquote(headers["grpc-message"]) == "REQUEST_MALFORMED: the stream ended inside a message"


def test_a_silent_stream_ends(channel: grpc.Channel) -> None:
    """No first message within the time that a request has to arrive."""
    waiting: queue.Queue[pb.ModelInferRequest] = queue.Queue()
    call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter(waiting.get, None), timeout=15)
    started = time.monotonic()
    with pytest.raises(grpc.RpcError):
        list(call)
    waiting.put(None)
    assert time.monotonic() - started < 6
