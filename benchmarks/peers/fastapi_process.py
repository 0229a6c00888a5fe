"""Runs the FastAPI peer as its own processes, from the same repository; ready when every worker has predicted."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import psutil

import slipway
from benchmarks.peers.fastapi_server import CONTRACT, NETWORK, PATH, WORKER
from benchmarks.processes import tree
from benchmarks.wire import Expected
from serving.ports import free_ports
from serving.supervisor.exec_child import mortal
from slipway.errors import BenchmarkFailed

HOST = "127.0.0.1"
#: Seconds: two interpreters import FastAPI and onnxruntime and open the network.
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_POLL = 0.05
_TOLERANCE = 1e-3
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class FastApiServer:
    """uvicorn with ``workers`` processes. A context manager: entering waits until it answers, leaving ends it."""

    def __init__(self, contract: Path, network: Path, workers: int, log: Path) -> None:
        """``contract`` and ``network``: files of the repository; ``log``: what the server says goes there."""
        self.workers = workers
        self._contract, self._network, self._log = contract, network, log
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        assert self._process is not None  # noqa: S101 - for the type checker: entered
        return self._process.pid

    def __enter__(self) -> FastApiServer:
        (port,) = free_ports(HOST, 1)
        self.address = f"{HOST}:{port}"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = self._start(port, log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        members = tree(self.pid)
        if members:
            members[0].terminate()
        _, alive = psutil.wait_procs(members, timeout=_STOP_SECONDS)
        for member in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        if self._process is not None:
            self._process.wait()

    def wait_ready(self, image: bytes, expected: Expected) -> None:
        """Until each worker has given the right answer to ``image``. Raises BenchmarkFailed when one never does."""
        deadline, seen, last = time.monotonic() + _START_SECONDS, set[str](), "no answer"
        while len(seen) < self.workers:
            if self._process is not None and self._process.poll() is not None:
                raise self._failed(f"it ended with {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"{len(seen)} of {self.workers} workers answered in time; {last}")
            try:
                worker, text = self._ask(image, expected)
            except OSError as problem:
                worker, text = None, str(problem)
            if worker is not None:
                seen.add(worker)
            else:
                last = text
                time.sleep(_POLL)

    def _ask(self, image: bytes, expected: Expected) -> tuple[str | None, str]:
        """The worker that answered rightly, or None and what came instead; on a new connection each time."""
        connection = http.client.HTTPConnection(self.address, timeout=_START_SECONDS)
        try:
            connection.request("POST", PATH, image, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            return None, f"{response.status} {content[:300]!r}"
        values = json.loads(content)
        good = values["labels"][0] == expected.label and abs(values["scores"][0] - expected.score) <= _TOLERANCE
        return (response.headers[WORKER], "") if good else (None, f"{values} instead of {expected}")

    def _start(self, port: int, log: BinaryIO) -> subprocess.Popen[bytes]:
        uvicorn = ["uvicorn", "--factory", "benchmarks.peers.fastapi_server:create_app", "--host", HOST]
        uvicorn += ["--port", str(port), "--workers", str(self.workers), "--no-access-log", "--log-level", "warning"]
        argv = mortal([sys.executable, "-m", *uvicorn])
        paths = {CONTRACT: str(self._contract), NETWORK: str(self._network)}
        packages = str(Path(slipway.__file__).resolve().parent.parent)
        environment = {**os.environ, **_ONE_THREAD, **paths, "PYTHONPATH": packages}
        return subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _failed(self, observed: str) -> BenchmarkFailed:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = f"; it says: {lines[-1][:300]}" if lines else ""
        return BenchmarkFailed("the FastAPI server does not answer", observed=observed + said, fix=f"see {self._log}")
