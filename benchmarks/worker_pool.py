"""Worker processes that wait between rounds without using the machine: one line in, one JSON line out."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import slipway
from slipway.errors import BenchmarkFailed

#: As the served model has it: one thread per instance, whatever the libraries would choose.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class WorkerPool:
    """A context manager: entering waits until every process has said that it is ready, leaving ends them.

    ``ready``: what each said first."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        """``commands``: one per process. Each process prints one JSON line when it is ready, and one for each line that
        it is sent."""
        self.ready: list[dict[str, Any]] = []
        self._workers = [_start(argv) for argv in commands]

    def __enter__(self) -> WorkerPool:
        """Raises BenchmarkFailed when a process does not start."""
        try:
            self.ready = [_read(worker) for worker in self._workers]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, line: str) -> list[dict[str, Any]]:
        """All processes at once, and what each answers. Raises BenchmarkFailed when one ends."""
        for worker in self._workers:
            _write(worker, f"{line}\n")
        return [_read(worker) for worker in self._workers]

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
