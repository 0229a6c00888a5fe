"""A real HTTP server on loopback that serves files well, and badly in every way that a download must survive."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """``/truncated/x`` ends half way, ``/stalled/x`` stops sending, ``/chunked/x`` has no length, ``/endless/x`` none,
    ``/moved/x`` redirects to ``/x`` and ``/elsewhere/x`` to another server's ``/x``. With a password set on the server
    everything else is 401."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.authorizations.append(self.headers.get("Authorization"))
        kind, _, name = self.path.lstrip("/").partition("/")
        if not self._allowed():
            self._empty(401, "WWW-Authenticate", "Basic")
        elif kind == "moved":
            self._empty(302, "Location", f"/{name}")
        elif kind == "elsewhere":
            self._empty(302, "Location", f"{self.server.elsewhere}/{name}")
        elif kind in ("truncated", "stalled", "chunked", "endless"):
            getattr(self, kind)((Path(self.directory) / name).read_bytes())
        else:
            super().do_GET()

    def truncated(self, content: bytes) -> None:
        self._head("Content-Length", str(len(content)))
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True

    def stalled(self, content: bytes) -> None:
        self._head("Content-Length", str(len(content)))
        self.wfile.write(content[:100])
        self.wfile.flush()
        self.server.release.wait(30)
        self.close_connection = True

    def chunked(self, content: bytes) -> None:
        self._head("Transfer-Encoding", "chunked")
        for start in range(0, len(content), 1 << 20):
            piece = content[start : start + (1 << 20)]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def endless(self, content: bytes) -> None:
        self._head("Connection", "close")
        try:
            while not self.server.release.is_set():
                self.wfile.write(content)
        except OSError:
            self.close_connection = True  # the client has had enough

    def _allowed(self) -> bool:
        given = (self.headers.get("Authorization") or "").removeprefix("Basic ")
        return self.server.password is None or base64.b64decode(given).decode() == self.server.password

    def _empty(self, status: int, name: str, value: str) -> None:
        self.send_response(status)
        self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _head(self, name: str, value: str) -> None:
        self.send_response(200)
        self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Requests are counted in ``server.requests``, not printed."""


@contextmanager
def serving(folder: Path) -> Iterator[ThreadingHTTPServer]:
    """Serves ``folder`` on a free port; ``server.url`` is its address, ``server.requests`` the paths asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.requests = []
    server.authorizations = []
    server.password = server.elsewhere = None
    server.release = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
