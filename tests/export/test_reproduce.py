"""The scripts that a version and a failed export carry really judge again: run as a person would run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export.layers.explain import explain_diff
from export.reproduce.failed import keep_failed
from export.reproduce.places import places
from export.reproduce.run import main
from export.run import ExportResult, export_model
from export.workspace import workspace
from slipway.errors import GateFailed, VersionNotFound
from slipway.repository import Repository
from slipway.settings import Settings
from slipway.spec import ModelSpec
from tests.export import small_model
from tests.export.conftest import SPEC

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("home")
    return Settings(root=project, repository=folder / "repository", state_dir=folder / "state")


@pytest.fixture(scope="module")
def result(spec: ModelSpec, home: Settings) -> ExportResult:
    return export_model(spec, home)


@pytest.fixture(scope="module")
def version(result: ExportResult, home: Settings) -> Path:
    return Repository(home.repository).version_dir("small", result.version)


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # the factory of this room's model lies in the tests, which are not installed
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, cwd=script.parent, env=environment
    )


def test_every_gate_of_every_format_has_a_small_script(version: Path, result: ExportResult) -> None:
    scripts = sorted(path.name for path in (version / "reproduce").glob("*.py"))
    assert scripts == sorted(f"{gate['format']}-{gate['name']}.py" for gate in result.gates)
    assert {"onnx-executes.py", "onnx-parity.py", "onnx-task.py", "contract-preprocessing.py"} <= set(scripts)
    assert all(len((version / "reproduce" / name).read_text().splitlines()) <= 15 for name in scripts)


def test_nothing_in_them_names_this_machine(version: Path, project: Path) -> None:
    text = "".join(path.read_text() for path in (version / "reproduce").iterdir())
    assert str(project) not in text
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text


def test_a_script_gives_the_same_numbers_from_the_version(version: Path, project: Path) -> None:
    done = run(version / "reproduce" / "onnx-parity.py", "--root", str(project))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("onnx parity: passed")
    assert "the same verdict, the same numbers" in done.stdout
    results = json.loads((version / "reproduce" / "inputs.json").read_text())["results"]
    (recorded,) = [item for item in results if (item["format"], item["name"]) == ("onnx", "parity")]
    assert f"max_relative_difference = {recorded['measured']['max_relative_difference']}" in done.stdout
    assert not list(version.rglob("__pycache__")), "a version is never written to"


@pytest.mark.parametrize(
    ("name", "gate"),
    [("torch-export", "executes"), ("torchscript", "task"), ("contract", "preprocessing")],
)
def test_other_gates_and_places_judge_again_too(
    version: Path, project: Path, name: str, gate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch-export has no Triton backend and lies beside the public model; preprocessing is asked of no artefact."""
    assert main(version / "reproduce", name, gate, ["--root", str(project)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{name} {gate}: passed")
    assert "the same verdict, the same numbers" in shown


def test_other_images_and_a_changed_artefact_are_refused_by_name(
    version: Path, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(project, tmp_path / "other")
    next((tmp_path / "other" / "samples").iterdir()).unlink()
    assert main(version / "reproduce", "onnx", "parity", ["--root", str(tmp_path / "other")]) == 3
    assert "not the images that the export was judged on" in capsys.readouterr().err
    model = version.parent.parent / "small.torchscript" / version.name / "model.pt"
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        assert main(version / "reproduce", "torchscript", "executes", ["--root", str(project)]) == 1
    finally:
        model.write_bytes(content)
    assert "REPOSITORY_DAMAGED: torchscript: model.pt is not the file that was judged" in capsys.readouterr().err


def test_explain_diff_takes_the_published_artefacts(
    version: Path, spec: ModelSpec, home: Settings, tmp_path: Path
) -> None:
    found = explain_diff(spec, home, "torch-export", tmp_path, version=int(version.name))
    assert found.first is None
    assert {"features.1", "head"} <= {layer.module for layer in found.comparison.layers}
    assert not (tmp_path / "torch-export").exists(), "nothing but the base was exported"
    with pytest.raises(VersionNotFound):
        explain_diff(spec, home, "torch-export", tmp_path, version=99)


def test_a_failed_export_is_kept_with_scripts_that_fail_as_it_did(settings: Settings, project: Path) -> None:
    labels = [*small_model.LABELS[1:], small_model.LABELS[0]]
    shifted = ModelSpec.model_validate({**SPEC, "labels": labels, "formats": ["onnx"]})
    with pytest.raises(GateFailed):
        export_model(shifted, settings)
    kept = settings.state_dir / "failed" / "small"
    assert (kept / "onnx" / "model.onnx").is_file()
    assert (kept / "evidence.json").is_file()
    assert (kept / "logs" / "export-onnx.log").is_file()
    done = run(kept / "reproduce" / "onnx-task.py", "--root", str(project))
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("onnx task: FAILED")
    assert "labels are shifted by -1" in done.stdout
    assert "the same verdict, the same numbers" in done.stdout


def test_only_the_newest_failure_of_a_model_is_kept(tmp_path: Path) -> None:
    for text in ("first", "second"):
        for model in ("small", "other"):
            with workspace(tmp_path) as folder:
                (folder / "onnx").mkdir()
                (folder / "onnx" / "model.onnx").write_text(f"{model} {text}")
                kept = keep_failed(folder, tmp_path, model)
                assert kept == tmp_path / "failed" / model
            assert not folder.exists()
    assert (tmp_path / "failed" / "small" / "onnx" / "model.onnx").read_text() == "small second"
    assert (tmp_path / "failed" / "other" / "onnx" / "model.onnx").read_text() == "other second"
    assert len(list((tmp_path / "failed" / ".kept").iterdir())) == 2
    assert not list((tmp_path / "failed" / "small").glob(".*")), "the mark of the workspace's owner is not kept"


def test_an_export_that_was_saved_by_its_layers_is_found_where_it_was_tried(tmp_path: Path) -> None:
    for folder in ("onnx-int8", "onnx-int8-rescued/try-2"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.onnx").write_text(folder)
    found = places(tmp_path, "small", "onnx-int8", "model.onnx")
    assert [path.parent.name for path in found] == ["onnx-int8", "try-2"]
