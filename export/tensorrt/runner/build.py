"""``python -m ...build job.json``: one build, in the process that may die of it; and the call that starts it.

The builder times thousands of kernels and has been seen to end its process (a failed assertion, SIGSEGV), so it never
runs in the process that exports. Progress comes on stdout, one JSON object a line; the log is stderr.
"""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import processes
from .errors import EXIT_FAILED, EXIT_USAGE, BuildFailed, RunnerError
from .job import PLAN_FOR_ALL, Job, plan_name

#: Called with the builder's phase and the fraction of it that is done (0 to 1).
Progress = Callable[[str, float], None]
RESULT = "plan.json"
LOG = "build.log"


def build_apart(job_file: Path, progress: Progress = lambda phase, done: None) -> dict[str, Any]:
    """Runs one job in a process of its own and returns what it wrote of its plan.

    Keys: ``plan`` (path relative to the job's folder), ``seconds``, ``bytes``, ``tensorrt``, ``compute_capability``,
    ``device``, ``driver``. Raises BuildFailed with the tail of the log, also when the process died of a signal.
    """
    job = Job.read(job_file)
    folder = job_file.parent
    log = folder / job.plan_dir / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    result = folder / job.plan_dir / RESULT
    result.unlink(missing_ok=True)
    command = processes.command(__name__, str(job_file.resolve()))
    environment = processes.environment(__name__, __file__)
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        for line in process.stdout or ():
            _tell(line, progress)
        code = process.wait()
    if code == 0 and result.is_file():
        values: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return values
    raise BuildFailed(f"{job.format}: the builder {_ending(code)}; its log is {log}", tail(log))


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log as one."""
    found = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " | ".join(line[:300] for line in found[-lines:])


def run_job(job_file: Path) -> None:
    """Builds in this process and writes plan and result; raises RunnerError."""
    from .cuda import Driver

    job, folder = Job.read(job_file), job_file.parent
    driver = Driver()  # before TensorRT is imported: without a driver it would end this process
    devices = driver.devices()
    if not devices:
        raise BuildFailed("the CUDA driver shows no GPU")
    trt: Any = importlib.import_module("tensorrt")

    from .builder import build_plan

    begin = time.perf_counter()
    plan = build_plan(trt, job, folder, _monitor(trt))
    seconds = time.perf_counter() - begin
    name = PLAN_FOR_ALL if job.hardware_compatible else plan_name(devices[0].compute_capability)
    target = folder / job.plan_dir / name
    target.write_bytes(plan)
    values = {
        "plan": f"{job.plan_dir}/{name}",
        "seconds": seconds,
        "bytes": len(plan),
        "tensorrt": str(trt.__version__),
        "compute_capability": devices[0].compute_capability,
        "device": devices[0].name,
        "driver": driver.version,
    }
    (folder / job.plan_dir / RESULT).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _monitor(trt: Any) -> Any:
    from .builder import branch

    base = branch(trt.__version__).progress_base(trt)
    return None if base is None else monitor_class(base)()


def monitor_class(base: type) -> type:
    """A progress monitor for these bindings: prints each step of the outermost phases as JSON."""

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """A phase begins; inner ones are too many to tell of."""
            if parent_phase is None:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            """A step is done; True goes on."""
            if phase_name in self._steps:
                _say(phase_name, (step + 1) / max(1, self._steps[phase_name]))
            return True

        def phase_finish(self, phase_name: str) -> None:
            """A phase is done."""
            if self._steps.pop(phase_name, None) is not None:
                _say(phase_name, 1.0)

    return Monitor


def _say(phase: str, done: float) -> None:
    sys.stdout.write(json.dumps({"phase": phase, "done": round(min(done, 1.0), 3)}) + "\n")
    sys.stdout.flush()


def _tell(line: str, progress: Progress) -> None:
    try:
        event = json.loads(line)
        progress(str(event["phase"]), float(event["done"]))
    except (ValueError, KeyError, TypeError):
        return  # something that TensorRT itself printed


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}" if code else "left no plan"


def main(arguments: list[str]) -> int:
    """Entry point of the process."""
    if len(arguments) != 1:
        sys.stderr.write("usage: build JOB.json\n")
        return EXIT_USAGE
    try:
        run_job(Path(arguments[0]))
    except RunnerError as problem:
        sys.stderr.write(f"{problem}\n")
        return problem.exit_code
    except ImportError as problem:
        sys.stderr.write(f"tensorrt cannot be imported: {problem}\n")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
