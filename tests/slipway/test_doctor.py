"""The doctor: what it says of a machine that lacks something, and that it runs before anything is installed."""

import ast
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slipway import doctor

ROOT = Path(__file__).resolve().parents[2]


def test_it_runs_with_a_bare_interpreter() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            "import sys; sys.path.insert(0, '.'); from slipway import doctor; doctor.main()",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "doctor:" in run.stderr


def test_an_old_python_can_parse_it() -> None:
    for name in ("doctor.py", "__init__.py"):
        ast.parse((ROOT / "slipway" / name).read_text(encoding="utf-8"), feature_version=(3, 7))


def test_an_unsupported_python_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    check = doctor.check_python()
    assert check.state == doctor.FAIL
    assert "PYTHON=" in check.fix


def test_a_missing_libpython_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "version_info", (3, 10, 99, "final", 0))
    check = doctor.check_libpython()
    if check.state == doctor.OK:
        pytest.skip("this machine has libpython3.10 in a system folder, so nothing is missing")
    assert check.state == doctor.FAIL
    assert "apt-get install libpython3.10" in check.fix


def test_a_taken_port_is_a_warning_only() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check = doctor.check_ports((port,))
    assert check.state == doctor.WARN
    assert str(port) in check.found
    assert doctor.check_ports((port,)).state == doctor.OK


def test_an_environment_with_numpy_2_is_refused_for_triton() -> None:
    environment = Path(sys.prefix)
    assert doctor.check_environment(environment, "tools", ("numpy", "torch"), "2").state == doctor.OK
    refused = doctor.check_environment(environment, "triton", ("numpy", "torch"), "1")
    assert refused.state == doctor.FAIL
    assert "numpy 1.x" in refused.fix
    assert "missing" in doctor.check_environment(environment, "triton", ("nvidia-pytriton", "numpy"), "1").found
    assert doctor.check_environment(environment / "none", "triton", ("numpy",), "1").state == doctor.WARN


@pytest.mark.parametrize(
    ("name", "state"), [("plain", "ok"), ("with space", "fail"), ("größe", "fail"), ("a:b", "fail"), ("it's", "fail")]
)
def test_paths_that_triton_cannot_take(name: str, state: str) -> None:
    assert doctor.check_paths((Path("/srv") / name,)).state == state


def test_json(slipway) -> None:
    run = slipway("doctor", "--json")
    names = {check["name"]: check for check in json.loads(run.stdout)["checks"]}
    assert {"python", "platform", "libpython", "c++ compiler", "ports", "tools environment"} <= set(names)
    assert run.returncode == (6 if any(check["state"] == "fail" for check in names.values()) else 0)
