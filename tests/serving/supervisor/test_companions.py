"""Companions are real processes: which ends of theirs ask for another start."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.json_log import open_log
from serving.supervisor.companions import Companions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "companions"
    made.mkdir()
    return made


@pytest.fixture
def companions(folder: Path, tmp_path: Path) -> Iterator[Companions]:
    made = Companions(folder, open_log("supervisor", tmp_path / "logs"))
    yield made
    made.stop()


def ask(folder: Path, program: str, seconds_ago: float = 0.0) -> Path:
    path = folder / "helper.json"
    path.write_text(json.dumps({"argv": [sys.executable, "-c", program]}))
    os.utime(path, (time.time() - seconds_ago,) * 2)
    return path


def tick_until(companions: Companions, found: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not found() and time.monotonic() < deadline:
        companions.tick()
        time.sleep(0.02)
    return found()


def counting(marks: Path, end: str) -> str:
    """A program that leaves a mark for each of its starts, then ends as ``end`` says."""
    return f"import os, signal, sys; open({str(marks)!r}, 'a').write('x'); {end}"


def starts(marks: Path) -> int:
    return len(marks.read_text()) if marks.exists() else 0


@pytest.mark.parametrize("end", ["sys.exit(143)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_was_ended_from_outside_is_started_again(companions, folder: Path, tmp_path: Path, end: str) -> None:
    ask(folder, counting(tmp_path / "marks", end))
    assert tick_until(companions, lambda: starts(tmp_path / "marks") >= 2)


def test_what_had_nothing_more_to_do_rests_until_it_is_asked_for_anew(companions, folder: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    ask(folder, counting(marks, "sys.exit(0)"), seconds_ago=60)
    assert tick_until(companions, lambda: starts(marks) == 1)
    assert not tick_until(companions, lambda: starts(marks) > 1, seconds=1.0)
    ask(folder, counting(marks, "sys.exit(0)"))
    assert tick_until(companions, lambda: starts(marks) == 2)


def test_what_was_asked_for_while_it_ended_well_is_started_again(companions, folder: Path, tmp_path: Path) -> None:
    marks, go = tmp_path / "marks", tmp_path / "go"
    wait = f"\nimport time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    ask(folder, counting(marks, "pass") + wait, seconds_ago=60)
    assert tick_until(companions, lambda: starts(marks) == 1)
    ask(folder, counting(marks, "sys.exit(0)"))
    go.touch()
    assert tick_until(companions, lambda: starts(marks) == 2)
