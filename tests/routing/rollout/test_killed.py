"""A controller killed with SIGKILL before and after every change of a file: the next one goes on from there."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from routing.plan.model import RoutePlan
from routing.rollout import control, machine
from routing.rollout import state as states
from routing.rollout.state import RolloutState
from slipway import experiment as experiments
from slipway.repository import Repository
from slipway.settings import Settings

PLAN = RoutePlan.model_validate(
    {"canary": 2, "steps": ["10%", "100%"], "bake": 0, "auto": True, "shadow": {"version": 3}}
)


@dataclass(frozen=True)
class Said:
    decision: str
    reasons: tuple[str, ...] = ("because",)


def walk(settings: Settings, verdicts: tuple[str, ...]) -> None:
    """What command line and controller do, to the end; from wherever somebody before it got to."""
    if states.read(settings.repository, "digits") is None:
        control.start(settings, "digits", PLAN)
    last = verdicts[-1]
    for _ in range(20):
        state = control.current(settings, "digits")
        verdict = Said(verdicts[state.step] if state.step < len(verdicts) else last)

        def change(found: RolloutState | None, verdict: Said = verdict) -> RolloutState:
            assert found is not None
            return machine.advance(found, verdict, found.step_started + 1)

        after = control.transact(settings, "digits", change)
        if not after.active and experiments.read(settings.repository, "digits") is None:
            return


def patched(kill_at: int) -> Callable[[], int]:
    """Every rename and removal of a file counts twice, before and after; the process dies at ``kill_at``."""
    count = 0

    def point() -> None:
        nonlocal count
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def replaced(*arguments: Any, **values: Any) -> Any:
            point()
            result = original(*arguments, **values)
            point()
            return result

        return replaced

    Path.replace = around(Path.replace)  # type: ignore[method-assign]
    Path.unlink = around(Path.unlink)  # type: ignore[method-assign]
    return lambda: count


def in_child(settings: Settings, verdicts: tuple[str, ...], kill_at: int, count_to: Path | None = None) -> int:
    """The walk in a forked process; returns the signal that ended it, 0 for none."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            count = patched(kill_at)
            walk(settings, verdicts)
            if count_to is not None:
                count_to.write_text(str(count()))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the walk failed"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def default_versions(settings: Settings) -> set[int]:
    """Versions that a request without one can reach, as the data plane reads the disk."""
    found = experiments.read(settings.repository, "digits")
    if found is None:
        return {Repository(settings.repository).pointer("digits").stable}
    covered = sum(arm.width for arm in found.arms)
    return {arm.version for arm in found.arms} | ({found.stable} if covered < experiments.BUCKETS else set())


@pytest.mark.parametrize(
    ("verdicts", "status", "stable"),
    [(("promote", "promote"), "promoted", 2), (("promote", "abort"), "aborted", 1), (("abort",), "aborted", 1)],
    ids=["to promotion", "to abort", "to abort at once"],
)
def test_killed_at_every_write(
    settings: Settings, tmp_path: Path, verdicts: tuple[str, ...], status: str, stable: int
) -> None:
    def copy(name: str) -> Settings:
        shutil.copytree(settings.repository, tmp_path / name / "model_repository", symlinks=True)
        (tmp_path / name / "run").mkdir()
        return Settings(root=tmp_path / name, state_dir=Path("run"))

    assert in_child(copy("counted"), verdicts, -1, tmp_path / "count") == 0
    total = int((tmp_path / "count").read_text())
    assert total >= 10
    for kill_at in range(total):
        killed = copy(f"killed-{kill_at}")
        assert in_child(killed, verdicts, kill_at) == signal.SIGKILL
        before = states.read(killed.repository, "digits")
        allowed = {1, 2}
        assert default_versions(killed) <= allowed, kill_at
        if before is not None and before.status == "promoted":
            assert default_versions(killed) == {2}
        experiment = experiments.read(killed.repository, "digits")
        if experiment is not None:
            assert before is not None, "the state is written before what follows from it"
            assert (experiment.id, experiment.salt) == (before.experiment, before.salt)

        assert in_child(killed, verdicts, -1) == 0
        after = states.read(killed.repository, "digits")
        assert after is not None and after.status == status, kill_at
        if before is not None:
            assert (after.experiment, after.salt) == (before.experiment, before.salt)
            assert after.history[: len(before.history)] == before.history
        assert experiments.read(killed.repository, "digits") is None
        assert Repository(killed.repository).pointer("digits").stable == stable
        assert default_versions(killed) == {stable}
        # nothing is taken twice: each step is in the history once
        entered = [(item.status, item.step) for item in after.history]
        assert len(entered) == len(set(entered)), entered
