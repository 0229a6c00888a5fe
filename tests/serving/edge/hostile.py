"""Requests that must never reach Triton, or reach it and be answered 4xx: the table of the hostile-request tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

INFER = "/v2/models/double/infer"
ECHO = "/v2/models/echo/infer"
HEADER = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Hostile:
    """One request and the status and code that must answer it."""

    name: str
    status: int
    code: str
    method: str = "POST"
    path: str = INFER
    body: bytes | None = b""
    headers: dict[str, str] = field(default_factory=dict)


def x(**changes: Any) -> dict[str, Any]:
    """A good request for the model `double`, with changes to its only input (None removes a key)."""
    tensor: dict[str, Any] = {"name": "x", "shape": [1, 16], "datatype": "FP32", "data": [1.5] * 16, **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


def malformed() -> list[Hostile]:
    """Not JSON, by RFC 8259, or JSON that two parsers could read differently."""
    good = json.dumps(x())
    bodies: dict[str, bytes] = {
        "empty": b"",
        "spaces": b"   \n",
        "not-json": b"hello",
        "binary": bytes(range(256)),
        "jpeg": b"\xff\xd8\xff\xe0" + b"x" * 100,
        "truncated": good[:-5].encode(),
        "truncated-string": b'{"inputs": [{"name": "x',
        "trailing": good.encode() + b"x",
        "two-objects": good.encode() * 2,
        "nul-after": good.encode() + b"\0",
        "bom": b"\xef\xbb\xbf" + good.encode(),
        "utf16": good.encode("utf-16"),
        "array": b"[]",
        "string": b'"inputs"',
        "number": b"5",
        "null": b"null",
        "single-quotes": b"{'inputs': []}",
        "unquoted-key": b"{inputs: []}",
        "trailing-comma-array": b'{"a": [1,], "inputs": []}',
        "trailing-comma-object": good[:-1].encode() + b",}",
        "no-comma": b'{"inputs": [] "outputs": []}',
        "no-colon": b'{"inputs" []}',
        "comment": b"/* hi */" + good.encode(),
        "nan": good.replace("1.5", "NaN").encode(),
        "infinity": good.replace("1.5", "Infinity").encode(),
        "minus-infinity": good.replace("1.5", "-Infinity").encode(),
        "hex": good.replace("1.5", "0x10").encode(),
        "leading-zero": good.replace("1.5", "01").encode(),
        "plus": good.replace("1.5", "+1").encode(),
        "point-first": good.replace("1.5", ".5").encode(),
        "point-last": good.replace("1.5", "1.").encode(),
        "exponent-empty": good.replace("1.5", "1e").encode(),
        "double-overflow": good.replace("1.5", "1e999").encode(),
        "zero-with-large-exponent": good.replace("1.5", "0e999").encode(),
        "digits-overflow": good.replace("1.5", "9" * 400).encode(),
        "bad-word": good.replace("1.5", "True").encode(),
        "bad-escape": good.replace('"x"', '"\\q"').encode(),
        "bad-unicode-escape": good.replace('"x"', '"\\u12g4"').encode(),
        "lone-high-surrogate": good.replace('"x"', '"\\ud800"').encode(),
        "lone-low-surrogate": good.replace('"x"', '"\\udc00"').encode(),
        "control-in-string": good.replace('"x"', '"a\nb"').encode(),
        "bad-utf8": good.encode().replace(b'"x"', b'"\xff"'),
        "overlong-utf8": good.encode().replace(b'"x"', b'"\xc0\xaf"'),
        "utf8-surrogate": good.encode().replace(b'"x"', b'"\xed\xa0\x80"'),
        "cut-utf8": good.encode().replace(b'"x"', b'"\xe2\x82"'),
        "duplicate-inputs": good[:-1].encode() + b', "inputs": []}',
        "escaped-key": good.replace("inputs", "inp\\u0075ts").encode(),
        "no-inputs": b"{}",
        "inputs-elsewhere": b'{"parameters": {}, "outputs": []}',
        "deep-arrays": b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "deep-arrays-open": b"[" * 200_000,
        "deep-objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "deep-data": json.dumps(x(data=0)).encode().replace(b"0}", b"[" * 200_000 + b"]" * 200_000 + b"}"),
        "deep-unknown-key": b'{"a": ' + b"[" * 40 + b"]" * 40 + b', "inputs": []}',
        "many-keys": json.dumps({f"k{i}": i for i in range(200_000)}).encode(),
    }
    return [Hostile(f"malformed-{name}", 400, "REQUEST_MALFORMED", body=body) for name, body in bodies.items()]


def shapes() -> list[dict[str, Any]]:
    """Shapes that overflow, or that the data does not fill; some kill Triton 2.51."""
    sizes = [2**28, 2**31, 2**32, 2**40, 2**53, 2**58, 2**60, 2**62, 2**63 - 1, 2**63, 2**64, 10**30]
    found = [x(shape=[size, 16]) for size in sizes] + [x(shape=[16, size], data=[]) for size in sizes]
    found += [x(shape=[0, 2**62], data=[]), x(shape=[2**32, 2**32], data=[]), x(shape=[-1, 16]), x(shape=[1, -16])]
    found += [x(shape=[1.5, 16]), x(shape=["1", 16]), x(shape="1"), x(shape=16), x(shape={}), x(shape=[[1], 16])]
    found += [x(shape=[1] * 100), x(shape=[True, 16]), x(shape=[1e2, 16]), x(shape=[2, 16]), x(shape=[1, 15])]
    return found


def tensors() -> list[dict[str, Any]]:
    """Inputs with missing keys, wrong kinds, data types or elements."""
    found = [x(name=None), x(datatype=None), x(shape=None), x(data=None), x(name=5), x(name=["x"]), x(datatype=7)]
    found += [x(datatype="FP31"), x(datatype="fp32"), x(datatype=""), x(data="1"), x(data={}), x(data=3), x(data=True)]
    found += [x(data=["1"] * 16), x(data=[{}] * 16), x(data=[True] * 16), x(data=[1] * 17), x(data=[[1] * 8, [1] * 7])]
    found += [
        x(data=[1e39] * 16),
        x(data=[3.5e38] * 16),
        x(data=[-3.5e38] * 16),
        x(datatype="INT32", data=[1.5] * 16),
        x(datatype="INT32", data=[2**31] * 16),
    ]
    found += [x(datatype="UINT8", data=[256] * 16), x(datatype="UINT8", data=[-1] * 16)]
    found += [x(datatype="UINT64", data=[2**64] * 16), x(datatype="INT64", data=[2**63] * 16)]
    found += [x(datatype="INT64", data=[-(2**63) - 1] * 16), x(datatype="BOOL", data=[1] * 16)]
    found += [x(datatype="BYTES", data=[1] * 16), x(datatype="FP16"), x(datatype="BF16")]
    found += [x(parameters=5), x(parameters=[]), x(parameters={"a": None}), x(parameters={"a": []})]
    found += [x(parameters={key: 1}) for key in ("shared_memory_region", "shared_memory_byte_size")]
    found += [x(parameters={"binary_data_size": 64}), x(data=None, parameters={"binary_data_size": 64})]
    found += [x(data=None, parameters={"binary_data_size": -1}), x(parameters={"classification": "a"})]
    return found


def requests() -> list[dict[str, Any]]:
    """Bodies whose top level, outputs or parameters are wrong."""
    good = x()
    found: list[dict[str, Any]] = [{"inputs": value} for value in ([], {}, None, "x", 5, [5], [[]], ["x"], [None])]
    found += [{**good, "id": 5}, {**good, "id": None}, {**good, "parameters": []}, {**good, "parameters": None}]
    found += [{**good, "parameters": {key: "x"}} for key in ("priority", "timeout", "binary_data_output")]
    found += [{**good, "parameters": {key: 2**64}} for key in ("priority", "timeout", "sequence_id")]
    found += [{**good, "parameters": {"sequence_id": value}} for value in (True, 1.5, -1, "s" * 129)]
    found += [{**good, "parameters": {"priority": -1}}, {**good, "parameters": {"sequence_start": 1}}]
    found += [{**good, "outputs": value} for value in ({}, "y", [5], [{}], [{"name": 5}], None)]
    found += [{**good, "outputs": [{"name": "y"}, {"name": "y"}]}]
    found += [{**good, "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}]
    found += [{**good, "outputs": [{"name": "y", "parameters": {"classification": -1}}]}]
    found += [{**good, "outputs": [{"name": "y", "parameters": {"classification": count}}]} for count in (1, 2**62)]
    found += [{"inputs": good["inputs"] * 2}, {"inputs": good["inputs"] * 300}]
    # These pass the edge and are refused by Triton.
    found += [x(name="nope"), x(datatype="FP64"), x(shape=[2, 8]), x(shape=[16]), x(shape=[], data=[1.5])]
    found += [x(shape=[65, 16], data=[1.5] * 65 * 16), {**good, "outputs": [{"name": "nope"}]}]
    return found


def invalid() -> list[Hostile]:
    bodies = [*shapes(), *tensors(), *requests()]
    return [
        Hostile(f"invalid-{number}-{json.dumps(body)[:60]}", 400, "REQUEST_INVALID", body=json.dumps(body).encode())
        for number, body in enumerate(bodies)
    ]


def deadly() -> list[Hostile]:
    """Well-formed, and enough to kill Triton 2.51 (SIGFPE): the classes of strings."""
    image = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": ["hi"]}
    labels = {"name": "labels", "parameters": {"classification": 3}}
    body = json.dumps({"inputs": [image], "outputs": [labels]}).encode()
    return [Hostile("classes-of-strings", 400, "REQUEST_INVALID", path=ECHO, body=body)]


def binary() -> list[Hostile]:
    """Binary tensor requests whose parts do not fit."""
    part = json.dumps(x(data=None, parameters={"binary_data_size": 64})).encode()
    exact = {HEADER: str(len(part))}
    huge = json.dumps(x(data=None, shape=[2**58, 16], parameters={"binary_data_size": 64})).encode()
    more = json.dumps(x(data=None, parameters={"binary_data_size": 2**40})).encode()
    text = json.dumps(
        {"inputs": [{"name": "image", "shape": [8, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 8}}]}
    ).encode()
    cases = [
        ("short", part + b"\0" * 60, exact, "REQUEST_INVALID"),
        ("long", part + b"\0" * 68, exact, "REQUEST_INVALID"),
        ("no-tensor", part, exact, "REQUEST_INVALID"),
        ("header-too-long", part + b"\0" * 64, {HEADER: str(len(part) + 65)}, "REQUEST_MALFORMED"),
        ("header-short", part + b"\0" * 64, {HEADER: str(len(part) - 3)}, "REQUEST_MALFORMED"),
        ("header-negative", part + b"\0" * 64, {HEADER: "-1"}, "REQUEST_MALFORMED"),
        ("header-text", part + b"\0" * 64, {HEADER: "all"}, "REQUEST_MALFORMED"),
        ("header-huge", part + b"\0" * 64, {HEADER: "9" * 30}, "REQUEST_MALFORMED"),
        ("header-hex", part + b"\0" * 64, {HEADER: "0x10"}, "REQUEST_MALFORMED"),
        ("huge-shape", huge + b"\0" * 64, {HEADER: str(len(huge))}, "REQUEST_INVALID"),
        ("huge-size", more + b"\0" * 64, {HEADER: str(len(more))}, "REQUEST_INVALID"),
        ("raw-empty", b"", {HEADER: "0"}, "REQUEST_MALFORMED"),
        ("raw-short", b"abc", {HEADER: "0"}, "REQUEST_INVALID"),
    ]
    found = [Hostile(f"binary-{name}", 400, code, body=body, headers=headers) for name, body, headers, code in cases]
    found.append(
        Hostile("binary-strings", 400, "REQUEST_INVALID", "POST", ECHO, text + b"\0" * 8, {HEADER: str(len(text))})
    )
    return found


def blocked() -> list[Hostile]:
    """Administration, and ways around the block."""
    forbidden = [
        "/v2/repository/index",
        "/v2/repository/models/echo/load",
        "/v2/repository/models/echo/unload",
        "/v2/systemsharedmemory/status",
        "/v2/systemsharedmemory/region/r/register",
        "/v2/cudasharedmemory/region/r/register",
        "/v2/trace/setting",
        "/v2/models/echo/trace/setting",
        "/v2/logging",
        "//v2/repository/index",
        "/v2//repository/index",
        "/v2/./repository/index",
        "/v2/health/../repository/index",
        "/v2/%72epository/index",
        "/v2%2frepository/index",
        "/v2/repository%2Findex",
        "/v2/health%5c..%5crepository/index",
        "/v2/health%2f..%2frepository/index",
        "/v2/%2e%2e/v2/repository/index",
        "/v2/repository/index?x=/v2/health/live",
    ]
    unknown = [
        "/",
        "/metrics",
        "/v2/",
        "/v1/models",
        "/stats",
        "/quitquitquit",
        "/v2/models",
        "/v2/models/",
        "/v2/models/echo/",
        "/v2/models/echo/versions",
        "/v2/models/echo/unload",
        "/v2/models/echo/generate",
        "/v2/models/echo/generate_stream",
        "/v2/models/echo/versions/1/generate",
        "/V2/repository/index",
        "/v2/Repository/index",
        "/v2/models/a%01b/ready",
        "/v2/%2e%2e/%2e%2e/etc/passwd",
        "/v2/models/echo/infer/../../../../etc/passwd",
        "/inference.GRPCInferenceService/ModelInfer",
        "/v2/invocations",
        "/" + "a" * 8000,
    ]
    found = [Hostile(f"forbidden-{path}", 403, "ENDPOINT_FORBIDDEN", path=path, body=b"{}") for path in forbidden]
    found += [Hostile(f"unknown-{path[:50]}", 404, "ENDPOINT_UNKNOWN", "GET", path, None) for path in unknown]
    return found


def models_and_methods() -> list[Hostile]:
    """Unknown models and versions, wrong methods and media types."""
    good = json.dumps(x()).encode()
    found = [
        Hostile("model-unknown", 404, "MODEL_NOT_FOUND", path="/v2/models/nope/infer", body=good),
        Hostile("model-unknown-version", 404, "MODEL_NOT_FOUND", path="/v2/models/nope/versions/1/infer", body=good),
        Hostile("model-unknown-get", 404, "MODEL_NOT_FOUND", "GET", "/v2/models/nope", None),
        Hostile("model-unknown-ready", 404, "MODEL_NOT_FOUND", "GET", "/v2/models/nope/ready", None),
        Hostile("version-unknown-ready", 404, "VERSION_NOT_FOUND", "GET", "/v2/models/echo/versions/9/ready", None),
    ]
    for version in ("9", "0", "-1", "abc", "1.0", "01", "99999999999999999999", "latest", "+1"):
        path = f"/v2/models/double/versions/{version}/infer"
        found.append(Hostile(f"version-{version}", 404, "VERSION_NOT_FOUND", path=path, body=good))
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        body = None if method == "GET" else good
        found.append(Hostile(f"method-{method}", 405, "ENDPOINT_UNKNOWN", method, INFER, body))
    found.append(Hostile("method-post-ready", 405, "ENDPOINT_UNKNOWN", "POST", "/v2/health/ready", b"{}"))
    found.append(Hostile("get-with-body", 400, "REQUEST_MALFORMED", "GET", "/v2/health/live", b"{}"))
    for media in ("text/plain", "image/jpeg", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        found.append(
            Hostile(f"media-{media}", 415, "MEDIA_TYPE_UNSUPPORTED", body=good, headers={"Content-Type": media})
        )
    for encoding in ("gzip", "deflate", "br", "GZIP", "identity, gzip"):
        headers = {"Content-Encoding": encoding}
        found.append(Hostile(f"encoding-{encoding}", 415, "MEDIA_TYPE_UNSUPPORTED", body=good, headers=headers))
    return found


def all_cases() -> list[Hostile]:
    return [*malformed(), *invalid(), *deadly(), *binary(), *blocked(), *models_and_methods()]
