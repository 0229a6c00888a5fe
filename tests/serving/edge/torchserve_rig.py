"""A real TorchServe with a small model in three versions and a real Envoy in front, for the tests of the edge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.edge.process import EdgeConfig
from serving.edge.routes import EdgeRoutes
from serving.ports import free_ports
from serving.torchserve import launcher
from serving.torchserve.config import Ports, TorchServeConfig
from serving.torchserve.installation import find_torchserve
from serving.torchserve.management import ManagementClient
from serving.torchserve.server import temporary_folder
from tests.serving.edge.edge_rig import LIMIT, EdgeRig, wait

VERSIONS = (1, 2, 3)
ECHO = """
import json, os, time

class Echo:
    def initialize(self, context):
        self.version = context.manifest["model"]["modelVersion"]

    def handle(self, data, context):
        return [self.answer(row, context, index) for index, row in enumerate(data)]

    def answer(self, row, context, index):
        headers = context.get_all_request_header(index)
        name = next((name for name in ("body", "data", "image") if name in row), None)
        body = row.get(name, b"")
        body = body.encode() if isinstance(body, str) else body
        if isinstance(body, (bytes, bytearray)):
            body = bytes(body)
            if body == b"crash":
                os._exit(3)
            if body == b"raise":
                raise ZeroDivisionError("secret of the house")
            if body == b"coded":
                context.set_response_status(code=400, idx=index)
                context.set_response_header(index, "x-slipway-error", "IMAGE_TRUNCATED")
                return json.dumps({"error": 'IMAGE_TRUNCATED: it "ends"', "code": "IMAGE_TRUNCATED"}).encode()
            if body == b"fail" or body == b"fail" + self.version.encode():
                context.set_response_status(code=500, idx=index)
                context.set_response_header(index, "x-slipway-error", "NETWORK_FAILED")
                return json.dumps({"error": "NETWORK_FAILED: it answers NaN", "code": "NETWORK_FAILED"}).encode()
            if body.startswith(b"sleep"):
                time.sleep(float(body[5:]))
        told = {"version": self.version, "bytes": len(body), "kind": type(body).__name__, "field": name,
                "headers": {key.lower(): str(value) for key, value in headers.items()}}
        context.set_response_content_type(index, "application/json")
        return json.dumps(told).encode()
"""
MANIFEST = {"runtime": "python", "archiverVersion": "0.12.0"}
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\nresponseTimeout: 60\n"


def write_archives(store: Path) -> None:
    store.mkdir(parents=True, exist_ok=True)
    for version in VERSIONS:
        model = {"modelName": "echo", "modelVersion": str(version), "handler": "echo.py", "configFile": "config.yaml"}
        with zipfile.ZipFile(store / f"echo-{version}.mar", "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps({**MANIFEST, "model": model}))
            archive.writestr("config.yaml", CONFIG)
            archive.writestr("echo.py", ECHO)


@dataclass
class TorchServeRig(EdgeRig):
    """TorchServe and Envoy."""

    config: TorchServeConfig | None = None
    java: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, folder: Path, limit: int = LIMIT) -> TorchServeRig:
        ports = free_ports("127.0.0.1", 9)
        engine = TorchServeConfig(
            installation=find_torchserve(),
            folder=folder / "torchserve",
            temporary=temporary_folder(folder / "torchserve"),
            ports=Ports(*ports[:6]),
            max_request_bytes=limit,
            load_models=tuple(f"echo-{version}.mar" for version in VERSIONS),
            queue=20,
        )
        write_archives(engine.store)
        edge = EdgeConfig(
            host="127.0.0.1",
            http_port=ports[6],
            grpc_port=ports[7],
            admin_port=ports[8],
            engine_http_port=engine.ports.http,
            engine_grpc_port=engine.ports.grpc,
            max_request_bytes=limit,
            log_dir=folder / "log",
            work_dir=folder / "work",
            engine="torchserve",
            headers_timeout=1.0,
            body_timeout=2.0,
            request_timeout=60.0,
        )
        return cls(folder, edge, EdgeRoutes(True, {"echo": 2}), config=engine)

    @property
    def management(self) -> ManagementClient:
        assert self.config
        ports = self.config.ports
        return ManagementClient(("127.0.0.1", ports.management), ("127.0.0.1", ports.http))

    def start_engine(self) -> None:
        assert self.config
        launcher.prepare(self.config)
        argv, env = launcher.command(self.config)
        with (self.folder / "torchserve.log").open("ab") as log:
            self.java = subprocess.Popen(
                argv,
                env=env,
                cwd=launcher.working_directory(self.config),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait(lambda: self.management.live(), 60, "torchserve")
        wait(lambda: self.loaded() == set(VERSIONS), 120, "its models")

    def loaded(self) -> set[int]:
        return {found.version for found in self.management.describe("echo") if found.ready}

    def workers(self, version: int) -> list[int]:
        found = [item for item in self.management.describe("echo") if item.version == version]
        return [worker.pid for item in found for worker in item.workers if worker.pid > 0]

    def kill_engine(self) -> None:
        """SIGKILL for java and its workers, as the supervisor does."""
        if self.java:
            with suppress(ProcessLookupError):
                os.killpg(self.java.pid, signal.SIGKILL)
            self.java.wait()

    def stop(self) -> None:
        super().stop()
        self.kill_engine()

    def whole(self) -> bool:
        """Whether both processes live and every version answers."""
        alive = self.java is not None and self.java.poll() is None and self.envoy is not None
        return alive and self.envoy.poll() is None and self.loaded() == set(VERSIONS)
