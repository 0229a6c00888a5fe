"""`slipway bench rollouts`, which `make demo-ab` runs: a flawed version of digits is published, tried and aborted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rollouts.run import PLACE
from routing.postgres import Postgres
from serving.state import running_state
from tests.e2e.conftest import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_flawed_version_is_aborted_and_the_run_leaves_its_pages_and_no_process(slipway: Any, tmp_path: Path) -> None:
    out = os.path.relpath(tmp_path, ROOT)
    asked = ("bench", "rollouts", "--scenarios", "nan", "--rate", "80", "--out", out, "--json")
    run = slipway(*asked, env={"SLIPWAY_ROOT": str(ROOT)}, timeout=400)
    assert run.returncode == 0, run.stdout + run.stderr
    ending = json.loads(run.stdout)["scenarios"][0]
    assert (ending["status"], ending["failed"]) == ("aborted", 0), ending
    assert 0 < ending["failed_tries"] <= ending["canary"] < ending["requests"], ending
    assert "NaN" in " ".join(ending["reasons"]) or "failed" in " ".join(ending["reasons"])
    folder = next(tmp_path.iterdir())
    assert (
        "<svg" in (folder / "nan.html").read_text()
        and "slipway route digits --canary" in (folder / "transcript.txt").read_text()
    )
    state_dir = ROOT / PLACE / "run"
    assert running_state(state_dir) is None and not Postgres(state_dir / "postgres").alive()
