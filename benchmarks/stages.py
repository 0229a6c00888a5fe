"""What serving costs a task: served throughput against the same pipeline in process, and where its time goes.

The server, started for this behind its own supervisor, and as many plain processes as cores take turns on the same
machine; the load is closed-loop.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.engines import EngineName, serving, settings_for
from benchmarks.load import LoadPlan, run_locust
from benchmarks.measures import Arm, Ratio, Round, ratio
from benchmarks.serving import served_round
from benchmarks.task_wire import PROTOCOLS
from benchmarks.voices import Published, sample_images
from benchmarks.worker_pool import WorkerPool
from handlers.fields import Field
from serving.state import State
from serving.triton.model_config import usable_cores
from slipway.errors import BenchmarkFailed
from slipway.repository import Repository
from slipway.settings import Settings

Progress = Callable[[str], None]
COLUMNS = ("arm", "images/s", "of in process", "by round", "p50 ms", "p95 ms", "CPU-ms/image", "server", "client")
RAW = "in process"


@dataclass(frozen=True)
class StagesOptions:
    """``seconds``: measured time of each arm over all its ``rounds``; ``concurrency``: closed-loop clients;
    ``images``: sample images of the model that take turns."""

    model: str
    engine: EngineName = "triton"
    seconds: float = 20.0
    concurrency: int = 8
    rounds: int = 3
    transports: tuple[str, ...] = ("grpc", "http")
    images: int = 32

    def __post_init__(self) -> None:
        if not set(self.transports) <= {"grpc", "http"}:
            raise BenchmarkFailed("transports cannot be measured", observed=self.transports, expected="grpc, http")

    @property
    def round_seconds(self) -> float:
        """Measured seconds of one round of one arm."""
        return self.seconds / self.rounds


@dataclass
class StagesReport:
    """``arms``: in process first; ``stages``: CPU seconds by stage of all its images."""

    options: StagesOptions
    version: int
    task: str
    machine: Mapping[str, str]
    rounds: list[Round] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def arms(self) -> list[Arm]:
        """All rounds of each way, summed."""
        names = dict.fromkeys(item.arm for item in self.rounds)
        return [Arm(name, [item for item in self.rounds if item.arm == name]) for name in names]

    def stage_milliseconds(self) -> dict[str, float]:
        """CPU milliseconds per image by stage, most first, and what no stage has counted."""
        raw = self.arms[0]
        each = {name: 1000 * value / raw.images for name, value in self.stages.items()}
        return {
            **dict(sorted(each.items(), key=lambda item: -item[1])),
            "other": raw.cpu_ms_per_image() - sum(each.values()),
        }

    def ratio(self, arm: Arm) -> Ratio:
        """Against in process."""
        return ratio(arm, self.arms[0])

    def rows(self) -> list[list[str]]:
        """Values under COLUMNS."""
        return [self._row(arm) for arm in self.arms]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": self.options.model,
            "version": self.version,
            "task": self.task,
            "engine": self.options.engine,
            "concurrency": self.options.concurrency,
            "machine": dict(self.machine),
            "arms": [self._values(arm) for arm in self.arms],
            "stages_cpu_ms_per_image": self.stage_milliseconds(),
        }

    def _values(self, arm: Arm) -> dict[str, Any]:
        found = self.ratio(arm)
        components = sorted({name for item in arm.rounds for name in item.cpu_seconds})
        return {
            "arm": arm.name,
            "images": arm.images,
            "images_per_second": arm.images_per_second,
            "ratio": {"total": found.total, "lowest": found.lowest, "highest": found.highest},
            "milliseconds": arm.percentiles(),
            "cpu_ms_per_image": {name: arm.cpu_ms_per_image(name) for name in components},
            "failures": arm.failures,
            "errors": arm.errors,
        }

    def _row(self, arm: Arm) -> list[str]:
        found, latencies = self.ratio(arm), arm.percentiles()
        server = [name for name in {name for item in arm.rounds for name in item.cpu_seconds} if name != "client"]
        raw = arm.name == RAW
        return [
            arm.name,
            f"{arm.images_per_second:.1f}",
            "" if raw else f"{found.total:.0%}",
            "" if raw else f"{found.lowest:.0%}..{found.highest:.0%}",
            f"{latencies['p50']:.1f}",
            f"{latencies['p95']:.1f}",
            f"{arm.cpu_ms_per_image():.2f}",
            "" if raw else f"{arm.cpu_ms_per_image(*server):.2f}",
            "" if raw else f"{arm.cpu_ms_per_image('client'):.2f}",
        ]


def run(settings: Settings, options: StagesOptions, progress: Progress = lambda text: None) -> StagesReport:
    """Starts the engine with this model alone and measures. Raises ModelNotFound, what a server's start raises, and
    BenchmarkFailed when requests failed or were answered otherwise than in process."""
    published = Published.of(Repository(settings.repository), options.model)
    python = _python(settings, options.engine)
    with tempfile.TemporaryDirectory(prefix="slipway-stages-") as name:
        work = Path(name)
        images = work / "images"
        images.mkdir()
        for index, path in enumerate(sample_images(settings, published, options.images)):
            shutil.copyfile(path, images / f"{index:04d}{path.suffix}")
        own = settings_for(settings, options.engine, work, [options.model])
        report = StagesReport(options, published.version, published.task, machine.describe(python))
        with serving(own, progress) as state, _pool(python, published.folder, images) as pool:
            measure = _Measured(options, state, images, pool.ready[0]["expected"], published.fields, work)
            for number in range(1, options.rounds + 1):
                _turns(report, pool, measure, number, progress)
    _refuse_failures(report)
    return report


def _python(settings: Settings, engine: EngineName) -> Path:
    import sys

    return settings.triton_env / "bin" / "python" if engine == "triton" else Path(sys.executable)


def _pool(python: Path, folder: Path, images: Path) -> WorkerPool:
    processes, count = usable_cores(), len(list(images.iterdir()))
    argv = [str(python), "-m", "benchmarks.stage_worker", str(folder), str(images)]
    return WorkerPool([[*argv, str(index * count // processes)] for index in range(processes)])


@dataclass(frozen=True)
class _Measured:
    """What the rounds of a server share. ``records``: expected, in the order of the images' names."""

    options: StagesOptions
    state: State
    images: Path
    records: Sequence[Mapping[str, Any]]
    fields: Sequence[Field]
    work: Path

    def round(self, transport: str, number: int) -> Round:
        engine = self.state.engine
        protocol = f"{'task' if engine['name'] == 'triton' else engine['name']}-{transport}"
        assert protocol in PROTOCOLS, protocol  # noqa: S101 - an engine that this file does not know
        plan = LoadPlan(
            protocol=protocol,
            address=self.state.edge[transport],
            model=self.options.model,
            asked_version=None,
            versions=(),
            images=self.images,
            expected=(),
            batch=1,
            users=self.options.concurrency,
            seconds=self.options.round_seconds,
            pids={engine["name"]: int(engine["pid"]), "envoy": int(self.state.envoy["pid"])},
            records=self.records,
            fields=self.fields,
        )
        return served_round(run_locust(plan, self.work / "locust"), 1, transport, number)


def _turns(report: StagesReport, pool: WorkerPool, measured: _Measured, number: int, progress: Progress) -> None:
    report.rounds.append(_raw_round(pool, report, number))
    progress(f"round {number} {RAW}: {report.rounds[-1].images_per_second:.1f} images/s")
    for transport in report.options.transports:
        done = measured.round(transport, number)
        report.rounds.append(done)
        progress(f"round {number} {transport}: {done.images_per_second:.1f} images/s, {done.failures} failed")


def _raw_round(pool: WorkerPool, report: StagesReport, number: int) -> Round:
    seconds = report.options.round_seconds
    results = pool.ask(str(seconds))
    for result in results:
        for name, used in result["stages"].items():
            report.stages[name] = report.stages.get(name, 0.0) + used
    latencies = [value for result in results for value in result["latencies"]]
    return Round(
        arm=RAW,
        number=number,
        seconds=seconds,
        requests=len(latencies),
        images=sum(result["images"] for result in results),
        images_per_second=sum(result["images"] / result["seconds"] for result in results),
        latencies=latencies,
        cpu_seconds={RAW: sum(result["cpu_seconds"] for result in results)},
    )


def _refuse_failures(report: StagesReport) -> None:
    for arm in report.arms:
        if arm.failures or not arm.images:
            text = max(arm.errors, key=lambda error: arm.errors[error]) if arm.errors else "no request ended"
            raise BenchmarkFailed(
                f"{arm.failures} of {arm.requests} requests over {arm.name} failed",
                observed=text,
                expected=f"the answers of {report.options.model} version {report.version} in process",
                fix="`slipway bench parity` says what differs",
            )
