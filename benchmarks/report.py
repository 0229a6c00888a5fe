"""The results of a serving benchmark: JSON, CSV, one HTML file that needs no other, and a table for people."""

from __future__ import annotations

import base64
import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import charts
from benchmarks.measures import Arm, Round, ratio
from benchmarks.options import Options
from benchmarks.subject import Subject

COLUMNS = ("arm", "images/s", "of raw", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "CPU ms/image", "client", "failed")
ROUND_COLUMNS = ("round", "arm", "requests", "failures", "images/s", "p50 ms", "p99 ms", "CPU ms/image")
_TEMPLATES = Path(__file__).parent
_SERVER = ("triton", "envoy")


@dataclass
class Report:
    """Everything that was measured. ``points``: (second, milliseconds) of good requests by served arm; ``machine``:
    label and value; ``folder``: where :meth:`write` put it."""

    subject: Subject
    options: Options
    rounds: Sequence[Round]
    points: Mapping[str, Sequence[tuple[float, float]]]
    machine: Mapping[str, str]
    when: datetime
    folder: Path = field(default_factory=Path)

    @property
    def arms(self) -> list[Arm]:
        """One per arm, in the order of the options."""
        return [Arm(name, [item for item in self.rounds if item.arm == name]) for name in self.options.arms]

    @property
    def raw(self) -> Arm:
        """The ceiling."""
        return next(arm for arm in self.arms if arm.name == "raw")

    def rows(self) -> list[tuple[str, ...]]:
        """Cells under COLUMNS: server CPU is Triton's and Envoy's (the process's own for raw), client is Locust's."""
        return [self._row(arm) for arm in self.arms]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; no paths of the machine."""
        subject = self.subject
        options = {name: value for name, value in asdict(self.options).items() if name != "out"}
        return {
            "model": {key: getattr(subject, key) for key in ("model", "version", "placement", "format")},
            "when": self.when.isoformat(timespec="seconds"),
            "options": options,
            "machine": dict(self.machine),
            "arms": {arm.name: self._arm(arm) for arm in self.arms},
        }

    def write(self, out: Path) -> Path:
        """Writes summary.json, rounds.csv, requests.csv and report.html into a new folder of ``out``; returns it."""
        self.folder = out / f"{self.when:%Y%m%dT%H%M%S}-{self.subject.model}-b{self.options.batch}"
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_finite(self.to_dict()), indent=2)
        (self.folder / "summary.json").write_text(text + "\n", encoding="utf-8")
        _write_csv(self.folder / "rounds.csv", _RoundRow.columns(), [_RoundRow.cells(item) for item in self.rounds])
        points = [(arm, *point) for arm, found in self.points.items() for point in found]
        _write_csv(self.folder / "requests.csv", ("arm", "second", "milliseconds"), points)
        (self.folder / "report.html").write_text(self.html(), encoding="utf-8")
        return self.folder

    def html(self) -> str:
        """The page, with its pictures inside."""
        from jinja2 import Environment, FileSystemLoader

        environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True)
        return environment.get_template("serving.html.j2").render(
            title=f"Serving {self.subject.model} version {self.subject.version}",
            when=f"{self.when:%Y-%m-%d %H:%M}",
            load=self._load_text(),
            verdict=self.verdict(),
            columns=COLUMNS,
            rows=self.rows(),
            explanation=_EXPLANATION,
            errors=[(arm.name, count, text) for arm in self.arms for text, count in arm.errors.items()],
            charts=self._charts(),
            round_columns=ROUND_COLUMNS,
            rounds=[_round_cells(item) for item in self.rounds],
            machine=self.machine,
        )

    def verdict(self) -> str:
        """The result in two sentences. The second does not depend on who else used the machine, nor on the client."""
        speed, cpu = [], []
        for arm in self.arms:
            if arm.name != "raw" and arm.images:
                found = ratio(arm, self.raw)
                speed.append(f"{arm.name} {found.total:.1%} ({found.lowest:.1%} to {found.highest:.1%} by round)")
                cpu.append(f"{arm.name} {_server_cpu(arm) / _server_cpu(self.raw):.2f} times")
        return (
            f"Throughput against the same pipeline in process on the same cores: {', '.join(speed) or 'no answer'}. "
            f"Server CPU per image against the pipeline's: {', '.join(cpu) or 'no answer'}."
        )

    def _load_text(self) -> str:
        options, subject = self.options, self.subject
        return (
            f"{subject.format} network, {subject.placement}; {options.images} JPEGs, {options.batch} per request, "
            f"{options.concurrency} closed-loop clients, {options.seconds:g} s per arm in {options.rounds} rounds"
        )

    def _row(self, arm: Arm) -> tuple[str, ...]:
        served = arm.name != "raw"
        share = f"{ratio(arm, self.raw).total:.1%}" if served else "100%"
        quantiles = [_number(value) for value in arm.percentiles().values()]
        client = _number(arm.cpu_ms_per_image("client")) if served else ""
        speed, cpu = _number(arm.images_per_second), _number(_server_cpu(arm))
        return (arm.name, speed, share, *quantiles, cpu, client, str(arm.failures))

    def _arm(self, arm: Arm) -> dict[str, Any]:
        components = sorted({name for item in arm.rounds for name in item.cpu_seconds})
        return {
            "requests": arm.requests,
            "failures": arm.failures,
            "errors": arm.errors,
            "images_per_second": arm.images_per_second,
            "of_raw": asdict(ratio(arm, self.raw)),
            "milliseconds": arm.percentiles(),
            "server_cpu_ms_per_image": _server_cpu(arm),
            "server_cpu_of_raw": _server_cpu(arm) / _server_cpu(self.raw),
            "cpu_ms_per_image": {name: arm.cpu_ms_per_image(name) for name in components},
            "rounds": [dict(zip(_RoundRow.columns(), _RoundRow.cells(item), strict=True)) for item in arm.rounds],
        }

    def _charts(self) -> list[dict[str, str]]:
        arms = [arm for arm in self.arms if arm.latencies]
        drawn = {
            "Throughput of each arm against the pipeline in process": charts.throughput(self.arms, self.raw),
            "Distribution of latency by arm": charts.latency_distribution(arms),
        }
        if any(self.points.values()):
            drawn["Latency of each request over time"] = charts.latency_over_time(self.points)
        return [{"alt": alt, "data": base64.b64encode(svg.encode()).decode()} for alt, svg in drawn.items()]


_EXPLANATION = (
    "raw: the version's own pipeline in plain processes, one per core, one thread each, without a server. grpc, http: "
    "through Envoy and Triton; every answer is compared with raw's. triton-grpc: without Envoy; envoy-grpc: through "
    "an Envoy that only passes requests on. CPU ms/image: Triton and Envoy together (raw: its processes); client: the "
    "load generator, which shares the machine and whose time is missing from the served figures."
)


class _RoundRow:
    """One line of rounds.csv."""

    @staticmethod
    def columns() -> tuple[str, ...]:
        quantiles = tuple(f"p{percent}_ms" for percent in (50, 90, 95, 99))
        cpu = (
            "server_cpu_ms_per_image",
            "triton_cpu_ms_per_image",
            "envoy_cpu_ms_per_image",
            "client_cpu_ms_per_image",
        )
        return ("arm", "round", "seconds", "requests", "failures", "images", "images_per_second", *quantiles, *cpu)

    @staticmethod
    def cells(item: Round) -> tuple[Any, ...]:
        arm = Arm(item.arm, [item])
        quantiles = [round(value, 3) for value in arm.percentiles().values()]
        cpu = [_server_cpu(arm), *(arm.cpu_ms_per_image(name) for name in ("triton", "envoy", "client"))]
        speed = round(item.images_per_second, 3)
        start = (
            item.arm,
            item.number,
            round(item.seconds, 3),
            item.requests,
            item.failures,
            round(item.images, 2),
            speed,
        )
        return (*start, *quantiles, *(round(value, 3) for value in cpu))


def _round_cells(item: Round) -> tuple[str, ...]:
    arm = Arm(item.arm, [item])
    quantiles = arm.percentiles()
    figures = (item.images_per_second, quantiles["p50"], quantiles["p99"], _server_cpu(arm))
    counts = (str(item.number), item.arm, str(item.requests), str(item.failures))
    return (*counts, *(_number(value) for value in figures))


def _server_cpu(arm: Arm) -> float:
    return arm.cpu_ms_per_image("raw") if arm.name == "raw" else arm.cpu_ms_per_image(*_SERVER)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _finite(value: Any) -> Any:
    """NaN is no JSON: null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
