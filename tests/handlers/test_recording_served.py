"""The real Triton, without an edge: the header asks for notes over HTTP and gRPC, and only it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client

from handlers.recording.images import image_name
from serving.ports import free_ports
from serving.triton import launcher
from serving.triton.assemble import assemble_backends
from serving.triton.environment import find_triton
from slipway.repository import Repository
from tests.serving.dominant_colour import Recipe, photograph, publish
from tests.serving.edge.edge_rig import answers, wait

ROOT = Path(__file__).resolve().parents[2]
COFFEE, ROCKET = photograph("coffee.png"), photograph("rocket.jpg")


class Served:
    """One model on one instance; ``notes``: lines once there are that many."""

    process: subprocess.Popen[bytes] | None = None

    def __init__(self, folder: Path) -> None:
        self.folder, self.predictions = folder, folder / "predictions"
        publish(Repository(folder / "repository"), folder / "scratch", Recipe(instances=1))
        installation = find_triton(ROOT / ".venv-triton")
        ports = free_ports("127.0.0.1", 3)
        self.config = launcher.TritonConfig(
            triton=installation,
            repository=folder / "repository",
            backends=assemble_backends(installation, folder / "backends"),
            shm_prefix=f"slipway-test-{folder.name[-20:]}-",
            http_port=ports[0],
            grpc_port=ports[1],
            metrics_port=ports[2],
        )

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLIPWAY_PREDICTIONS", str(self.predictions))
            argv, environment = launcher.command(self.config)
        with (self.folder / "triton.out").open("wb") as log:
            self.process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)
        base = f"http://127.0.0.1:{self.config.http_port}/v2"
        wait(lambda: answers(f"{base}/health/live"), 60, "triton")
        key = {launcher.ADMIN_HEADER: self.config.admin_key}
        assert answers(f"{base}/repository/models/colour/load", "POST", key), (self.folder / "triton.out").read_text()

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for left in Path("/dev/shm").glob(f"{self.config.shm_prefix}*"):
            left.unlink(missing_ok=True)

    def notes(self, count: int) -> list[dict[str, Any]]:
        wait(lambda: len(self._lines()) >= count, 10, f"{count} notes")
        return [json.loads(line) for line in self._lines()]

    def _lines(self) -> list[str]:
        return [line for path in self.predictions.glob("*.jsonl") for line in path.read_text().splitlines()]

    def ask(self, client: Any, headers: dict[str, str], *images: bytes, **parameters: str) -> Any:
        tensor = client.InferInput("image", [len(images), 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image] for image in images], object))
        port = self.config.http_port if client is http_client else self.config.grpc_port
        with client.InferenceServerClient(f"127.0.0.1:{port}") as connection:
            named = {name.replace("_", "-"): value for name, value in parameters.items()}
            return connection.infer("colour", [tensor], headers=headers, parameters=named)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("recorded")
    found = Served(folder)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def test_both_transports_are_noted(served: Served) -> None:
    started = time.time()
    served.ask(http_client, {"x-request-id": "unasked"}, COFFEE)
    reply = served.ask(http_client, {"X-Request-Id": "by-http", "X-Slipway-Record": "image"}, COFFEE, b"junk", ROCKET)
    served.ask(grpc_client, {"x-request-id": "by-grpc", "x-slipway-record": "1"}, ROCKET)
    for client in (http_client, grpc_client):  # what an edge says that does not want a note
        told = {"x-request-id": "unasked", "x-slipway-record": "0"}
        for own in ({"x_slipway_record": "1"}, {"X_Slipway_Record": "1"}):
            served.ask(client, told, COFFEE, **own, X_Request_Id="a client's")
    served.ask(grpc_client, {"x-request-id": "last", "x-slipway-record": "1"}, ROCKET, X_Request_Id="a client's")
    notes = {(line["request_id"], line["index"]): line for line in served.notes(5)}
    assert notes.keys() == {("by-http", 0), ("by-http", 1), ("by-http", 2), ("by-grpc", 0), ("last", 0)}
    first = notes["by-http", 0]
    assert first["summary"]["label"] == reply.as_numpy("labels")[0, 0].decode()
    assert first["summary"]["score"] == pytest.approx(float(reply.as_numpy("scores")[0, 0]), abs=1e-5)
    assert (first["model"], first["version"], first["task"]) == ("colour", 1, "classification")
    assert started - 1 < first["time"] < time.time() + 1 and 0 < first["ms"] < 10_000
    assert notes["by-http", 1]["code"] == "IMAGE_FORMAT_UNSUPPORTED"
    assert notes["by-grpc", 0]["summary"] == notes["by-http", 2]["summary"]
    kept = {path.name for path in (served.predictions / "images").iterdir()}
    assert kept == {image_name("by-http", index) for index in range(3)}
