"""Processes that wait between turns without using the machine: each opens one format, as an instance that serves does.

torch has one number of threads per process and runtimes keep their own pools, so formats that share a process would
disturb each other. Several processes of one format together use several cores, as several instances do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import slipway
from export.speed.turns import Turn
from slipway.errors import BenchmarkFailed

#: The trained model's name among formats.
EAGER = "eager"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Plan:
    """What one process opens. ``pixels``: a .npy file, uint8[n, H, W, 3]. Of a format: ``path``, ``companions`` and
    ``details`` of its artefact. Of ``eager``: ``spec``, ``root`` and ``cache_dir``, where the trained model comes from.
    """

    format: str
    pixels: str
    threads: int = 1
    path: str = ""
    companions: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    root: str = ""
    cache_dir: str = ""

    @classmethod
    def read(cls, path: Path) -> Plan:
        """The plan that a :class:`Team` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Team:
    """``processes`` that do the same. A context manager: entering waits until all are ready, leaving ends them."""

    def __init__(self, plan: Plan, processes: int, work: Path) -> None:
        """``work``: a folder of its own, for the plan and what the processes say."""
        work.mkdir(parents=True)
        self._format, self._log = plan.format, work / "stderr.log"
        (work / "plan.json").write_text(json.dumps(asdict(plan)), encoding="utf-8")
        argv = [sys.executable, "-m", "export.speed.worker", str(work / "plan.json")]
        with self._log.open("w") as log:
            self._members = [_start(argv, plan.threads, log.fileno()) for _ in range(processes)]

    def __enter__(self) -> Team:
        try:
            for member in self._members:
                self._read(member)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def turn(self, batch: int, seconds: float) -> Turn:
        """All members at once: images and CPU time summed; seconds so that the throughput is the sum of theirs.

        Raises BenchmarkFailed when one has ended."""
        for member in self._members:
            self._write(member, f"{batch} {seconds}\n")
        turns = [Turn(**self._read(member)) for member in self._members]
        images = sum(turn.images for turn in turns)
        rate = sum(turn.images / turn.seconds for turn in turns)
        return Turn(images, images / rate, sum(turn.cpu_seconds for turn in turns))

    def end(self) -> None:
        """Ends the processes that were started here."""
        for member in self._members:
            member.kill()
            member.communicate()

    def _write(self, member: subprocess.Popen[str], line: str) -> None:
        assert member.stdin is not None  # noqa: S101 - for the type checker: _start opens it
        try:
            member.stdin.write(line)
            member.stdin.flush()
        except OSError as problem:
            raise self._ended(member) from problem

    def _read(self, member: subprocess.Popen[str]) -> dict[str, Any]:
        assert member.stdout is not None  # noqa: S101 - as above
        line = member.stdout.readline()
        if not line:
            raise self._ended(member)
        values: dict[str, Any] = json.loads(line)
        return values

    def _ended(self, member: subprocess.Popen[str]) -> BenchmarkFailed:
        member.communicate()
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return BenchmarkFailed(
            f"{self._format} does not run in a process of its own",
            observed=lines[-1][:500] if lines else f"its process ended with {member.returncode}",
        )


@dataclass(frozen=True)
class InTeam:
    """A contestant: a team at one batch size."""

    team: Team
    batch: int

    def turn(self, seconds: float) -> Turn:
        """As Team.turn."""
        return self.team.turn(self.batch, seconds)


def _start(argv: list[str], threads: int, log: int) -> subprocess.Popen[str]:
    packages = str(Path(slipway.__file__).resolve().parent.parent)
    rest = os.environ.get("PYTHONPATH")
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads))}
    environment["PYTHONPATH"] = f"{packages}{os.pathsep}{rest}" if rest else packages
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=environment, stdin=pipe, stdout=pipe, stderr=log, text=True)
