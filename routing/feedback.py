"""Labels and business outcomes that arrive later: `POST /feedback` and files, joined to requests by their id.

The same server takes reports of drift: `POST /drift` (routing/drift.py).
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from routing import drift
from routing.store import Store
from routing.store.rows import key_text
from routing.store.votes import Feedback, save_feedback
from slipway.errors import FeedbackInvalid, PortUnavailable, SlipwayError
from slipway.settings import Settings

#: Bytes of one POST.
LARGEST_BODY = 1 << 20
_HOST = "127.0.0.1"
_START_SECONDS = 10.0
_LONGEST_LABEL = 64 << 10
_FIELDS = {"request_id", "label", "outcome", "value", "correct", "time"}
_EXPECTED = '{"request_id": "...", "label": "7"}, {..., "correct": false} or {..., "outcome": "clicked", "value": true}'
_FILE_BATCH = 10_000


def parse(body: bytes | str, now: float | None = None) -> list[Feedback]:
    """A JSON object, an array of objects, or JSON lines. Raises FeedbackInvalid with the line (or item) and the reason.

    ``now``: seconds since 1970, for those that say no ``time`` themselves.
    """
    now = time.time() if now is None else now
    text = _decoded(body)
    if text.lstrip().startswith("["):
        items = _json(text, 1)
        return [_item(values, line, now) for line, values in enumerate(items, start=1)]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return list(_lines(text.split("\n"), now))
    return [_item(values, 1, now)]


def parse_file(path: Path) -> list[Feedback]:
    """A file of JSON lines. Raises FeedbackInvalid."""
    try:
        return parse(path.read_bytes())
    except OSError as problem:
        raise FeedbackInvalid(f"{path} cannot be read", observed=problem.strerror, fix="name a readable file") from None


def save(store: Store, items: Sequence[Feedback]) -> int:
    """Stores any number of them, in pieces; returns how many. Raises StoreUnavailable."""
    for start in range(0, len(items), _FILE_BATCH):
        save_feedback(store, items[start : start + _FILE_BATCH])
    return len(items)


@dataclass(frozen=True)
class FeedbackServer:
    """A running server; ``url`` of its ``/feedback``."""

    port: int
    _server: uvicorn.Server
    _thread: threading.Thread

    @property
    def url(self) -> str:
        """Where feedback is posted to."""
        return f"http://{_HOST}:{self.port}/feedback"

    def stop(self) -> None:
        """Answers what was accepted, then ends; returns when the port is free."""
        self._server.should_exit = True
        self._thread.join()


def serve(store: Store, settings: Settings, port: int = 0) -> FeedbackServer:
    """Serves on loopback in a thread of this process; returns when it answers.

    ``settings``: where models and reports of drift lie. ``port``: 0 takes a free one. Raises PortUnavailable for one
    that is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as problem:
        listener.close()
        raise PortUnavailable(
            f"port {port} of {_HOST} cannot be used for feedback", observed=problem.strerror, fix="choose another port"
        ) from None
    config = uvicorn.Config(
        app(store, settings), log_config=None, access_log=False, timeout_graceful_shutdown=5, limit_concurrency=64,
        lifespan="off",
    )  # fmt: skip
    server = uvicorn.Server(config)
    # Listening from here on: a client that comes before the loop runs waits in the backlog.
    listener.listen(128)
    thread = threading.Thread(target=server.run, args=([listener],), name="feedback", daemon=True)
    thread.start()
    return FeedbackServer(listener.getsockname()[1], server, thread)


def app(store: Store, settings: Settings) -> Starlette:
    """The ASGI application: ``POST /feedback``, ``POST /drift``, ``GET /health``."""

    async def feedback(request: Request) -> Response:
        items = parse(await _body(request))
        await run_in_threadpool(save_feedback, store, items)
        return JSONResponse({"accepted": len(items)}, status_code=202)

    async def report_drift(request: Request) -> Response:
        report = await run_in_threadpool(drift.take, settings, await _body(request))
        return JSONResponse(report.model_dump(), status_code=202)

    async def health(_: Request) -> Response:
        await run_in_threadpool(store.check)
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/feedback", feedback, methods=["POST"]),
            Route("/drift", report_drift, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ],
        exception_handlers={
            404: _no_such_page,
            405: _no_such_page,
            SlipwayError: _refusal,
            _Refused: _refusal,
            ClientDisconnect: _gone,
        },
    )


class _Refused(Exception):
    """A request that is refused with another status than its problem has: (problem, status)."""


async def _body(request: Request) -> bytes:
    if "origin" in request.headers:
        # Any page that a person of this machine opens could post here; only browsers send this header.
        raise _Refused(FeedbackInvalid("feedback is not taken from web pages", fix="send it from a server"), 403)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            problem = FeedbackInvalid(
                "the body is too large",
                observed=f"more than {LARGEST_BODY} bytes",
                expected=f"at most {LARGEST_BODY} bytes",
                fix="send several requests, or `slipway route feedback FILE`",
            )
            raise _Refused(problem, 413)
    return bytes(body)


async def _refusal(_: Request, problem: Exception) -> Response:
    if isinstance(problem, SlipwayError):
        return _problem(problem, problem.http_status)
    return _problem(*problem.args)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)


def _problem(problem: SlipwayError, status: int) -> Response:
    """RFC 9457, with the stable code beside the members that it names."""
    content = {"type": "about:blank", "title": problem.message, "status": status, "detail": str(problem)}
    return JSONResponse({**content, **problem.to_dict()}, status_code=status, media_type="application/problem+json")


async def _no_such_page(request: Request, problem: Exception) -> Response:
    status = getattr(problem, "status_code", 404)
    content = {"type": "about:blank", "title": "no such page", "status": status, "code": FeedbackInvalid.code}
    content["detail"] = f"{request.method} {request.url.path}: there are POST /feedback, POST /drift and GET /health"
    return JSONResponse(content, status_code=status, media_type="application/problem+json")


def _decoded(body: bytes | str) -> str:
    try:
        text = body.decode() if isinstance(body, bytes) else body
    except UnicodeDecodeError as problem:
        raise FeedbackInvalid("feedback is not UTF-8", observed=str(problem), expected=_EXPECTED) from None
    if not text.strip():
        raise FeedbackInvalid("feedback is empty", expected=_EXPECTED)
    return text


def _lines(lines: Iterable[str], now: float) -> Iterator[Feedback]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _item(_json(line, number), number, now)


def _json(text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise _refused(line, "it is not JSON", str(problem)) from None


def _item(values: Any, line: int, now: float) -> Feedback:
    if not isinstance(values, dict):
        raise _refused(line, "it is not an object", type(values).__name__)
    unknown = set(values) - _FIELDS
    if unknown:
        raise _refused(line, "it has unknown fields", ", ".join(sorted(map(repr, unknown)))[:200])
    kinds = [name for name in ("label", "correct", "outcome") if values.get(name) is not None]
    if len(kinds) != 1:
        raise _refused(line, "it needs exactly one of label, correct and outcome", ", ".join(kinds) or "none")
    if ("value" in values) != (kinds == ["outcome"]):
        raise _refused(line, "an outcome needs a value, and nothing else has one", ", ".join(sorted(values)))
    return Feedback(
        request_id=_name(values, "request_id", line),
        time=_time(values, line, now),
        label=_label(values, line),
        correct=_truth(values, "correct", line),
        outcome=_name(values, "outcome", line) if "outcome" in kinds else None,
        value=_truth(values, "value", line),
    )


def _name(values: dict[str, Any], field: str, line: int) -> str:
    value = values.get(field)
    with contextlib.suppress(ValueError):
        if value:
            return key_text(value)
    raise _refused(line, f"{field} must be a text of 1 to 512 bytes", type(value).__name__)


def _label(values: dict[str, Any], line: int) -> str | None:
    value = values.get("label")
    # Class labels are often written as numbers.
    value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if value is None:
        return None
    if not isinstance(value, str) or "\x00" in value or len(value) > _LONGEST_LABEL:
        raise _refused(line, "label must be a text", type(value).__name__)
    with contextlib.suppress(UnicodeEncodeError):
        value.encode()
        return value
    raise _refused(line, "label must be a text", "half of a surrogate pair")


def _truth(values: dict[str, Any], field: str, line: int) -> bool | None:
    value = values.get(field)
    if field in values and value not in (True, False) and not (field == "correct" and value is None):
        raise _refused(line, f"{field} must be true or false", repr(value)[:100])
    return None if value is None else bool(value)


def _time(values: dict[str, Any], line: int, now: float) -> float:
    value = values.get("time", now)
    # What claims to come from the future would win over every later label.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= now + 60:
        raise _refused(line, "time must be seconds since 1970, not in the future", repr(value)[:100])
    return float(value)


def _refused(line: int, reason: str, observed: str) -> FeedbackInvalid:
    return FeedbackInvalid(f"line {line} of the feedback: {reason}", observed=observed, expected=_EXPECTED)
