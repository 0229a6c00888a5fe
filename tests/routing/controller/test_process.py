"""The controller as a real process over a real PostgreSQL: killed, restarted, stopped."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from routing.controller import companion, heartbeat, places
from routing.controller.database import take_feedback
from routing.controller.seen import read_seen
from routing.plan.model import RoutePlan
from routing.postgres import Postgres
from routing.rollout import control
from slipway import experiment as experiments
from slipway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
AUTO = RoutePlan.model_validate({"canary": 2, "steps": ["10%", "100%"], "bake": 3600, "auto": True})


def until(found: Callable[[], Any], seconds: float = 40.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[[], subprocess.Popen]]:
    processes: list[subprocess.Popen] = []

    def run() -> subprocess.Popen:
        companion.ensure_controller(settings)
        values = json.loads(places.companion(settings).read_text())
        process = subprocess.Popen(values["argv"], env={**os.environ, **values["env"]}, cwd=settings.state_dir)
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
    Postgres(settings.state_dir / "postgres").stop()


def beat(settings: Settings, pid: int) -> dict[str, Any] | None:
    try:
        values = json.loads(places.heartbeat(settings).read_text())
    except (OSError, ValueError):
        return None
    return values if values["pid"] == pid else None


def post(port: int, body: bytes) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/feedback", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as problem:
        return problem.code, json.loads(problem.read())


def access_line(number: int, state: Any, version: int, failed: bool) -> str:
    values = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + 3)),
        "request_id": f"request-{number}", "protocol": "HTTP/1.1", "model": "digits", "version": str(version),
        "status": 500 if failed else 200, "grpc_status": None, "code": "NETWORK_FAILED" if failed else None,
        "duration_ms": 5, "attempts": 1, "experiment": state.experiment, "assigned": str(version),
        "why": "arm" if version == 2 else "stable", "unit": f"{number:08x}", "answered": str(version), "failed": None,
    }  # fmt: skip
    return json.dumps(values) + "\n"


def test_from_traffic_over_kills_to_a_clean_stop(settings: Settings, start: Callable[[], subprocess.Popen]) -> None:
    state = control.start(settings, "digits", AUTO)
    before = experiments.read(settings.repository, "digits")
    first = start()
    values = until(lambda: beat(settings, first.pid))
    assert values["store"] == "answers"
    with (settings.state_dir / "logs/edge-access.jsonl").open("a") as log:
        log.writelines(access_line(number, state, 1 + number % 2, failed=number < 4) for number in range(40))

    def counted() -> Any:
        seen = read_seen(settings, "digits", state.experiment)
        return seen if seen and seen.arms and seen.arms[0]["requests"] == 20 else None

    seen = until(counted)
    assert [(arm["requests"], arm["errors"]) for arm in seen.arms] == [(20, 2), (20, 2)]
    status, answer = post(values["feedback_port"], b'{"request_id": "request-9", "label": "7"}')
    assert status == 202, answer
    status, answer = post(values["feedback_port"], b'{"label": "7"}')
    assert (status, answer["code"]) == (400, "FEEDBACK_INVALID")

    labels = settings.root / "labels.jsonl"
    labels.write_text('{"request_id": "request-9", "label": "8"}\n{"request_id": "request-8", "correct": true}\n')
    assert take_feedback(settings, labels) == 2
    assert until(lambda: (found := counted()) and found.arms[0]["labelled"]) == 1

    # a second one gives way; a killed one is followed by one that goes on, at the same port
    assert start().wait(timeout=20) != 0
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start()
    again = until(lambda: beat(settings, second.pid))
    assert again["feedback_port"] == values["feedback_port"]
    assert experiments.read(settings.repository, "digits") == before
    now = control.current(settings, "digits")
    assert (now.experiment, now.salt, now.step) == (state.experiment, state.salt, state.step)

    # a killed database holds nobody up: it is started again
    pid = until(lambda: Postgres(settings.state_dir / "postgres").pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: Postgres(settings.state_dir / "postgres").pid not in (None, pid))
    mark = time.time()
    until(lambda: (found := counted()) and found.time > mark and found.problem is None)

    # one that hangs holds up neither people nor the heartbeat
    leader = until(lambda: Postgres(settings.state_dir / "postgres").pid)
    hanging = [leader, *map(int, Path(f"/proc/{leader}/task/{leader}/children").read_text().split())]
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    try:
        hung = until(lambda: (found := beat(settings, second.pid)) and found["store"] != "answers" and found, 20)
        until(lambda: (found := beat(settings, second.pid)) and found["heartbeat"] > hung["heartbeat"], 20)
        assert "has not finished" in heartbeat.says(settings)
    finally:
        for pid in hanging:
            os.kill(pid, signal.SIGCONT)
    until(lambda: (found := beat(settings, second.pid)) and found["store"] == "answers", 20)

    second.terminate()
    # not 0, by which the supervisor would know that nothing needs one any more
    assert second.wait(timeout=30) == 128 + signal.SIGTERM
    assert "no controller runs" in heartbeat.says(settings)
    assert Postgres(settings.state_dir / "postgres").pid is None
