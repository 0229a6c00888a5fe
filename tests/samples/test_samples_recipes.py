"""Recipes: work is done once, and again as soon as anything that decides it has changed."""

from pathlib import Path

import pytest

from samples.recipes import Recipe, afresh


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "code.py"
    path.write_text("first")
    return path


def _run(folder: Path, recipe: Recipe) -> bool:
    """Whether the work was spared."""

    def make():
        (folder / "out.bin").write_bytes(b"weights")
        return [folder / "out.bin"], {"accuracy": 0.5}

    made = recipe.make(folder / "out.json", make)
    assert made.facts == {"accuracy": 0.5}
    assert [path.name for path in made.files] == ["out.bin"]
    return made.reused


def test_second_run_is_spared(tmp_path, source):
    recipe = Recipe({"seed": 1}, [source], ["numpy"])
    assert not _run(tmp_path, recipe)
    assert _run(tmp_path, recipe)


def test_changed_parameters_code_or_files_are_made_again(tmp_path, source):
    recipe = Recipe({"seed": 1}, [source], [])
    _run(tmp_path, recipe)
    assert not _run(tmp_path, Recipe({"seed": 2}, [source], []))
    assert not _run(tmp_path, recipe)
    source.write_text("second")
    assert not _run(tmp_path, recipe)
    (tmp_path / "out.bin").write_bytes(b"damaged")
    assert not _run(tmp_path, recipe)
    (tmp_path / "out.bin").unlink()
    assert not _run(tmp_path, recipe)
    (tmp_path / "out.json").write_text("not json")
    assert not _run(tmp_path, recipe)
    assert _run(tmp_path, recipe)


def test_failed_work_leaves_no_record(tmp_path, source):
    recipe = Recipe({}, [source], [])
    _run(tmp_path, recipe)
    source.write_text("changed")

    def fail():
        raise RuntimeError("killed half way")

    with pytest.raises(RuntimeError):
        recipe.make(tmp_path / "out.json", fail)
    assert not (tmp_path / "out.json").exists()


def test_afresh_leaves_nothing_of_before(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "stale.png").write_bytes(b"old")

    def write(to: Path) -> list[Path]:
        to.mkdir()
        (to / "new.png").write_bytes(b"new")
        return [to / "new.png"]

    afresh(folder, write)
    assert [path.name for path in folder.iterdir()] == ["new.png"]
