"""What a benchmark says when there is nothing to measure: which command to run."""

import pytest

from benchmarks.subject import find_subject
from slipway.errors import EXIT_NOT_FOUND, EXIT_NOT_RUNNING, ModelNotFound, ServerNotRunning
from slipway.repository import Repository
from slipway.settings import Settings
from tests.serving.dominant_colour import Recipe, publish


def test_a_model_that_is_not_published(tmp_path):
    with pytest.raises(ModelNotFound, match="slipway deploy resnet18"):
        find_subject(Settings(root=tmp_path), "resnet18")


def test_no_server(tmp_path):
    settings = Settings(root=tmp_path)
    settings.repository.mkdir()
    publish(Repository(settings.repository), tmp_path / "scratch", Recipe())
    with pytest.raises(ServerNotRunning, match="slipway deploy colour"):
        find_subject(settings, "colour")


@pytest.mark.parametrize("command", ["serving", "chaos"])
def test_the_command_line_says_so_without_a_traceback(slipway, tmp_path, command):
    env = {"SLIPWAY_ROOT": str(tmp_path), "SLIPWAY_REPOSITORY": str(tmp_path / "repository")}
    done = slipway("bench", command, "--model", "resnet18", env=env)
    assert done.returncode in (EXIT_NOT_FOUND, EXIT_NOT_RUNNING)
    assert "slipway deploy resnet18" in done.stderr
    assert "Traceback" not in done.stderr
