"""A real Triton with two small models and a real Envoy in front, for the tests of the edge."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.edge import admin, config, experiment_clusters, process, routes
from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes
from serving.ports import free_ports
from serving.triton import launcher
from serving.triton.assemble import assemble_backends
from serving.triton.environment import find_triton

ROOT = Path(__file__).resolve().parents[3]
LIMIT = 4 * 1024 * 1024

ECHO_CONFIG = """backend: "python"
max_batch_size: 8
input [{name: "image" data_type: TYPE_STRING dims: [1]}]
output [{name: "labels" data_type: TYPE_STRING dims: [-1]}]
instance_group [{count: 2 kind: KIND_CPU}]
version_policy {all {}}
"""
ECHO = """
import os, time
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.version = args["model_version"].encode()

    def answer(self, images):
        first = bytes(images.reshape(-1)[0])
        with open(__file__ + ".seen", "ab") as file:
            file.write(first + bytes([10]))
        if first == b"crash":
            os._exit(3)
        if first == b"crash" + self.version:
            os._exit(3)
        if first == b"raise" or first == b"raise" + self.version:
            raise ZeroDivisionError("secret of the house")
        if first == b"coded":
            return pb.InferenceResponse(error=pb.TritonError("IMAGE_TRUNCATED: it ends", pb.TritonError.INVALID_ARG))
        if first.startswith(b"hang" + self.version):
            time.sleep(15)
        if first.startswith(b"sleep"):
            time.sleep(float(first[5:]))
        if first.startswith(b"late"):  # lateVERSION:SECONDS:OF THE OTHERS, and what becomes of that version
            version, own, others, end = first[4:].split(b":")
            time.sleep(float(own if version == self.version else others))
            if version == self.version and end == b"raise":
                raise ZeroDivisionError("secret of the house")
        labels = [[self.version, str(len(image)).encode()] for image in images.reshape(-1)]
        return pb.InferenceResponse([pb.Tensor("labels", np.array(labels, dtype=object))])

    def execute(self, requests):
        return [self.answer(pb.get_input_tensor_by_name(request, "image").as_numpy()) for request in requests]
"""
DOUBLE_CONFIG = """backend: "python"
max_batch_size: 64
input [{name: "x" data_type: TYPE_FP32 dims: [16]}]
output [{name: "y" data_type: TYPE_FP32 dims: [16]}]
instance_group [{count: 1 kind: KIND_CPU}]
"""
DOUBLE = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("y", x * 2)]) for x in inputs]
"""
MODELS = {"echo": (ECHO_CONFIG, ECHO, (1, 2, 3)), "double": (DOUBLE_CONFIG, DOUBLE, (1,))}


def write_models(repository: Path) -> None:
    for name, (text, code, versions) in MODELS.items():
        for version in versions:
            folder = repository / name / str(version)
            folder.mkdir(parents=True)
            (folder / "model.py").write_text(code)
        (repository / name / "config.pbtxt").write_text(text)


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def answers(url: str, method: str = "GET", headers: dict[str, str] | None = None) -> bool:
    request = urllib.request.Request(url, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status == 200
    except OSError:
        return False


def rss_kib(pid: int) -> int:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Reply:
    """One HTTP answer: status 0 when the connection ended without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


@dataclass
class EdgeRig:
    """An Envoy in front of some engine, and how to talk to it."""

    folder: Path
    edge: EdgeConfig
    table: EdgeRoutes
    envoy: subprocess.Popen[bytes] | None = None

    def start_envoy(self) -> None:
        config.write(self.edge, self.table)
        argv, env = process.command(self.edge)
        with (self.folder / "envoy.out").open("ab") as log:
            self.envoy = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        wait(lambda: admin.ready(self.edge), 20, "envoy")

    def route(self, table: EdgeRoutes) -> None:
        if table.experiments:
            experiment_clusters.update(self.edge, table.experiments)
            assert experiment_clusters.wait_in_force(self.edge, table.experiments, 5)
        routes.update(self.edge, table)
        routes.wait_in_force(self.edge, table)

    def stop(self) -> None:
        if self.envoy:
            self.envoy.kill()
            self.envoy.wait()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        port: int | None = None,
    ) -> Reply:
        """One request with exactly these headers (Host, Connection and Content-Length are added)."""
        lines = [f"{method} {path} HTTP/1.1", "Host: edge", "Connection: close"]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""), port)

    def raw(self, data: bytes, port: int | None = None, timeout: float = 30.0) -> Reply:
        """Send bytes as they are, all before the first is read, then read one answer."""
        with socket.create_connection(("127.0.0.1", port or self.edge.http_port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(data)
            received = b""
            with suppress(ConnectionResetError):
                while not complete(received) and (part := connection.recv(65536)):
                    received += part
        return parse(received)


@dataclass
class Rig(EdgeRig):
    """Triton and Envoy."""

    triton_config: launcher.TritonConfig | None = None
    triton: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, folder: Path, limit: int = LIMIT) -> Rig:
        repository = folder / "repository"
        write_models(repository)
        installation = find_triton(ROOT / ".venv-triton")
        ports = free_ports("127.0.0.1", 6)
        triton = launcher.TritonConfig(
            triton=installation,
            repository=repository,
            backends=assemble_backends(installation, folder / "backends"),
            shm_prefix=f"slipway_edge_test_{os.getpid()}_{ports[0]}",
            http_port=ports[0],
            grpc_port=ports[1],
            metrics_port=ports[2],
        )
        edge = EdgeConfig(
            host="127.0.0.1",
            http_port=ports[3],
            grpc_port=ports[4],
            admin_port=ports[5],
            engine_http_port=ports[0],
            engine_grpc_port=ports[1],
            max_request_bytes=limit,
            log_dir=folder / "log",
            work_dir=folder / "work",
            headers_timeout=1.0,
            body_timeout=2.0,
            request_timeout=20.0,
        )
        return cls(folder, edge, EdgeRoutes(True, {"echo": 2, "double": 1}), triton_config=triton)

    def start_triton(self) -> None:
        argv, env = launcher.command(self.triton_config)
        with (self.folder / "triton.log").open("ab") as log:
            self.triton = subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True)
        base = f"http://127.0.0.1:{self.triton_config.http_port}/v2"
        wait(lambda: answers(f"{base}/health/live"), 20, "triton")
        for model in MODELS:
            assert self.repository_call(model, "load"), model

    def kill_triton(self) -> None:
        """SIGKILL for Triton and its model processes.

        A model process that was busy when Triton 2.51 died waits for ever, and holds the client connections that it
        inherited: their requests would neither fail nor finish.
        """
        if self.triton:
            with suppress(ProcessLookupError):
                os.killpg(self.triton.pid, signal.SIGKILL)
            self.triton.wait()
        for left in Path("/dev/shm").glob(f"{self.triton_config.shm_prefix}*"):
            left.unlink()

    def repository_call(self, model: str, action: str) -> bool:
        url = f"http://127.0.0.1:{self.triton_config.http_port}/v2/repository/models/{model}/{action}"
        return answers(url, "POST", {launcher.ADMIN_HEADER: self.triton_config.admin_key})

    def stop(self) -> None:
        super().stop()
        self.kill_triton()


def log(rig: EdgeRig, request_id: str) -> dict[str, object]:
    """The access log's line of one request."""
    found: list[dict[str, object]] = []

    def there() -> bool:
        # the last line may be half written
        lines = rig.edge.access_log_path.read_text().rpartition("\n")[0].splitlines()
        found[:] = [row for line in lines if (row := json.loads(line))["request_id"] == request_id]
        return bool(found)

    wait(there, 15, f"the access log's line of {request_id}")
    assert len(found) == 1
    return found[0]


def complete(data: bytes) -> bool:
    """Whether ``data`` holds one whole answer (the edge waits up to 1 s for the client to close first)."""
    while data.startswith(b"HTTP/1.1 100"):
        data = data.partition(b"\r\n\r\n")[2]
    head, end, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and (len(body) >= int(lengths[0]) if lengths else body.endswith(b"0\r\n\r\n"))


def parse(data: bytes) -> Reply:
    while data.startswith(b"HTTP/1.1 100"):
        data = data.partition(b"\r\n\r\n")[2]
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return Reply(0, {}, b"")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    if headers.get("transfer-encoding") == "chunked":
        body = dechunk(body)
    return Reply(int(lines[0].split()[1]), headers, body)


def dechunk(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        whole, body = whole + body[:count], body[count + 2 :]
        if not count:
            break
    return whole
