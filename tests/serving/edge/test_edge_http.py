"""V2 HTTP at the edge: unmodified client, default versions, the form of errors, request ids, access log."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from serving.edge.routes import EdgeRoutes
from tests.serving.edge.edge_rig import Rig, wait
from tests.serving.edge.hostile import ECHO, HEADER, INFER, x

pytestmark = pytest.mark.e2e


def echo(text: str) -> bytes:
    return json.dumps({"inputs": [{"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": [text]}]}).encode()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
def test_unmodified_client(rig: Rig, binary: bool, port: str) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{getattr(rig.edge, port)}") as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("echo") and not client.is_model_ready("nope")
        assert client.get_server_metadata()["name"] == "triton"
        assert client.get_model_metadata("echo")["versions"] == ["2"]
        assert client.get_model_config("echo")["name"] == "echo"
        assert len(client.get_inference_statistics("echo")["model_stats"]) == 3
        assert len(client.get_inference_statistics()["model_stats"]) == 4
        image = triton.InferInput("image", [2, 1], "BYTES")
        image.set_data_from_numpy(np.array([[b"a"], [b"bcd"]], dtype=object), binary_data=binary)
        output = triton.InferRequestedOutput("labels", binary_data=binary)
        for version, expected in (("", b"2"), ("1", b"1"), ("3", b"3")):
            labels = client.infer("echo", [image], model_version=version, outputs=[output]).as_numpy("labels")
            assert [[str(cell) for cell in row] for row in labels] == [
                [str(cell if binary else cell.decode()) for cell in row] for row in [[expected, b"1"], [expected, b"3"]]
            ]
        with pytest.raises(InferenceServerException, match="MODEL_NOT_FOUND: "):
            client.infer("nope", [image])


@pytest.mark.parametrize(
    ("datatype", "values"),
    [("BOOL", [True, False]), ("UINT8", [0, 255]), ("INT8", [-128, 127]), ("UINT16", [0, 65535]),
     ("INT32", [-(2**31), 2**31 - 1]), ("UINT64", [0, 2**64 - 1]), ("INT64", [-(2**63), 2**63 - 1]),
     ("FP64", [-1.5e300, 0.1]), ("FP32", [-3.4e38, 1e-45])],
)  # fmt: skip
def test_every_good_element_passes_the_scanner(rig: Rig, datatype: str, values: list[float]) -> None:
    """Triton refuses the data type for this model, which proves that the edge let it pass."""
    reply = rig.request("POST", INFER, json.dumps(x(datatype=datatype, data=values * 8)).encode())
    if datatype == "FP32":
        assert reply.status == 200, reply
    else:
        assert "inference input 'x' data-type is" in reply.body.decode(), reply


def test_odd_but_valid_json(rig: Rig) -> None:
    body = (
        b' \r\n\t{"future": [{"a": null}, -0.0e-0, "\\u00e9\\ud83d\\ude00\\/"], "parameters": {"top_k": 3, "s": "t"},'
        b'"id": "caf\xc3\xa9 \xf0\x9f\x98\x80", "outputs": [{"name": "y", "parameters": {"binary_data": false}}],'
        b'"inputs": [{"data": [[1,2,3,4,5,6,7,8],[1E2,2e+1,3e-1,-4,5.5,6,7,8]], "datatype": "FP32",'
        b'"shape": [1, 16], "name": "x"}]} \n'
    )
    reply = rig.request("POST", INFER, body, {"Content-Type": "application/json; charset=utf-8"})
    assert reply.status == 200, reply
    assert json.loads(reply.body)["outputs"][0]["data"][8:11] == pytest.approx([200, 40, 0.6])


def test_raw_binary_request(rig: Rig) -> None:
    reply = rig.request("POST", ECHO, b"\xff\xd8 an image", {HEADER: "0", "Content-Type": "application/octet-stream"})
    assert reply.status == 200 and b'"model_version":"2"' in reply.body


def test_readiness_is_the_tables(rig: Rig) -> None:
    assert rig.request("GET", "/v2/health/ready").status == 200
    rig.route(EdgeRoutes(False, rig.table.default_versions))
    try:
        reply = rig.request("GET", "/v2/health/ready")
        assert (reply.status, reply.code) == (503, "SERVER_UNAVAILABLE")
        assert rig.request("GET", "/v2/health/live").status == 200
        grpc = rig.request("POST", "/grpc.health.v1.Health/Check", b"\0" * 5, {"Content-Type": "application/grpc"})
        assert grpc.headers["grpc-status"] == "14"
    finally:
        rig.route(rig.table)
    assert rig.request("GET", "/v2/health/ready").status == 200


def test_errors_of_models_are_coded_and_hold_no_trace(rig: Rig) -> None:
    reply = rig.request("POST", ECHO, echo("raise"))
    assert (reply.status, reply.code) == (500, "INTERNAL")
    assert b"ZeroDivisionError" in reply.body and b".py" not in reply.body
    reply = rig.request("POST", ECHO, echo("coded"))
    assert (reply.status, reply.code) == (400, "IMAGE_TRUNCATED")
    assert json.loads(reply.body)["error"] == "IMAGE_TRUNCATED: it ends"


def test_request_id_and_headers(rig: Rig) -> None:
    reply = rig.request("POST", ECHO, echo("coded"), {"X-Request-Id": "abc-123"})
    assert json.loads(reply.body)["request_id"] == reply.headers["x-request-id"] == "abc-123"
    reply = rig.request("GET", "/v2/models/nope", headers={"X-Request-Id": 'a"<b>' + "c" * 500})
    assert json.loads(reply.body)["request_id"] == reply.headers["x-request-id"] == "ab" + "c" * 126
    unfit = [rig.request("GET", "/v2/models/nope", headers={"X-Request-Id": "\u00fc\u00fc"}) for _ in range(2)]
    ids = {reply.headers["x-request-id"] for reply in unfit}
    assert ids == {json.loads(reply.body)["request_id"] for reply in unfit} and {len(made) for made in ids} == {36}
    assert len(ids) == 2, "one each, as for requests without"
    reply = rig.request("POST", ECHO, echo("hi"))
    assert reply.headers["server"] == "slipway" and len(reply.headers["x-request-id"]) == 36
    told = {name for name in reply.headers if "envoy" in name or "slipway" in name}
    assert told == {"x-slipway-version"} and reply.headers["x-slipway-version"] == "2"


def test_forged_internal_headers_do_nothing(rig: Rig) -> None:
    forged = {"X-Slipway-Answer": "{}", "X-Slipway-Status": "200", "X-Slipway-Routed": "1", "X-Envoy-Max-Retries": "0",
              "X-Envoy-Upstream-Rq-Timeout-Ms": "1", "X-Envoy-Original-Path": "/v2/repository/index"}  # fmt: skip
    reply = rig.request("POST", ECHO, echo("sleep0.05"), forged)
    assert reply.status == 200 and b'"model_version":"2"' in reply.body


def test_access_log(rig: Rig) -> None:
    rig.request("POST", ECHO, echo("coded"), {"X-Request-Id": "find-me"})

    def lines() -> list[dict[str, object]]:
        text = rig.edge.access_log_path.read_text()
        return [json.loads(line) for line in text.splitlines() if "find-me" in line]

    wait(lambda: bool(lines()), 15, "access log")
    (line,) = lines()
    expected = {"model": "echo", "version": "2", "status": 400, "code": "IMAGE_TRUNCATED", "method": "POST"}
    assert {key: line[key] for key in expected} == expected
    assert line["path"] == ECHO


def test_a_version_that_is_not_loaded_is_named_so(rig: Rig) -> None:
    reply = rig.request("POST", "/v2/models/echo/versions/9/infer", echo("a"))
    assert (reply.status, reply.code) == (404, "VERSION_NOT_FOUND"), reply
    assert "version 9 of echo is not loaded on this server" in json.loads(reply.body)["error"]
