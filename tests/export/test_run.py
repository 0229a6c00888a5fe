"""The whole way: publication, gates that stop it, and nothing done twice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.evidence import rows
from export.identity import export_identity
from export.run import ExportResult, export_model
from export.steps import StepEvent
from handlers.networks import open_network
from handlers.pipeline import Pipeline
from handlers.preprocess import preprocess
from slipway.errors import GateFailed, SamplesInvalid, SlipwayError, SourceInvalid, SpecInvalid
from slipway.repository import Repository
from slipway.settings import Settings
from slipway.spec import ModelSpec
from tests.export import small_model
from tests.export.conftest import SPEC


@pytest.fixture(scope="module")
def home(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("home")
    return Settings(root=project, repository=folder / "repository", state_dir=folder / "state")


@pytest.fixture(scope="module")
def events() -> list[StepEvent]:
    return []


@pytest.fixture(scope="module")
def result(spec: ModelSpec, home: Settings, events: list[StepEvent]) -> ExportResult:
    """Version 1 in ``home``, made once for the tests of this module."""
    return export_model(spec, home, progress=events.append)


def test_a_good_model_becomes_a_version_that_verifies(result: ExportResult, home: Settings) -> None:
    repository = Repository(home.repository)
    assert (result.version, result.published, result.unchanged) == (1, True, False)
    manifest = repository.verify("small", 1)
    scripts = {path for path in manifest.files if path.startswith("small/1/reproduce/")}
    judged = {f"{gate['format']}-{gate['name']}.py" for gate in result.gates}
    assert {path.rsplit("/", 1)[1] for path in scripts} == {"inputs.json", *judged}
    assert set(manifest.files) - scripts == {
        "small/1/artifacts/torch-export/model.pt2",
        "small/1/contract.json",
        "small/1/evidence.html",
        "small/1/evidence.json",
        "small/1/golden/expected.json",
        "small/1/golden/input.png",
        "small/1/model.py",
        "small.onnx/1/model.onnx",
        "small.torchscript/1/model.pt",
    }
    assert manifest.networks == ["small.onnx", "small.torchscript"]
    assert manifest.source["weights"]
    assert manifest.evidence["formats"]["onnx"]["parity"]["max_relative_difference"] < 1e-5


def test_the_golden_prediction_is_what_every_served_network_answers(result: ExportResult, home: Settings) -> None:
    repository = Repository(home.repository)
    folder, contract = repository.version_dir("small", 1), repository.contract("small", 1)
    image = (folder / "golden/input.png").read_bytes()
    expected = json.loads((folder / "golden/expected.json").read_text())["record"]
    assert len(expected["labels"]) == contract.postprocess.top_k == 3
    assert result.evidence["golden"]["margin"] > 0.9
    for path in ("small.onnx/1/model.onnx", "small.torchscript/1/model.pt", "small/1/artifacts/torch-export/model.pt2"):
        answer = Pipeline(contract, open_network(home.repository / path, threads=0)).run([image])[0]
        assert list(answer.labels) == expected["labels"]
        assert np.max(np.abs(answer.scores - expected["scores"])) <= 1e-5


def test_warm_up_files_are_what_triton_reads(result: ExportResult, home: Settings) -> None:
    contract = Repository(home.repository).contract("small", 1)
    warm = (home.repository / "small/warmup/image").read_bytes()
    golden = (home.repository / "small/1/golden/input.png").read_bytes()
    assert int.from_bytes(warm[:4], "little") == len(warm) - 4
    assert warm[4:] == golden
    pixels = (home.repository / "small.onnx/warmup/pixels").read_bytes()
    assert pixels == preprocess(golden, contract.preprocess).tobytes()


def test_every_model_directory_has_a_configuration_of_its_name(result: ExportResult, home: Settings) -> None:
    for name in ("small", "small.onnx", "small.torchscript"):
        text = (home.repository / name / "config.pbtxt").read_text()
        assert text_format.Parse(text, model_config_pb2.ModelConfig()).name == name


def test_evidence_holds_every_number(result: ExportResult, home: Settings) -> None:
    stored = json.loads((home.repository / "small/1/evidence.json").read_text())
    assert stored == result.evidence
    assert [(gate["format"], gate["name"]) for gate in stored["gates"]] == [
        ("contract", "preprocessing"),
        *((name, gate) for name in ("onnx", "torchscript", "torch-export") for gate in ("executes", "parity", "task")),
    ]
    assert stored["images"]["count"] == 72
    assert {"torch", "onnx", "onnxruntime", "numpy"} <= set(stored["source"]["tools"])
    assert all(entry["bytes"] > 10_000 and entry["seconds"] > 0 for entry in stored["formats"])
    assert str(home.root) not in json.dumps(stored), "paths of this machine must not travel"
    assert {row["verdict"] for row in rows(stored)} == {"passed"}


def test_progress_reports_every_step_with_its_time(result: ExportResult, events: list[StepEvent]) -> None:
    started = [event.step for event in events if event.state == "started"]
    assert started == list(result.seconds)
    assert started[0] == "compare with published versions"
    assert started[-1] == "publish"
    assert all(event.seconds > 0 for event in events if event.state == "finished")


def test_nothing_temporary_is_left(result: ExportResult, home: Settings) -> None:
    assert not list(home.state_dir.glob("export-*"))
    assert not list(home.repository.glob("*/.staging*"))


def test_an_unchanged_model_is_found_in_seconds_without_torch(result: ExportResult, home: Settings) -> None:
    code = (
        "import sys, json, pathlib\n"
        "from export.run import export_model\n"
        "from slipway.settings import Settings\n"
        "from slipway.spec import ModelSpec\n"
        "spec = ModelSpec.model_validate_json(sys.argv[1])\n"
        "settings = Settings.model_validate_json(sys.argv[2])\n"
        "found = export_model(spec, settings)\n"
        "print(json.dumps([found.version, found.unchanged, found.published, len(found.gates), 'torch' in sys.modules]))"
    )
    begin = time.perf_counter()
    arguments = [ModelSpec.model_validate(SPEC).model_dump_json(), home.model_dump_json()]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [1, True, False, 10, False]
    assert time.perf_counter() - begin < 3.0


def test_other_weights_become_the_next_version_and_old_ones_are_recognised(
    result: ExportResult, spec: ModelSpec, home: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "other.pt"
    model = small_model.SmallCnn()
    model.load_state_dict(torch.load(home.root / "weights.pt", weights_only=True))
    with torch.no_grad():
        model.head.weight.mul_(1.01)
    torch.save(model.state_dict(), other)
    fast = spec.model_copy(update={"formats": ("onnx",)})
    second = export_model(fast, home, checkpoint=other)
    assert (second.version, second.published) == (2, True)
    assert Repository(home.repository).pointer("small").stable == 1
    again = export_model(spec, home)
    assert (again.version, again.unchanged) == (1, True)


def test_a_dry_run_publishes_nothing(spec: ModelSpec, settings: Settings) -> None:
    dry = export_model(spec.model_copy(update={"formats": ("onnx",)}), settings, dry_run=True)
    assert (dry.version, dry.published, dry.unchanged) == (None, False, False)
    assert len(dry.gates) == 4
    assert not settings.repository.exists()


def test_a_version_must_hold_something_that_can_be_served(spec: ModelSpec, settings: Settings) -> None:
    narrowed = spec.only(["torch-export"])
    with pytest.raises(SpecInvalid, match="nothing of this can be served"):
        export_model(narrowed, settings)
    judged = {gate["format"] for gate in export_model(narrowed, settings, dry_run=True).gates}
    assert judged == {"contract", "torch-export"}


def test_a_failed_gate_publishes_nothing_and_shows_every_number(settings: Settings) -> None:
    labels = [*small_model.LABELS[1:], small_model.LABELS[0]]
    shifted = ModelSpec.model_validate({**SPEC, "labels": labels, "formats": ["onnx"]})
    with pytest.raises(GateFailed, match="labels are shifted by -1") as caught:
        export_model(shifted, settings)
    assert caught.value.evidence is not None
    assert [row["verdict"] for row in rows(caught.value.evidence)] == ["passed", "passed", "passed", "FAILED"]
    assert not settings.repository.exists()
    assert not list(settings.state_dir.glob("export-*"))


def test_channel_order_in_the_specification_is_judged_by_the_task(settings: Settings) -> None:
    """Export and trained model agree on BGR pixels; only the labelled images show that training used RGB."""
    swapped = {**SPEC["input"], "colour": "bgr"}
    spec = ModelSpec.model_validate({**SPEC, "input": swapped, "formats": ["torchscript"], "serve": "torchscript"})
    with pytest.raises(GateFailed, match=r"the trained model itself reaches .* with the channels reversed"):
        export_model(spec, settings)


def test_missing_samples_and_missing_weights_say_so(settings: Settings) -> None:
    with pytest.raises(SamplesInvalid, match="directory of held-out images is missing"):
        export_model(ModelSpec.model_validate({**SPEC, "samples": "absent"}), settings)
    with pytest.raises(SourceInvalid):
        export_model(ModelSpec.model_validate(SPEC), settings, checkpoint="absent.pt")


def test_an_image_that_cannot_be_decoded_is_named(settings: Settings, project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "coffee_0.png").write_bytes(b"not an image")
    with pytest.raises(SlipwayError, match=r"coffee_0\.png"):
        export_model(ModelSpec.model_validate({**SPEC, "samples": str(folder)}), settings)


def test_a_killed_export_leaves_nothing_after_the_next_one(spec: ModelSpec, settings: Settings) -> None:
    code = (
        "import os, sys\n"
        "from export.workspace import workspace\n"
        "from pathlib import Path\n"
        "with workspace(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_bytes(b'x')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(settings.state_dir)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(settings.state_dir.glob("export-*/half"))
    export_model(spec.model_copy(update={"formats": ("onnx",)}), settings, dry_run=True)
    assert not list(settings.state_dir.glob("export-*"))
    assert [item.name for item in settings.state_dir.iterdir()] == ["logs"]


def test_other_calibration_images_make_another_export(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "calibration"
    folder.mkdir()
    shutil.copytree(project / "samples", tmp_path / "samples")
    for path in sorted((project / "samples").glob("*.png"))[:8]:
        shutil.copy(path, folder)
    spec = ModelSpec.model_validate({**SPEC, "calibration": {"images": "calibration"}})
    contract = spec.contract(tmp_path)
    before = export_identity(spec, contract, tmp_path, "images", "weights")["digest"]
    assert export_identity(spec, contract, tmp_path, "images", "weights")["digest"] == before
    first, second = sorted(folder.iterdir())[:2]
    shutil.copy(second, first)
    assert export_identity(spec, contract, tmp_path, "images", "weights")["digest"] != before


def test_a_model_that_does_not_do_the_task_proves_nothing(settings: Settings) -> None:
    """Labels shifted by one, and no minimum declared: trained model and export are equally wrong."""
    labels = [*small_model.LABELS[1:], small_model.LABELS[0]]
    gates = {"task": {"margin": 0.05}}
    shifted = ModelSpec.model_validate({**SPEC, "labels": labels, "formats": ["onnx"], "gates": gates})
    with pytest.raises(GateFailed, match=r"the trained model itself is right on .*labels are shifted by -1"):
        export_model(shifted, settings)
