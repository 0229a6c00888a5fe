"""What should be loaded, read from a repository that was really published."""

from pathlib import Path

import pytest

from serving.golden import read_golden
from serving.golden_compare import SCORE_TOLERANCE
from serving.supervisor.desired import read_desired
from slipway.errors import RepositoryDamaged, VersionLoadFailed
from slipway.repository import Repository
from tests.serving.dominant_colour import Recipe, publish


@pytest.fixture(autouse=True)
def _no_placement_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_NETWORK_PLACEMENT", raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "repository").mkdir()
    found = Repository(tmp_path / "repository")
    for _ in range(4):
        publish(found, tmp_path / "scratch", Recipe())
    return found


def test_pointer_previous_and_newest_are_active_in_this_order(repository: Repository) -> None:
    assert read_desired(repository, "colour").active == (1, 4)
    repository.set_pointer("colour", 3)
    repository.set_pointer("colour", 2)
    found = read_desired(repository, "colour")
    assert (found.pointer, found.active, found.published) == (2, (2, 3, 4), (1, 2, 3, 4))
    assert found.answering == (2, 3), "the newest is loaded, and has not been promoted"
    assert read_desired(repository, "colour", load_previous=False).active == (2, 4)


def test_networks_are_the_served_one_unless_others_are_named(repository: Repository, tmp_path: Path) -> None:
    found = read_desired(repository, "colour")
    assert found.placement == "fused" and found.called == {}
    assert found.networks == {"colour.onnx": (1, 4)}
    publish(repository, tmp_path / "scratch", Recipe(networks="colour.torchscript"))
    found = read_desired(repository, "colour").networks
    assert found == {"colour.onnx": (1, 5), "colour.torchscript": (1, 5)}, "the served network and the named one"
    publish(repository, tmp_path / "scratch", Recipe(networks=""))
    assert read_desired(repository, "colour").networks == {}, "none was asked for"
    publish(repository, tmp_path / "scratch", Recipe(networks="", placement="separate"))
    found = read_desired(repository, "colour")
    assert found.networks == {"colour.onnx": (1, 7)} and found.called == {1: ("colour.onnx",), 7: ("colour.onnx",)}


def test_a_version_of_another_format_takes_no_network_away(repository: Repository, tmp_path: Path) -> None:
    publish(repository, tmp_path / "scratch", Recipe(served="torchscript", networks="colour.torchscript"))
    found = read_desired(repository, "colour")
    assert found.pointer == 1 and 1 in found.networks["colour.onnx"] and 5 in found.networks["colour.torchscript"]
    assert found.pointer_updated == repository.pointer("colour").updated


def test_a_damaged_config_is_an_error_of_this_model(repository: Repository) -> None:
    (repository.path / "colour" / "config.pbtxt").write_text("name: [")
    with pytest.raises(RepositoryDamaged):
        read_desired(repository, "colour")


def test_golden_predictions_are_read_and_must_be_there(repository: Repository) -> None:
    golden = read_golden(repository, "colour", 1)
    assert golden.record["labels"][0] == "red" and abs(sum(golden.record["scores"]) - 1) < SCORE_TOLERANCE
    expected = repository.version_dir("colour", 1) / "golden" / "expected.json"
    for text in ("", "{}", '{"labels": [], "scores": []}'):
        expected.chmod(0o644)
        expected.write_text(text)
        with pytest.raises(VersionLoadFailed):
            read_golden(repository, "colour", 1)
