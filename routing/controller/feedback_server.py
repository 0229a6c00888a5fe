"""POST /feedback on a loopback port: labels and outcomes, as a JSON object or JSON lines; the edge leads here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from slipway.errors import FeedbackInvalid, RequestTooLarge, SlipwayError

_MAX_BYTES = 8 << 20
_SECONDS = 10.0

#: Takes the text of a body and returns what was counted.
Take = Callable[[str], dict[str, int]]


class FeedbackServer:
    """Serves on a thread of its own from ``start`` to ``stop``. ``port``: of 127.0.0.1."""

    def __init__(self, take: Take, port: int = 0) -> None:
        """``port``: the one that is wished for; another when it is taken."""

        class Handler(_Handler):
            take_body = staticmethod(take)

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError:
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="feedback", daemon=True)
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()

    def stop(self) -> None:
        """No further requests."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    take_body: Take

    def do_POST(self) -> None:
        """One body."""
        try:
            if self.path.partition("?")[0] != "/feedback":
                self._answer(404, {"error": "only POST /feedback is known here"})
                return
            self._answer(200, {"accepted": self.take_body(self._body())})
        except SlipwayError as problem:
            # the body may not have been read to its end: what follows on this connection could be its rest
            self.close_connection = True
            text = f"{problem.code}: {problem.message}"
            self._answer(problem.http_status, {"error": text, **problem.to_dict()})

    def _body(self) -> str:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise FeedbackInvalid("feedback needs a Content-Length", observed=length or "none")
        if int(length) > _MAX_BYTES:
            raise RequestTooLarge("feedback is too large", observed=length, expected=f"at most {_MAX_BYTES} bytes")
        try:
            return self.rfile.read(int(length)).decode("utf-8")
        except UnicodeDecodeError as problem:
            raise FeedbackInvalid("feedback is not UTF-8", observed=str(problem)) from problem

    def _answer(self, status: int, values: dict[str, Any]) -> None:
        body = (json.dumps(values, default=str) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:
        """The edge's access log has it."""
