"""The ceiling: as many plain processes as cores, each running the served version's pipeline with no server around."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.wire import Expected, expected_from
from benchmarks.worker_pool import WorkerPool


@dataclass(frozen=True)
class RawResult:
    """One round of all processes: images per second (summed), CPU seconds, and milliseconds of each call."""

    images: int
    images_per_second: float
    cpu_seconds: float
    latencies: list[float]


class RawPool(WorkerPool):
    """Processes that wait between rounds without using the machine. A context manager: leaving ends them."""

    def __init__(self, python: Path, contract: Path, network: Path, images: Path, batch: int, processes: int) -> None:
        """``python``: an interpreter of the serving environment; ``images``: a folder of encoded images; ``batch``:
        images per call; ``processes``: usually one per core. Raises BenchmarkFailed when a process does not start."""
        step = max(1, len(list(images.iterdir())) // processes)
        argv = [str(python), "-m", "benchmarks.raw_worker", str(contract), str(network), str(images), str(batch)]
        super().__init__([[*argv, str(step * index)] for index in range(processes)])

    def __enter__(self) -> RawPool:
        super().__enter__()
        return self

    @property
    def expected(self) -> list[Expected]:
        """Of every image, in the order of file names."""
        return expected_from(self.ready[0]["expected"])

    def measure(self, seconds: float) -> RawResult:
        """All processes at once for ``seconds``. Raises BenchmarkFailed when one ends."""
        results = self.ask(str(seconds))
        return RawResult(
            images=sum(result["images"] for result in results),
            images_per_second=sum(result["images"] / result["seconds"] for result in results),
            cpu_seconds=sum(result["cpu_seconds"] for result in results),
            latencies=[value for result in results for value in result["latencies"]],
        )
