"""What waits in TorchServe's queues, for Prometheus: TorchServe's own metrics have no queue depth (0.12)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving.torchserve.management import ManagementClient, VersionInfo
from slipway.errors import SlipwayError

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GAUGES = {
    "slipway_torchserve_queue_pending": "Requests that wait for a worker.",
    "slipway_torchserve_queue_remaining": "Requests that may still come to wait; the next one is refused.",
    "slipway_torchserve_workers_ready": "Workers that can answer.",
    "slipway_torchserve_workers": "Workers that there should be, ready or not.",
}


def queue_text(versions: Sequence[VersionInfo]) -> str:
    """Prometheus' text format, one sample per gauge, model and version."""
    lines = []
    for name, meaning in _GAUGES.items():
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
        lines += [
            f'{name}{{model_name="{item.model}",model_version="{item.version}"}} {_value(name, item)}'
            for item in versions
        ]
    return "\n".join(lines) + "\n"


def read_queues(client: ManagementClient) -> list[VersionInfo]:
    """Every registered version. Raises ServerUnavailable."""
    return [version for model in client.models() for version in client.describe(model)]


class QueueExporter:
    """``/metrics`` on loopback, on threads of its own; a scrape asks the management API."""

    def __init__(self, host: str, port: int, client: ManagementClient) -> None:
        """Raises OSError when the port is taken. ``port`` 0: any that is free, see :attr:`port`."""
        self._server = ThreadingHTTPServer((host, port), _handler(client))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="queue-exporter", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it answers at."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stops answering and frees the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def _handler(client: ManagementClient) -> type[BaseHTTPRequestHandler]:
    class Scrape(BaseHTTPRequestHandler):
        """Answers one scrape."""

        timeout = 10

        def do_GET(self) -> None:
            """``/metrics``; 503 while TorchServe does not answer."""
            if self.path.split("?")[0] != "/metrics":
                self._send(404, "only /metrics\n")
                return
            try:
                self._send(200, queue_text(read_queues(client)))
            except SlipwayError as problem:
                self._send(503, f"{problem}\n")

        def log_message(self, *_: object) -> None:
            """Scrapes are not logged."""

        def _send(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", _TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Scrape


def _value(name: str, version: VersionInfo) -> int:
    if name.endswith("_pending"):
        return version.pending
    if name.endswith("_remaining"):
        return version.remaining
    ready = [worker for worker in version.workers if worker.status == "READY"]
    return len(ready if name.endswith("_ready") else version.workers)
