"""Which experiments the supervisor follows."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from serving.json_log import open_log
from serving.supervisor.board import Board
from serving.supervisor.desired import DesiredModel
from serving.supervisor.experiments import Experiments
from slipway import experiment
from slipway.experiment import Arm, Experiment
from slipway.repository import Repository
from tests.slipway.test_experiment import damage

__all__ = ["damage"]
ARMED = Experiment("m", "e", "s", stable=1, arms=(Arm(2, 0, 1000),))
OTHER = replace(ARMED, model="n")


@pytest.fixture
def board() -> Board:
    board = Board()
    for model in ("m", "n"):
        board.observe(DesiredModel(model, 1, (1, 2), (1, 2), "in process", {}, {}))
        for version in (1, 2):
            board.mark(model, version, "ready")
    return board


@pytest.fixture
def found(tmp_path: Path) -> Experiments:
    for item in (ARMED, OTHER):
        (tmp_path / item.model).mkdir()
        experiment.write(tmp_path, item)
    return Experiments(Repository(tmp_path), open_log("supervisor", tmp_path / "logs"))


def followed(found: Experiments, board: Board) -> list[str]:
    return [live.experiment.model for live in found.live(board)]


def test_a_damaged_file_ends_its_own_experiment_alone(
    tmp_path: Path, found: Experiments, board: Board, damage: Callable[[Path], None]
) -> None:
    assert followed(found, board) == ["m", "n"]
    path = experiment.path_of(tmp_path, "m")
    damage(path)
    assert followed(found, board) == ["n"] == followed(found, board)
    assert (tmp_path / "logs" / "supervisor.jsonl").read_text().count("is not followed") == 1
    experiment.write(tmp_path, ARMED)
    assert followed(found, board) == ["m", "n"]


def test_nothing_that_is_raised_ends_the_supervisor(
    found: Experiments, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = experiment.read

    def broken(repository: Path, model: str) -> Experiment | None:
        if model == "m":
            raise MemoryError
        return read(repository, model)

    monkeypatch.setattr(experiment, "read", broken)
    assert followed(found, board) == ["n"]


def test_a_file_whose_time_was_set_back_is_read_again(tmp_path: Path, found: Experiments, board: Board) -> None:
    path = experiment.path_of(tmp_path, "m")
    good, before = path.read_bytes(), path.stat().st_mtime_ns
    assert followed(found, board) == ["m", "n"]
    for content, expected in ((b"{", ["n"]), (good, ["m", "n"])):
        path.write_bytes(content)
        os.utime(path, ns=(before, before))
        assert followed(found, board) == expected


def test_an_experiment_goes_on_while_its_stable_version_is_loaded_again(found: Experiments, board: Board) -> None:
    board.observe(DesiredModel("m", 1, (1, 2, 3), (1, 2, 3), "in process", {}, {}, previous=3))
    board.mark("m", 3, "ready")
    board.mark("m", 1, "loading")
    assert board.default_versions()["m"] == 3 and followed(found, board) == ["m", "n"]
    board.mark("m", 1, "failed", "wrong")
    assert followed(found, board) == ["n"], "its arms were chosen against version 1"
    board.mark("m", 1, "ready")
    board.observe(DesiredModel("m", 3, (1, 2, 3), (3, 2, 1), "in process", {}, {}, previous=1))
    assert followed(found, board) == ["n"], "the pointer was moved"
