"""TorchServe's HTTP at the edge: default versions, parameters, headers, errors, health, hostile requests."""

from __future__ import annotations

import json
import time

import pytest

from serving.edge.routes import EdgeRoutes
from tests.serving.edge.edge_rig import LIMIT, Reply, rss_kib, wait
from tests.serving.edge.hostile import Hostile
from tests.serving.edge.hostile_torchserve import PREDICT, all_cases
from tests.serving.edge.torchserve_rig import TorchServeRig

pytestmark = pytest.mark.e2e

CASES = all_cases()


def told(reply: Reply) -> dict:
    assert reply.status == 200, reply
    return json.loads(reply.body)


def check(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.headers.get("content-type")) == (status, "application/json"), reply
    answer = json.loads(reply.body)
    assert answer["code"] == code and answer["error"].startswith(f"{code}: "), answer
    # what is not HTTP has no id yet
    assert answer["request_id"] or "not valid HTTP" in answer["error"], answer
    assert "Exception" not in answer["error"] and ".java" not in answer["error"], answer


@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_the_table_chooses_the_version_unless_one_is_named(torchserve: TorchServeRig, port: str, method: str) -> None:
    for path, version in ((PREDICT, "2"), (f"{PREDICT}/1", "1"), (f"{PREDICT}/3", "3"), ("//predictions//echo", "2")):
        reply = torchserve.request(method, path, b"\xff\xd8 an image", port=getattr(torchserve.edge, port))
        assert told(reply)["version"] == version
        assert reply.headers["x-slipway-version"] == version


@pytest.mark.parametrize(
    "media", ["", "image/jpeg", "image/png", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_an_image_arrives_as_its_bytes_whatever_it_is_called(torchserve: TorchServeRig, media: str) -> None:
    reply = torchserve.request("POST", PREDICT, b"a=b&c=\xff\x00%zz", {"Content-Type": media} if media else {})
    assert (told(reply)["bytes"], told(reply)["kind"], told(reply)["field"]) == (11, "bytes", "body")


def test_json_and_forms_arrive(torchserve: TorchServeRig) -> None:
    headers = {"Content-Type": "application/json"}
    assert told(torchserve.request("POST", PREDICT, b' {"images": ["eA=="]} ', headers))["field"] == "body"
    form = b'--B\r\nContent-Disposition: form-data; name="data"; filename="a.jpg"\r\n\r\n12345\r\n--B--\r\n'
    for media_type in ("multipart/form-data; boundary=B", 'Multipart/Form-Data;BOUNDARY="B"'):
        media = {"Content-Type": media_type}
        answer = told(torchserve.request("POST", PREDICT, form, media))
        assert (answer["field"], answer["bytes"]) == ("data", 5)


def test_a_form_may_hold_anything_in_its_parts_and_any_boundary(torchserve: TorchServeRig) -> None:
    boundary = "----=_Part_0'()+_,./:?"
    content = b"\xff\xd8 multipart/mixed \r\n --x\r\n\t--B " * 1000
    head = 'Content-Disposition: form-data; name="data"; filename="Grüße.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    form = f"--{boundary}\r\n{head}".encode() + content + f"\r\n--{boundary}--\r\n".encode()
    for written in (boundary, f'"{boundary}"'):
        media = {"Content-Type": f"multipart/form-data; boundary={written}"}
        answer = told(torchserve.request("POST", PREDICT, form, media))
        assert (answer["field"], answer["bytes"]) == ("data", len(content))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("top_k=3", {"top_k": "3"}),
        ("top_k=3&labels=a%2Cb+c&flag", {"top_k": "3", "labels": "a,b c", "flag": ""}),
        ("a=1&a=2&", {"a": "2"}),
        ("n%C3%A4me=%F0%9F%98%80%22%5C%0A", {"näme": '😀"\\\n'}),
    ],
)
def test_the_query_reaches_the_handler_as_json(torchserve: TorchServeRig, query: str, expected: dict) -> None:
    headers = told(torchserve.request("POST", f"{PREDICT}?{query}", b"x"))["headers"]
    assert json.loads(headers["x-slipway-parameters"]) == expected


def test_only_known_headers_pass(torchserve: TorchServeRig) -> None:
    forged = {
        "X-Slipway-Parameters": '{"a": 1}', "X-Slipway-Routed": "1", "Authorization": "Bearer x", "Cookie": "a=b",
        "X-Any": "\xff".encode("latin-1").decode("latin-1"), "TE": "trailers", "X-Long": "a" * 20_000,
        "X-Request-Id": "find-me",
    }  # fmt: skip
    data = b"POST /predictions/echo HTTP/1.1\r\nHost: e\r\nConnection: close\r\nContent-Length: 1\r\n"
    data += b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in forged.items()) + b"\r\nx"
    reply = torchserve.raw(data)
    headers = told(reply)["headers"]
    assert headers["x-request-id"] == "find-me" == reply.headers["x-request-id"]
    assert not {"authorization", "cookie", "x-any", "x-long", "te", "x-slipway-parameters"} & headers.keys(), headers


def test_errors_of_the_handler_pass_and_those_of_torchserve_are_coded(torchserve: TorchServeRig) -> None:
    coded = torchserve.request("POST", PREDICT, b"coded")
    assert (coded.status, coded.code) == (400, "IMAGE_TRUNCATED")
    failed = torchserve.request("POST", PREDICT, b"raise")
    check(failed, 500, "INTERNAL")
    assert b"secret" not in failed.body
    absent = torchserve.request("POST", f"{PREDICT}/9", b"x")
    check(absent, 404, "VERSION_NOT_FOUND")
    assert "version 9 of echo is not loaded on this server" in json.loads(absent.body)["error"]


def test_a_worker_that_dies_is_unavailable_and_its_version_answers_again(torchserve: TorchServeRig) -> None:
    check(torchserve.request("POST", f"{PREDICT}/1", b"crash"), 503, "SERVER_UNAVAILABLE")
    assert told(torchserve.request("POST", f"{PREDICT}/1", b"x"))["version"] == "1"


def test_health_is_the_tables_word(torchserve: TorchServeRig) -> None:
    for path in ("/ping", "/v2/health/ready", "/v2/health/live"):
        assert told(torchserve.request("GET", path)) == {"status": "Healthy"}
    torchserve.route(EdgeRoutes(False, torchserve.table.default_versions))
    try:
        check(torchserve.request("GET", "/ping"), 503, "SERVER_UNAVAILABLE")
        check(torchserve.request("GET", "/v2/health/ready"), 503, "SERVER_UNAVAILABLE")
        assert torchserve.request("GET", "/v2/health/live").status == 200
    finally:
        torchserve.route(torchserve.table)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_hostile_request_is_refused(torchserve: TorchServeRig, case: Hostile) -> None:
    check(torchserve.request(case.method, case.path, case.body, case.headers), case.status, case.code)


def test_there_are_enough_of_them_and_nothing_was_hurt(torchserve: TorchServeRig) -> None:
    assert len(CASES) >= 100
    assert torchserve.whole()


def test_the_limit_is_exact_and_more_is_read_away(torchserve: TorchServeRig) -> None:
    assert told(torchserve.request("POST", PREDICT, b"x" * LIMIT))["bytes"] == LIMIT
    check(torchserve.request("POST", PREDICT, b"x" * (LIMIT + 1)), 413, "REQUEST_TOO_LARGE")
    assert torchserve.envoy
    before = rss_kib(torchserve.envoy.pid)
    check(torchserve.request("POST", PREDICT, b"x" * 100 * 1024 * 1024), 413, "REQUEST_TOO_LARGE")
    assert rss_kib(torchserve.envoy.pid) - before < 24 * 1024


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"POST /predictions/echo HTTP/1.1\r\nHost: e\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, "REQUEST_TOO_LARGE"),
        (b"POST /predictions/echo HTTP/1.1\r\nHost: e\r\nContent-Length: 99\r\n\r\n{", 408, "REQUEST_TIMEOUT"),
        (b"POST /predictions/echo HTTP/1.1\r\nHost: e\r\nContent-Length: -1\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"CONNECT /predictions/echo HTTP/1.1\r\nHost: e\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"nonsense\r\n\r\n", 400, "REQUEST_MALFORMED"),
    ],
)
def test_broken_and_slow_http(torchserve: TorchServeRig, data: bytes, status: int, code: str) -> None:
    reply = torchserve.raw(data)
    assert (reply.status, reply.code) == (status, code), reply


def test_access_log(torchserve: TorchServeRig) -> None:
    torchserve.request("POST", f"{PREDICT}?a=b", b"coded", {"X-Request-Id": "in-the-log"})
    deadline = time.monotonic() + 15
    while "in-the-log" not in (text := torchserve.edge.access_log_path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (line,) = [json.loads(line) for line in text.splitlines() if "in-the-log" in line]
    expected = {"model": "echo", "version": "2", "status": 400, "code": "IMAGE_TRUNCATED", "path": PREDICT}
    assert {key: line[key] for key in expected} == expected


def test_a_full_queue_waits_in_the_edge(torchserve: TorchServeRig) -> None:
    """TorchServe refuses what does not fit its queue (20 here) at once; the edge tries those again."""
    import threading

    replies: list[Reply] = []
    jobs = [
        threading.Thread(target=lambda: replies.append(torchserve.request("POST", PREDICT, b"sleep0.02")))
        for _ in range(60)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(40)
    assert {reply.status for reply in replies} == {200}, [reply for reply in replies if reply.status != 200][:3]
    wait(lambda: torchserve.loaded() == {1, 2, 3}, 20, "all versions")
