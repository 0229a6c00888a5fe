"""What a Locust process of ours knows and does besides its users: read the plan, open and close the measured window.

Imported by locustfiles only, after Locust has patched the standard library. The window opens when all users have
started and a warm-up is over. Load stays on after it closes until those in flight at that moment have ended, because
a request counts with the share of its time that lay in the window. The record holds the requests that ended since the
window opened, and the CPU seconds of client and server between its two ends.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import gevent
from locust import events

from benchmarks.processes import cpu_seconds
from benchmarks.rotation import groups
from benchmarks.wire import Expected, expected_from

Body = TypeVar("Body")
_POLL = 0.02


class Session:
    """One run. ``plan``: the JSON that benchmarks.load wrote; ``expected``: the right answers to each group of images;
    ``images``: the groups themselves."""

    def __init__(self, plan: dict[str, Any], environment: Any) -> None:
        encoded = [path.read_bytes() for path in sorted(Path(plan["images"]).iterdir())]
        self.plan = plan
        self.images: list[list[bytes]] = groups(encoded, plan["batch"])
        self.expected: list[list[Expected]] = groups(expected_from(plan["expected"]), plan["batch"])
        self._environment = environment
        self._users = itertools.count()
        self._bodies: list[Any] = []
        self._opened = 0.0
        self._requests: list[tuple[float, float, str]] | None = None

    def bodies(self, make: Callable[[list[bytes]], Body]) -> list[Body]:
        """The request of each group; made for the first user and shared by all."""
        if not self._bodies:
            self._bodies = [make(group) for group in self.images]
        return self._bodies

    def turns(self) -> Iterator[int]:
        """Indices of groups without end; each user that asks begins at another one."""
        count = len(self.images)
        start = next(self._users) * count // int(self.plan["users"])
        return ((start + step) % count for step in itertools.count())

    def record(self, milliseconds: float, error: str) -> None:
        """Keeps a request that ends after the window opened: [seconds since it opened, milliseconds, error or ""]."""
        if self._requests is not None:
            self._requests.append((round(time.perf_counter() - self._opened, 5), round(milliseconds, 3), error))

    def measure(self) -> None:
        """Warm-up, window, record, end of the run."""
        gevent.sleep(self.plan["warmup"])
        pids = {**self.plan["pids"], "client": os.getpid()}
        before, self._opened, self._requests = cpu_seconds(pids), time.perf_counter(), []
        gevent.sleep(self.plan["seconds"])
        seconds, after = time.perf_counter() - self._opened, cpu_seconds(pids)
        requests = self._finish()
        used = {name: after[name] - before[name] for name in pids}
        values = {"seconds": seconds, "cpu_seconds": used, "requests": requests}
        Path(self.plan["record"]).write_text(json.dumps(values), encoding="utf-8")
        self._environment.runner.quit()

    def _finish(self) -> list[tuple[float, float, str]]:
        """All requests, once about every user has ended the one that was in flight; waits no longer than a timeout."""
        requests, limit = self._requests or [], time.perf_counter() + self.plan["timeout"]
        wanted = len(requests) + self.plan["users"]
        while len(requests) < wanted and time.perf_counter() < limit:
            gevent.sleep(_POLL)
        self._requests = None
        return requests


_sessions: list[Session] = []


def session() -> Session:
    """The session of this process, from Locust's start on."""
    return _sessions[0]


def _add_arguments(parser: Any) -> None:
    parser.add_argument("--plan", required=True, help="JSON file that benchmarks.load wrote")


def _read_plan(environment: Any, **_: Any) -> None:
    plan = json.loads(Path(environment.parsed_options.plan).read_text(encoding="utf-8"))
    _sessions.append(Session(plan, environment))


def _begin(user_count: int, **_: Any) -> None:
    gevent.spawn(session().measure)


def _record(response_time: float, exception: BaseException | None, **_: Any) -> None:
    session().record(response_time, "" if exception is None else str(exception)[:300] or type(exception).__name__)


events.init_command_line_parser.add_listener(_add_arguments)
events.init.add_listener(_read_plan)
events.spawning_complete.add_listener(_begin)
events.request.add_listener(_record)
