"""The ceiling: as many plain processes as cores, each running the served version's pipeline with no server around."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import slipway
from benchmarks.wire import Expected, expected_from
from slipway.errors import BenchmarkFailed

#: As the served model has it: one thread per instance, whatever the libraries would choose.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


@dataclass(frozen=True)
class RawResult:
    """One round of all processes: images per second (summed), CPU seconds, and milliseconds of each call."""

    images: int
    images_per_second: float
    cpu_seconds: float
    latencies: list[float]


class RawPool:
    """Processes that wait between rounds without using the machine. A context manager: leaving ends them."""

    def __init__(self, python: Path, contract: Path, network: Path, images: Path, batch: int, processes: int) -> None:
        """``python``: an interpreter of the serving environment; ``images``: a folder of encoded images; ``batch``:
        images per call; ``processes``: usually one per core. Raises BenchmarkFailed when a process does not start."""
        self.expected: list[Expected] = []
        step = max(1, len(list(images.iterdir())) // processes)
        argv = [str(python), "-m", "benchmarks.raw_worker", str(contract), str(network), str(images), str(batch)]
        self._workers = [_start([*argv, str(step * index)]) for index in range(processes)]

    def __enter__(self) -> RawPool:
        try:
            for worker in self._workers:
                self.expected = expected_from(_read(worker)["expected"])
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def measure(self, seconds: float) -> RawResult:
        """All processes at once for ``seconds``. Raises BenchmarkFailed when one ends."""
        for worker in self._workers:
            _write(worker, f"{seconds}\n")
        results = [_read(worker) for worker in self._workers]
        return RawResult(
            images=sum(result["images"] for result in results),
            images_per_second=sum(result["images"] / result["seconds"] for result in results),
            cpu_seconds=sum(result["cpu_seconds"] for result in results),
            latencies=[value for result in results for value in result["latencies"]],
        )

    def _end(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.communicate()


def _start(argv: Sequence[str]) -> subprocess.Popen[str]:
    packages = Path(slipway.__file__).resolve().parent.parent
    environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _write(worker: subprocess.Popen[str], line: str) -> None:
    assert worker.stdin is not None  # noqa: S101 - for the type checker: _start opens it
    try:
        worker.stdin.write(line)
        worker.stdin.flush()
    except OSError as error:
        raise _ended(worker) from error


def _read(worker: subprocess.Popen[str]) -> dict[str, Any]:
    assert worker.stdout is not None  # noqa: S101 - as above
    line = worker.stdout.readline()
    if not line:
        raise _ended(worker)
    values: dict[str, Any] = json.loads(line)
    return values


def _ended(worker: subprocess.Popen[str]) -> BenchmarkFailed:
    lines = worker.communicate()[1].strip().splitlines()
    return BenchmarkFailed(
        "the pipeline cannot run outside the server",
        observed=lines[-1][:500] if lines else f"its process ended with {worker.returncode}",
        expected="the answers that the served version gives",
        fix="verify the version (`slipway lint`) and the serving environment (`slipway doctor`)",
    )
