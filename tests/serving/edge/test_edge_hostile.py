"""Hostile HTTP requests against the edge: each gets a coded 4xx, and nothing behind it is hurt."""

from __future__ import annotations

import json
import time

import pytest

from tests.serving.edge.edge_rig import LIMIT, Reply, Rig, rss_kib
from tests.serving.edge.hostile import HEADER, INFER, Hostile, all_cases, x

pytestmark = pytest.mark.e2e

CASES = all_cases()


def check(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.headers.get("content-type")) == (status, "application/json"), reply
    answer = json.loads(reply.body)
    assert answer["code"] == code, answer
    assert answer["error"].startswith(f"{code}: "), answer
    assert answer["request_id"], answer
    assert "Traceback" not in answer["error"] and ".py" not in answer["error"], answer


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_hostile_request_is_refused(rig: Rig, case: Hostile) -> None:
    reply = rig.request(case.method, case.path, case.body, case.headers)
    check(reply, case.status, case.code)
    assert rig.triton and rig.triton.poll() is None
    assert rig.envoy and rig.envoy.poll() is None


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 200


#: Every kind of parameter, nested data, strings and escapes: each cut of it ends inside another rule of the scanner.
RICH = {
    "id": "a\\u00e9\u00e9",
    "parameters": {"a": 1, "b": "text", "c": True, "priority": 0, "timeout": 1000000, "sequence_start": False},
    "inputs": [
        {
            "name": "x",
            "parameters": {"x": 1.5e3, "y": "\\n"},
            "shape": [1, 16],
            "datatype": "FP32",
            "data": [[-1.5] * 15, [2]],
        }
    ],
    "outputs": [{"name": "y", "parameters": {"binary_data": False, "classification": 0, "b": "c"}}],
}


def test_a_body_that_is_cut_anywhere_is_the_clients_mistake(rig: Rig) -> None:
    whole = json.dumps(RICH, ensure_ascii=False).encode()
    assert rig.request("POST", INFER, whole).status in (200, 400), "well-formed"
    for length in range(len(whole)):
        check(rig.request("POST", INFER, whole[:length]), 400, "REQUEST_MALFORMED")
        header = {HEADER: str(length)}
        reply = rig.request("POST", INFER, whole, header)
        assert 400 <= reply.status < 500 and reply.code.startswith("REQUEST_"), (length, reply)


@pytest.mark.parametrize(
    "body",
    [
        '{"parameters":{"a":',
        '{"inputs":[{"name":"a","parameters":{"x":',
        '{"outputs":[{"name":"labels","parameters":{"b":',
        '{"parameters":{"priority":',
        '{"parameters":',
        '{"inputs":[',
        '{"inputs":[{"shape":[',
        '{"inputs":[{"data":[1,',
    ],
)
def test_a_value_that_is_not_there(rig: Rig, body: str) -> None:
    check(rig.request("POST", INFER, body.encode()), 400, "REQUEST_MALFORMED")


def chunked(path: str, payload: bytes, size: int) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: e\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    parts = (payload[at : at + size] for at in range(0, len(payload), size))
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_million_one_byte_chunks_are_one_body(rig: Rig) -> None:
    good = json.dumps(x()).encode()
    reply = rig.raw(chunked(INFER, good + b" " * (1_000_000 - len(good)), 1))
    assert reply.status == 200, reply
    check(rig.raw(chunked(INFER, b"[" * 200_000, 1)), 400, "REQUEST_MALFORMED")


def test_body_of_100_mb_is_read_away_in_bounded_memory(rig: Rig) -> None:
    assert rig.envoy
    before = rss_kib(rig.envoy.pid)
    reply = rig.request("POST", INFER, b"x" * 100 * 1024 * 1024)
    check(reply, 413, "REQUEST_TOO_LARGE")
    assert rss_kib(rig.envoy.pid) - before < 24 * 1024


def test_the_limit_is_exact(rig: Rig) -> None:
    good = json.dumps(x()).encode()
    assert rig.request("POST", INFER, good + b" " * (LIMIT - len(good))).status == 200
    check(rig.request("POST", INFER, good + b" " * (LIMIT + 1 - len(good))), 413, "REQUEST_TOO_LARGE")
    check(rig.raw(chunked(INFER, good + b" " * LIMIT, 65536)), 413, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GET /v2 HTTP/1.1\r\nHost: e\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, "REQUEST_TOO_LARGE"),
        (b"GET /v2 HTTP/1.1\r\nHost: e\r\na: " + b"b" * 70_000 + b"\r\n\r\n", 431, "REQUEST_TOO_LARGE"),
        (b"GET /v2 HTTP/1.1\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"GET /v2/models/a%00b/ready HTTP/1.1\r\nHost: e\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"BREW /v2 HTTP/1.1\r\nHost: e\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"nonsense\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"GET /v2 HTTP/1.0\r\nHost: e\r\n\r\n", 426, "REQUEST_MALFORMED"),
        (b"POST /v2 HTTP/1.1\r\nHost: e\r\nContent-Length: -1\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (
            b"POST /v2 HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "REQUEST_MALFORMED",
        ),
        (b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400,
         "REQUEST_MALFORMED"),
        (b"GET /v2 HTTP/1.1\r\nHost: e\r\na\0b: c\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"GET /v2/health/live HTTP/1.1\r\nHost: e\r\n", 408, "REQUEST_TIMEOUT"),
        (b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: e\r\nContent-Length: 99\r\n\r\n{", 408, "REQUEST_TIMEOUT"),
    ],
)  # fmt: skip
def test_broken_and_slow_http(rig: Rig, data: bytes, status: int, code: str) -> None:
    started = time.monotonic()
    reply = rig.raw(data)
    assert reply.status == status, reply
    answer = json.loads(reply.body)
    assert answer["code"] == code and answer["error"].startswith(f"{code}: ")
    assert time.monotonic() - started < 6


def test_memory_comes_back(rig: Rig) -> None:
    assert rig.envoy and rig.triton
    before = rss_kib(rig.envoy.pid), rss_kib(rig.triton.pid)
    for case in CASES:
        rig.request(case.method, case.path, case.body, case.headers)
    after = rss_kib(rig.envoy.pid), rss_kib(rig.triton.pid)
    assert after[0] < before[0] * 1.1, (before, after)
    assert after[1] < before[1] * 1.1, (before, after)
