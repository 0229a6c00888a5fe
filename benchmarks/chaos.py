"""What clients see when servers die: an instance, the engine and Envoy by kill -9, a stop by SIGTERM, under load.

The last event stops the server for good.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from benchmarks.crowd import Crowd, Sent, Target
from benchmarks.processes import stubs
from benchmarks.subject import Subject, find_subject
from benchmarks.wire import Expected
from serving import control
from serving.golden import read_golden
from serving.torchserve.management import ManagementClient
from slipway.errors import BenchmarkFailed, ServerAlreadyRunning
from slipway.repository import Repository
from slipway.settings import Settings

Progress = Callable[[str], None]

COLUMNS = (
    "event",
    "requests",
    "in_flight",
    "failed_in_flight",
    "failed_later",
    "not_accepted",
    "seconds_to_first_good_answer",
    "seconds_to_all_good",
)
#: One JSON object per request that the edge accepted, with its x-request-id; complete once Envoy has ended in order.
ACCESS_LOG = "edge-access.jsonl"
_POLL = 0.05


@dataclass(frozen=True)
class ChaosOptions:
    """``clients``: closed-loop, half gRPC and half HTTP; ``calm``: seconds without a failure that count as well again;
    ``limit``: seconds that a recovery may take; ``out``: results folder."""

    model: str = "digits"
    clients: int = 8
    calm: float = 3.0
    limit: float = 60.0
    out: Path = Path("benchmarks/results")


@dataclass(frozen=True)
class Outcome:
    """One event. ``requests``: sent from ``calm`` seconds before it to the end of watching; ``in_flight``: sent before
    the killed processes were gone, and not yet answered at the event; ``failed_in_flight``: those of them that failed;
    ``failed_later``: sent after that, accepted by a server and failed; ``not_accepted``: no server ever had it. Seconds
    are from the event to the first good answer to a request sent after it, and to the end of the last request that
    failed (0 when none did; None for a stop and where nothing recovered)."""

    event: str
    requests: int
    in_flight: int
    failed_in_flight: int
    failed_later: int
    not_accepted: int
    seconds_to_first_good_answer: float | None
    seconds_to_all_good: float | None
    errors: dict[str, int] = field(default_factory=dict)

    def cells(self) -> list[Any]:
        """Values under COLUMNS."""
        values = [getattr(self, name) for name in COLUMNS]
        return ["" if value is None else f"{value:.2f}" if isinstance(value, float) else value for value in values]


@dataclass(frozen=True)
class ChaosReport:
    """The outcomes in order; ``path``: the JSON file."""

    model: str
    version: int
    engine: str
    outcomes: Sequence[Outcome]
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        events = [asdict(outcome) for outcome in self.outcomes]
        return {"model": self.model, "version": self.version, "engine": self.engine, "events": events}


def run(settings: Settings, options: ChaosOptions, progress: Progress = lambda text: None) -> ChaosReport:
    """Kills what serves, one after the other, and stops the server at the end.

    Raises ModelNotFound and ServerNotRunning as the serving benchmark does, ServerAlreadyRunning when another engine
    serves than the settings name, and BenchmarkFailed when requests fail before anything was killed, or a process to
    kill is not there.
    """
    subject = find_subject(settings, options.model)
    engine = str(control.status(settings).engine["name"])
    _refuse_another(settings, engine)
    outcomes: list[Outcome] = []
    with Crowd(_target(settings, subject, engine), options.clients) as crowd:
        for event, victims in _EVENTS[engine]:
            _wait_calm(crowd, options)
            progress(f"{event} ...")
            outcomes.append(_kill(event, victims(settings, options.model), crowd, options))
        _wait_calm(crowd, options)
        progress("SIGTERM to the supervisor ...")
        outcomes.append(_stop(settings, crowd, options))
    folder = settings.root / options.out
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"chaos-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{engine}-{options.model}.json"
    report = ChaosReport(subject.model, subject.version, engine, outcomes, path)
    path.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    return report


def judge(
    event: str, struck: float, since: float, requests: Sequence[Sent], stop: bool, ended: float | None = None
) -> Outcome:
    """Counts what an event at ``struck`` did to ``requests`` that were sent after ``since`` (monotonic seconds).

    ``ended``: when the killed processes were gone. A large process takes milliseconds to die of SIGKILL, and its
    sockets take requests until then: those were in flight too.
    """
    dead = struck if ended is None else ended
    seen = [item for item in requests if item.sent >= since]
    failed = [item for item in seen if not item.good and item.ended >= struck]
    later = [item for item in seen if item.sent >= dead]
    first = min((item.ended for item in later if item.good), default=None)
    last_failure = max((item.ended for item in failed), default=struck)
    recovered = not stop and any(item.good and item.sent >= last_failure for item in later)
    return Outcome(
        event=event,
        requests=len(seen),
        in_flight=sum(item.sent < dead and item.ended >= struck for item in seen),
        failed_in_flight=sum(item.sent < dead for item in failed),
        failed_later=sum(item.sent >= dead and item.accepted for item in failed),
        not_accepted=sum(item.sent >= dead and not item.accepted for item in failed),
        seconds_to_first_good_answer=None if stop or first is None else first - struck,
        seconds_to_all_good=last_failure - struck if recovered else None,
        errors=dict(Counter(item.error for item in failed).most_common(10)),
    )


def _refuse_another(settings: Settings, engine: str) -> None:
    if settings.engine_is_explicit and settings.engine != engine:
        raise ServerAlreadyRunning(
            "another engine serves than the one to be killed",
            observed=engine,
            expected=settings.engine,
            fix=f"`slipway down`, then `slipway serve --detach --engine {settings.engine}`",
        )


def _target(settings: Settings, subject: Subject, engine: str) -> Target:
    golden = read_golden(Repository(settings.repository), subject.model, subject.version)
    labels, scores = golden.record.get("labels"), golden.record.get("scores")
    if not labels or not scores or len(golden.record) > 2:
        raise BenchmarkFailed(f"{subject.model} is no classification, whose answers this benchmark knows")
    return Target(
        http=subject.edge_http,
        grpc=subject.edge_grpc,
        model=subject.model,
        version=subject.version,
        image=golden.image,
        expected=Expected(str(labels[0]), float(scores[0])),
        engine=engine,
    )


def _kill(event: str, pids: Sequence[int], crowd: Crowd, options: ChaosOptions) -> Outcome:
    struck, ended = strike(pids)
    while not _well_again(crowd, struck, options.calm) and time.monotonic() - struck < options.limit:
        time.sleep(_POLL)
    return judge(event, struck, struck - options.calm, crowd.requests(), stop=False, ended=ended)


def strike(pids: Sequence[int]) -> tuple[float, float]:
    """SIGKILL; (when, when all were gone), seconds of time.monotonic."""
    struck = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    while not all(gone(pid) for pid in pids):
        time.sleep(0.001)
    return struck, time.monotonic()


def _stop(settings: Settings, crowd: Crowd, options: ChaosOptions) -> Outcome:
    supervisor = control.status(settings).pid
    struck = time.monotonic()
    os.kill(supervisor, signal.SIGTERM)
    while not gone(supervisor) and time.monotonic() - struck < options.limit:
        time.sleep(_POLL)
    logged = settings.state_dir / "logs" / ACCESS_LOG
    requests = [_as_the_edge_saw(item, logged) for item in crowd.requests() if item.sent >= struck - options.calm]
    return judge("SIGTERM supervisor", struck, struck - options.calm, requests, stop=True)


def _as_the_edge_saw(item: Sent, access_log: Path) -> Sent:
    """A failed request that the edge's log does not have was never accepted: its connection was waiting in the kernel
    when the listener closed, which resets it. A client cannot tell that from an answer that was cut off."""
    if item.good or not item.accepted or item.id in access_log.read_text(encoding="utf-8", errors="replace"):
        return item
    return replace(item, accepted=False)


def _well_again(crowd: Crowd, struck: float, calm: float) -> bool:
    """Whether all requests sent before the event have ended, and all since the last failure were good, for ``calm``
    seconds from the first of those on."""
    if any(sent < struck for sent in crowd.waiting()):
        return False
    since = [item for item in crowd.requests() if item.ended >= struck]
    last_failure = max((item.ended for item in since if not item.good), default=struck)
    first_good = min((item.ended for item in since if item.good and item.sent >= last_failure), default=None)
    return first_good is not None and time.monotonic() - first_good >= calm


def _wait_calm(crowd: Crowd, options: ChaosOptions) -> None:
    """Until all answers of the last ``calm`` seconds were good."""
    begun = time.monotonic()
    while not _well_again(crowd, begun, options.calm):
        if time.monotonic() - begun > options.limit:
            failed = [item.error for item in crowd.requests() if item.error]
            raise BenchmarkFailed(
                "requests fail although nothing was killed just now",
                observed=failed[-1] if failed else "no answer at all",
                expected=f"{options.calm:g} s of good answers",
                fix="see `slipway status` and `slipway logs`",
            )
        time.sleep(_POLL)


def gone(pid: int) -> bool:
    """Whether a process has ended; its parent may not have noticed yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _instances(settings: Settings, model: str) -> list[int]:
    triton = int(control.status(settings).engine["pid"])
    found = [int(process.pid) for process in stubs(triton, model)]
    if not found:
        raise BenchmarkFailed(f"no process of an instance of {model} below Triton", observed=f"Triton is pid {triton}")
    return found


def _one_instance(settings: Settings, model: str) -> list[int]:
    return _instances(settings, model)[:1]


def _workers_by_version(settings: Settings, model: str) -> dict[int, list[int]]:
    """TorchServe's processes of the model; it names a dead one until the next has started (0.12)."""
    state = control.status(settings).engine
    hosts = [(host, int(port)) for host, port in (state[name].rsplit(":", 1) for name in ("management", "http"))]
    versions = ManagementClient(hosts[0], hosts[1]).describe(model)
    return {
        item.version: [worker.pid for worker in item.workers if worker.pid > 0 and not gone(worker.pid)]
        for item in versions
    }


def _workers(settings: Settings, model: str) -> list[int]:
    found = [pid for pids in _workers_by_version(settings, model).values() for pid in pids]
    if not found:
        raise BenchmarkFailed(f"TorchServe has no worker of {model}")
    return found


def _one_worker(settings: Settings, model: str) -> list[int]:
    """Of the version that answers."""
    return _workers_by_version(settings, model).get(find_subject(settings, model).version, [])[:1]


def _engine(settings: Settings, model: str) -> list[int]:
    return [int(control.status(settings).engine["pid"])]


def _envoy(settings: Settings, model: str) -> list[int]:
    return [int(control.status(settings).envoy["pid"])]


Victims = Callable[[Settings, str], list[int]]
_EVENTS: dict[str, tuple[tuple[str, Victims], ...]] = {
    "triton": (
        ("kill -9 one instance", _one_instance),
        ("kill -9 all instances", _instances),
        ("kill -9 Triton", _engine),
        ("kill -9 Envoy", _envoy),
    ),
    "torchserve": (
        ("kill -9 one worker", _one_worker),
        ("kill -9 all workers", _workers),
        ("kill -9 java", _engine),
        ("kill -9 Envoy", _envoy),
    ),
}
