"""An environment that would serve wrong answers, or none, is refused before anything starts."""

import sys
from pathlib import Path

import pytest

from serving.triton import environment
from slipway.errors import EnvironmentUnfit

ROOT = Path(__file__).resolve().parents[3]
GOOD = {
    "package": "/somewhere/pytriton",
    "numpy": "1.26.4",
    "libpython": "libpython3.11.so.1.0",
    "libpython_folder": "",
    "python": "3.11",
    "system": "Linux",
    "machine": "x86_64",
}


def test_the_projects_own_environment_is_fit() -> None:
    found = environment.find_triton(ROOT / ".venv-triton")
    assert found.server.is_file() and found.stub.is_file()
    assert str(found.versions["numpy"]).startswith("1.26")


def test_an_environment_without_triton_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit, match="nvidia-pytriton"):
        environment.find_triton(Path(sys.prefix))
    with pytest.raises(EnvironmentUnfit, match="does not exist"):
        environment.find_triton(tmp_path / "nothing")


def test_a_python_that_does_not_run_is_named(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(EnvironmentUnfit, match="broken"):
        environment.find_triton(tmp_path)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"numpy": "2.4.6"}, "numpy 2.4.6"),
        ({"numpy": None}, "numpy 1"),
        ({"libpython_folder": None}, "libpython3.11"),
        ({"package": None}, "nvidia-pytriton"),
    ],
)
def test_what_is_unfit_is_said(changed: dict, text: str) -> None:
    environment._check(GOOD, Path("/environment"))
    with pytest.raises(EnvironmentUnfit, match=text) as raised:
        environment._check({**GOOD, **changed}, Path("/environment"))
    assert raised.value.fix
