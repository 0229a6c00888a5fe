"""Folders that Triton cannot take, or that cannot be made, are refused by name before anything starts."""

import time
from pathlib import Path

import pytest

from serving import control, folders
from serving.supervisor import triton_server
from serving.supervisor.supervisor import Supervisor
from slipway.errors import EnvironmentUnfit
from slipway.settings import Settings


@pytest.mark.parametrize("setting", ["repository", "state_dir", "triton_env"])
@pytest.mark.parametrize("name", ["two words", "modèles", "a$b", "it's", "a;b", "a:b", "(a)"])
def test_paths_that_a_shell_or_triton_would_read_otherwise(tmp_path: Path, setting: str, name: str) -> None:
    settings = Settings(root=tmp_path, **{setting: tmp_path / name})
    with pytest.raises(EnvironmentUnfit) as raised:
        triton_server.configure(settings)
    assert name in str(raised.value.observed) and f"SLIPWAY_{setting.upper()}" in str(raised.value.fix)
    assert list(tmp_path.iterdir()) == [], "nothing was made"


def test_a_project_in_such_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(EnvironmentUnfit, match="two words"):
        control.start_detached(Settings(root=tmp_path / "two words"))
    assert time.monotonic() - started < 1 and list(tmp_path.iterdir()) == []


def test_usual_paths_are_taken(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path / "a-b_c.d+e,f@g%h=i~j", triton_env=tmp_path)
    folders.refuse_unservable(settings)
    folders.make(settings)
    assert settings.repository.is_dir() and (settings.state_dir / "logs").is_dir()


@pytest.mark.parametrize("setting", ["repository", "state_dir"])
def test_a_file_in_the_place_of_a_folder(tmp_path: Path, setting: str) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        settings = Settings(root=tmp_path, **{setting: path})
        for start in (control.start_detached, control.serve_foreground, Supervisor):
            with pytest.raises(EnvironmentUnfit, match=setting):
                start(settings)
