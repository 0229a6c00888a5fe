"""Runs Locust as its own process and reads what it recorded.

Its own process, because Locust patches the sockets and threads of the one that imports it: imported after an HTTP
library, it ends in a RecursionError inside ssl.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.wire import Expected
from handlers.fields import Field
from slipway.errors import BenchmarkFailed

_HERE = Path(__file__).parent
#: Protocol -> the Locust file and the user in it.
_USERS = {
    "http": (_HERE / "locustfiles" / "v2.py", "HttpV2User"),
    "grpc": (_HERE / "locustfiles" / "v2.py", "GrpcV2User"),
    "bytes": (_HERE / "peers" / "locustfile.py", "BytesUser"),
    **dict.fromkeys(("task-http", "torchserve-http"), (_HERE / "locustfiles" / "tasks.py", "TaskHttpUser")),
    **dict.fromkeys(("task-grpc", "torchserve-grpc"), (_HERE / "locustfiles" / "tasks.py", "TaskGrpcUser")),
}
#: What Locust may need besides warm-up and window: its imports, its users, their last requests.
_SPARE_SECONDS = 60.0


@dataclass(frozen=True)
class LoadPlan:
    """One run of Locust. ``address``: host:port; ``protocol``: ``http`` or ``grpc`` (KServe V2, a classification), or
    ``bytes`` (a peer's POST of an image), or one of benchmarks.task_wire (any task);
    ``asked_version``: sent with the requests, None to let the edge choose; ``versions``: one of them must answer;
    ``images``: a folder; ``expected``: of its files in the order of names; ``users``: closed-loop clients;
    ``pids``: whose CPU time is read; times in seconds. For any task, ``records`` are expected, of these ``fields``.
    """

    protocol: str
    address: str
    model: str
    asked_version: int | None
    versions: Sequence[int]
    images: Path
    expected: Sequence[Expected]
    batch: int
    users: int
    seconds: float
    pids: Mapping[str, int]
    warmup: float = 1.0
    timeout: float = 30.0
    records: Sequence[Mapping[str, Any]] = ()
    fields: Sequence[Field] = ()


@dataclass(frozen=True)
class LoadRecord:
    """``seconds``: length of the window; ``requests``: (its end in seconds since the window opened, milliseconds, error
    or "") of each, those that were in flight when the window closed among them; ``cpu_seconds``: in the window by
    component, ``client`` being Locust itself."""

    seconds: float
    cpu_seconds: Mapping[str, float]
    requests: list[tuple[float, float, str]]


def run_locust(plan: LoadPlan, work: Path) -> LoadRecord:
    """Runs a plan with its files in ``work``. Raises BenchmarkFailed when Locust fails or records nothing."""
    work.mkdir(parents=True, exist_ok=True)
    record = work / "record.json"
    record.unlink(missing_ok=True)
    values = {**asdict(plan), "images": str(plan.images), "record": str(record)}
    (work / "plan.json").write_text(json.dumps(values), encoding="utf-8")
    try:
        done = subprocess.run(
            _command(plan, work / "plan.json"),
            capture_output=True,
            text=True,
            timeout=plan.warmup + plan.seconds + plan.timeout + _SPARE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailed("Locust did not end", observed=f"still running after {error.timeout:.0f} s") from error
    if not record.is_file():
        raise BenchmarkFailed("Locust ended without a record", observed=_tail(done.stderr or done.stdout))
    return _read(record)


def _command(plan: LoadPlan, path: Path) -> list[str]:
    file, user = _USERS[plan.protocol]
    argv = [sys.executable, "-m", "locust", "-f", str(file), "--plan", str(path), "--headless", "--only-summary"]
    argv += ["--users", str(plan.users), "--spawn-rate", str(plan.users), "--stop-timeout", str(int(plan.timeout))]
    # failed requests are ours to judge; Locust's exit code is for its own failures
    return [*argv, "--exit-code-on-error", "0", "--loglevel", "WARNING", user]


def _read(path: Path) -> LoadRecord:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    requests = [(float(at), float(milliseconds), str(error)) for at, milliseconds, error in values["requests"]]
    return LoadRecord(float(values["seconds"]), values["cpu_seconds"], requests)


def _tail(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-5:])[:1000] or "no output"
