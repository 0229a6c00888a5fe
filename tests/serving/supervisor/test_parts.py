"""Fingerprint, back-off, processes: the small parts of the supervisor."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving.supervisor.backoff import Backoff
from serving.supervisor.fingerprint import fingerprint
from serving.supervisor.lock import locked
from serving.supervisor.process import ManagedProcess
from serving.supervisor.stubs import list_stubs
from slipway.errors import ServerAlreadyRunning

ROOT = Path(__file__).resolve().parents[3]


def test_fingerprint_sees_versions_pointers_and_configs_and_nothing_else(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nothing") == ()
    for name in ("digits/1", "digits/.staging-x", "digits.onnx/1"):
        (tmp_path / name).mkdir(parents=True)
    seen = [fingerprint(tmp_path)]

    def changed() -> bool:
        seen.append(fingerprint(tmp_path))
        return seen[-1] != seen[-2]

    (tmp_path / "digits" / "1" / "model.py").write_text("")
    (tmp_path / "digits" / ".staging-x" / "manifest.json").write_text("{}")
    assert not changed()
    for name in ("digits/1/manifest.json", "digits/pointer.json", "digits/config.pbtxt", "digits.onnx/config.pbtxt"):
        (tmp_path / name).write_text("1")
        assert changed(), name
    (tmp_path / "new").write_text("2")
    (tmp_path / "new").replace(tmp_path / "digits" / "pointer.json")
    assert changed() and not changed()


def test_backoff_is_patient_with_the_first_and_not_with_the_tenth() -> None:
    now = [0.0]
    backoff = Backoff(budget=3, window=100, longest=10, clock=lambda: now[0])
    delays = []
    for _ in range(8):
        waited = 0.0
        while not backoff.may_start():
            now[0] += 0.25
            waited += 0.25
        delays.append(waited)
        backoff.record()
    assert delays == [0, 0, 0.5, 1, 2, 4, 8, 10]
    assert backoff.exhausted and backoff.total == 8
    now[0] += 101
    assert not backoff.exhausted and backoff.may_start()


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed with SIGKILL can clean nothing up; the kernel does."""
    script = (
        "import sys, time; from pathlib import Path; from serving.supervisor.process import ManagedProcess\n"
        "child = ManagedProcess('sleep', ['/bin/sleep', '60'], {}, print, Path('/'))\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    # the helper in between asks for the signal before it becomes the command
    _until(lambda: b"sleep" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0])
    parent.kill()
    parent.wait()
    _until(lambda: not Path(f"/proc/{child}").exists() or _state(child) == "Z")


def test_a_childs_output_is_kept_and_its_end_bounded(tmp_path: Path) -> None:
    lines: list[str] = []
    stubborn = "trap '' TERM; echo first; echo second; while :; do sleep 0.05; done"
    child = ManagedProcess("sh", ["/bin/sh", "-c", stubborn], {"PATH": os.environ["PATH"]}, lines.append, tmp_path)
    _until(lambda: lines == ["first", "second"])
    assert child.returncode is None and child.state.alive
    started = time.monotonic()
    assert child.stop(grace=0.2) == -9
    assert time.monotonic() - started < 3
    assert child.tail() == "first | second" and not child.state.alive


def test_one_supervisor_per_state_directory(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ServerAlreadyRunning), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_only_stubs_are_listed() -> None:
    child = subprocess.Popen(["/bin/sleep", "5"])
    assert list_stubs(os.getpid(), Path("/")) == []
    child.kill()
    child.wait()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def _until(condition, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
