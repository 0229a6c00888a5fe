"""Requests that must never reach TorchServe, or reach it and be answered 4xx."""

from __future__ import annotations

from tests.serving.edge.hostile import Hostile

PREDICT = "/predictions/echo"


def blocked() -> list[Hostile]:
    """Management, workflows and other protocols, and ways around the block."""
    forbidden = [
        "/models",
        "/models?url=http://example.invalid/x.mar",
        "/models/echo",
        "/models/echo/1/set-default",
        "/workflows",
        "/workflows?url=x.war",
        "/wfpredict/echo",
        "/metrics",
        "/api-description",
        "/token?type=inference",
        "//models",
        "/./models",
        "/ping/../models",
        "/predictions/../models",
        "/predictions/echo/../../models",
        "/predictions/%2e%2e/models",
        "/predictions%2f..%2fmodels",
        "/predictions/..%2fmodels",
        "/predictions/..%5cmodels",
        "/%6dodels",
        "/models%2f",
        "/predictions/%2e%2e/workflows?url=x.war",
    ]
    unknown = [
        "/",
        "/predictions",
        "/predictions/",
        "/predictions/echo/",
        "/predictions/echo/1/",
        "/predictions/echo/1/2",
        "/predictions/echo//2//x",
        "/predictions/e%63ho%00",
        "/predictions/a%20b",
        "/predictions/%C3%A9cho",
        "/explanations/echo",
        "/explanations/echo/1",
        "/invocations",
        "/v1/models/echo:predict",
        "/v2",
        "/v2/models/echo/infer",
        "/v2/models/echo",
        "/v2/repository/index",
        "/ping/x",
        "/PING",
        "/Models",
        "/Predictions/echo",
        "/stats",
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
        "/" + "a" * 6000,
    ]
    found = [Hostile(f"forbidden-{path}", 403, "ENDPOINT_FORBIDDEN", path=path, body=b"x") for path in forbidden]
    found += [Hostile(f"forbidden-get-{path}", 403, "ENDPOINT_FORBIDDEN", "GET", path, None) for path in forbidden[:9]]
    for path in unknown:
        status, code = (400, "REQUEST_MALFORMED") if "%00" in path else (404, "ENDPOINT_UNKNOWN")
        found.append(Hostile(f"unknown-{path[:50]}", status, code, path=path, body=b"x"))
    return found


def models_and_methods() -> list[Hostile]:
    """Unknown models and versions, wrong methods, media types and encodings."""
    found = [
        Hostile("model", 404, "MODEL_NOT_FOUND", path="/predictions/nope", body=b"x"),
        Hostile("model-and-version", 404, "MODEL_NOT_FOUND", path="/predictions/nope/1", body=b"x"),
        Hostile("model-long", 404, "MODEL_NOT_FOUND", path="/predictions/" + "e" * 5000, body=b"x"),
        Hostile("model-long-version", 404, "MODEL_NOT_FOUND", path="/predictions/" + "e" * 5000 + "/1", body=b"x"),
        Hostile("model-dots", 404, "MODEL_NOT_FOUND", path="/predictions/...", body=b"x"),
        Hostile("ping-body", 400, "REQUEST_MALFORMED", "GET", "/ping", b"x"),
        Hostile("ping-post", 405, "ENDPOINT_UNKNOWN", "POST", "/ping", b"x"),
        Hostile("health-put", 405, "ENDPOINT_UNKNOWN", "PUT", "/v2/health/ready", b"x"),
    ]
    for version in ("9", "0", "-1", "abc", "1.0", "01", "9" * 20, "latest", "+1", "1%3fx=2", "1;x", "1%0a", "*"):
        path = f"{PREDICT}/{version}"
        found.append(Hostile(f"version-{version}", 404, "VERSION_NOT_FOUND", path=path, body=b"x"))
    for method in ("GET", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD"):
        if method != "HEAD":
            body = None if method == "GET" else b"x"
            found.append(Hostile(f"method-{method}", 405, "ENDPOINT_UNKNOWN", method, PREDICT, body))
    found.append(Hostile("options-root", 404, "ENDPOINT_UNKNOWN", "OPTIONS", "/", None))
    for media in (
        "text/plain",
        "text/html",
        "video/mp4",
        "application/xml",
        "application/x-python",
        "image/",
        "image/a b",
    ):
        headers = {"Content-Type": media}
        status, code = (415, "MEDIA_TYPE_UNSUPPORTED")
        if media == "image/a b":
            continue
        found.append(Hostile(f"media-{media}", status, code, path=PREDICT, body=b"x", headers=headers))
    for encoding in ("gzip", "deflate", "br", "GZIP", "identity, gzip"):
        headers = {"Content-Encoding": encoding}
        found.append(
            Hostile(f"encoding-{encoding}", 415, "MEDIA_TYPE_UNSUPPORTED", path=PREDICT, body=b"x", headers=headers)
        )
    return found


def queries() -> list[Hostile]:
    """Queries that cannot be parameters."""
    bad = ["%", "%f", "a=%zz", "a=%", "%u0041=1", "a=%ff", "a=%c0%af", "a=%ed%a0%80%", "%80=1", "a=%e2%82", 'a="%GG"']
    found = [Hostile(f"query-{query}", 400, "REQUEST_MALFORMED", path=f"{PREDICT}?{query}", body=b"x") for query in bad]
    long = ["a=" + "b" * 2000, "&".join(f"k{number}=1" for number in range(40))]
    return found + [
        Hostile(f"query-long-{query[:9]}", 400, "REQUEST_INVALID", path=f"{PREDICT}?{query}", body=b"x")
        for query in long
    ]


def json_bodies() -> list[Hostile]:
    """Not JSON, or JSON that two parsers could read differently."""
    bodies = [
        b"",
        b" ",
        b"hello",
        b"{",
        b'{"image": "x"',
        b'{"image": "x"}x',
        b'{"image": NaN}',
        b'{"image": "\xff"}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"image": "\\ud800"}',
        b"{'image': 'x'}",
        b'{"image": 01}',
        b'\xef\xbb\xbf{"image": "x"}',
        b"null null",
    ]
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return [
        Hostile(f"json-{number}", 400, "REQUEST_MALFORMED", path=PREDICT, body=body, headers=headers)
        for number, body in enumerate(bodies)
    ]


def forms() -> list[Hostile]:
    """Multipart bodies that an old decoder could choke on, and headers that two parsers read differently."""
    part = b'--B\r\nContent-Disposition: form-data; name="%d"\r\n\r\nx\r\n'
    many = b"".join(part % number for number in range(5000)) + b"--B--\r\n"
    form = "multipart/form-data"
    bodies = {"many": (400, "REQUEST_INVALID", many)} | _parts()
    found = [
        Hostile(f"form-{name}", status, code, path=PREDICT, body=body, headers={"Content-Type": f"{form}; boundary=B"})
        for name, (status, code, body) in bodies.items()
    ]
    headers = [
        form,
        f"{form}; boundary={'B' * 71}",
        f"{form}; boundary=",
        f'{form}; boundary=""',
        f'{form}; boundary="B',
        f"{form}; boundary=B C",
        f'{form}; boundary=B; x=boundary="fake"',
        f"{form}; Boundary=B; boundary=fake",
        f"{form}; boundary=fake; BOUNDARY=B",
        f"{form}; charset=utf-8; boundary=B",
        f"{form}; boundaryx=B",
        f"{form}; boundary*=utf-8''B",
        f"{form}; ; boundary=B",
    ]
    return found + [
        Hostile(f"form-header-{item[19:60]}", 400, "REQUEST_MALFORMED", path=PREDICT, body=many, headers=media)
        for item in headers
        for media in [{"Content-Type": item}]
    ]


def _parts() -> dict[str, tuple[int, str, bytes]]:
    """Forms of one part that its decoder makes many things of."""
    start = b'--B\r\nContent-Disposition: form-data; name="data"'
    inner = b'--in\r\nContent-Disposition: file; filename="a"\r\n\r\nx\r\n' * 500 + b"--in--\r\n--B--\r\n"
    mixed = b"\r\nContent-Type: multipart/mixed; boundary=in"
    refused, malformed = (400, "REQUEST_INVALID"), (400, "REQUEST_MALFORMED")
    return {
        "mixed": (*refused, start + mixed + b"\r\n\r\n" + inner),
        "mixed-in-capitals": (*refused, start + mixed.replace(b"multi", b"MuLTi") + b"\n\n" + inner),
        "mixed-after-a-blank-line": (*malformed, start + b"\r\n \r\n\r\n" + mixed[2:] + b"\r\n\r\n" + inner),
        "mixed-at-a-tab": (*malformed, start.replace(b"\n", b"\n\t\r\n\r\n") + mixed + b"\r\n\r\n" + inner),
        "attributes": (*refused, start + b";a=b" * 100_000 + b"\r\n\r\nx\r\n--B--\r\n"),
        "headers": (*refused, start + b"\r\nX-Y: z" * 100_000 + b"\r\n\r\nx\r\n--B--\r\n"),
        "nameless-header": (*malformed, start + b"\r\nno name\r\n\r\nx\r\n--B--\r\n"),
    }


def all_cases() -> list[Hostile]:
    return [*blocked(), *models_and_methods(), *queries(), *json_bodies(), *forms()]
