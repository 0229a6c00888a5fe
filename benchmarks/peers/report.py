"""The results of the comparison with peers: images per second and CPU time, against raw and against FastAPI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measures import Arm, Round, ratio
from benchmarks.subject import Subject

if TYPE_CHECKING:
    from benchmarks.peers.run import PeersOptions

#: The pipeline in plain processes with the served network; Slipway over gRPC and HTTP; FastAPI; its network in plain
#: processes, which shows what FastAPI itself costs.
ARMS = ("raw", "slipway-grpc", "slipway-http", "fastapi", "raw-onnx")
COLUMNS = (
    "arm",
    "images/s",
    "of raw",
    "x FastAPI",
    "CPU ms/image",
    "raw CPU / own",
    "FastAPI CPU / own",
    "p50 ms",
    "p99 ms",
)
#: What Slipway is to reach with its best format: throughput of raw processes with the same network, and of FastAPI.
TARGET_OF_RAW, TARGET_TIMES_FASTAPI = 0.85, 2.5


@dataclass(frozen=True)
class PeersReport:
    """Everything that was measured. Ratios of CPU time say how many times the images a core would answer: unlike those
    of throughput they do not depend on who else used the machine, nor on the load generator."""

    subject: Subject
    options: PeersOptions
    rounds: Sequence[Round]
    machine: Mapping[str, str]
    when: datetime

    @property
    def arms(self) -> dict[str, Arm]:
        """By name; the rounds of each in order."""
        names = dict.fromkeys(item.arm for item in sorted(self.rounds, key=lambda item: ARMS.index(item.arm)))
        by_number = sorted(self.rounds, key=lambda item: item.number)
        return {name: Arm(name, [item for item in by_number if item.arm == name]) for name in names}

    def rows(self) -> list[tuple[str, ...]]:
        """Cells under COLUMNS. CPU is the server's process tree, without the load generator."""
        return [self._row(arm) for arm in self.arms.values()]

    def verdict(self) -> str:
        """Slipway's better protocol against the targets, in one sentence."""
        arms = self.arms
        best = max((arms["slipway-grpc"], arms["slipway-http"]), key=lambda arm: arm.images_per_second)
        of_raw, times = ratio(best, arms["raw"]), ratio(best, arms["fastapi"])
        return (
            f"{best.name} with {self.subject.format}: {of_raw.total:.3f} of raw "
            f"({of_raw.lowest:.3f} to {of_raw.highest:.3f} by round; target {TARGET_OF_RAW}: "
            f"{_met(of_raw.total >= TARGET_OF_RAW)}), {times.total:.2f} times FastAPI "
            f"({times.lowest:.2f} to {times.highest:.2f}; target {TARGET_TIMES_FASTAPI}: "
            f"{_met(times.total >= TARGET_TIMES_FASTAPI)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; no paths of the machine."""
        return {
            "model": {key: getattr(self.subject, key) for key in ("model", "version", "placement", "format")},
            "when": self.when.isoformat(timespec="seconds"),
            "options": asdict(self.options),
            "machine": dict(self.machine),
            "targets": {"of_raw": TARGET_OF_RAW, "times_fastapi": TARGET_TIMES_FASTAPI},
            "verdict": self.verdict(),
            "arms": {name: self._arm(arm) for name, arm in self.arms.items()},
        }

    def markdown(self) -> str:
        """The table, what it is of, and the machine."""
        lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
        lines += [f"| {' | '.join(row)} |" for row in self.rows()]
        lines += ["", f"{self.title}. {self.verdict()}."]
        lines += [f"{name}: {value}." for name, value in self.machine.items()]
        return "\n".join(lines) + "\n"

    @property
    def title(self) -> str:
        """What the figures are of."""
        subject, options = self.subject, self.options
        return (
            f"{subject.model} version {subject.version}, {subject.format} {subject.placement}: one 100 kB JPEG per "
            f"request, {options.concurrency} clients, {options.seconds:g} s per arm in {options.rounds} rounds"
        )

    def write(self, out: Path) -> Path:
        """Writes summary.json and table.md into a new folder of ``out``, and returns it."""
        folder = out / f"{self.when:%Y%m%dT%H%M%S}-peers-{self.subject.model}"
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
        (folder / "table.md").write_text(self.markdown(), encoding="utf-8")
        return folder

    def _row(self, arm: Arm) -> tuple[str, ...]:
        arms, quantiles = self.arms, arm.percentiles()
        return (
            arm.name,
            f"{arm.images_per_second:.1f}",
            f"{ratio(arm, arms['raw']).total:.3f}",
            f"{ratio(arm, arms['fastapi']).total:.2f}",
            f"{_server_cpu(arm):.2f}",
            f"{_server_cpu(arms['raw']) / _server_cpu(arm):.3f}",
            f"{_server_cpu(arms['fastapi']) / _server_cpu(arm):.2f}",
            f"{quantiles['p50']:.1f}",
            f"{quantiles['p99']:.1f}",
        )

    def _arm(self, arm: Arm) -> dict[str, Any]:
        arms = self.arms
        return {
            "images_per_second": arm.images_per_second,
            "rounds": [item.images_per_second for item in arm.rounds],
            "of_raw": asdict(ratio(arm, arms["raw"])),
            "times_fastapi": asdict(ratio(arm, arms["fastapi"])),
            "server_cpu_ms_per_image": _server_cpu(arm),
            "cpu_of_raw": _server_cpu(arms["raw"]) / _server_cpu(arm),
            "cpu_times_fastapi": _server_cpu(arms["fastapi"]) / _server_cpu(arm),
            "client_cpu_ms_per_image": None if arm.name.startswith("raw") else arm.cpu_ms_per_image("client"),
            "milliseconds": arm.percentiles(),
            "requests": arm.requests,
            "failures": arm.failures,
        }


def _server_cpu(arm: Arm) -> float:
    components = {name for item in arm.rounds for name in item.cpu_seconds} - {"client"}
    return arm.cpu_ms_per_image(*components)


def _met(good: bool) -> str:
    return "met" if good else "missed"
