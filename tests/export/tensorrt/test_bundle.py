"""A bundle from its writing to its publication, with a real engine on the CPU where the GPU would be.

The engine is onnxruntime on the same typed graphs: what it answers is real, and its report can never be published.
Where a test needs a report of a GPU machine, that report is made of a real run's answers, with bytes that are no plan.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.formats.base import ExportOptions
from export.gates.base import Reference
from export.tensorrt import runner
from export.tensorrt.bundle import write_bundle
from export.tensorrt.imported import ImportedPlans, check_bundle, import_plans
from export.tensorrt.runner.bundle import read_bundle, sha256
from slipway.errors import OutputUnwritable, PublishRefused
from slipway.spec import ModelSpec
from tests.export.conftest import SPEC

IDENTITY = {"digest": "d" * 64, "weights": "w", "spec": "s"}
FORMATS = ["tensorrt", "tensorrt-fp16", "tensorrt-bf16", "tensorrt-int8"]
#: What onnxruntime can run: its CPU has no bf16 convolution. The AOTInductor check compiles, and is a test of its own.
RUN = ["tensorrt", "tensorrt-fp16", "tensorrt-int8"]
Call = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, reference: Reference, plan_options: ExportOptions) -> Path:
    return write_bundle(
        ModelSpec.model_validate(SPEC), reference, IDENTITY, plan_options, tmp_path_factory.mktemp("bundle") / "out"
    )


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(folder / "run.py"), *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, written: Path) -> tuple[Path, subprocess.CompletedProcess]:
    folder = Path(shutil.copytree(written, tmp_path_factory.mktemp("ran") / "bundle"))
    only = [part for name in RUN for part in ("--only", name)]
    return folder, call(folder, "--engine", "onnxruntime", *only, "--rounds", "2", "--runs", "3")


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_the_bundle_holds_everything_and_names_its_export(written: Path) -> None:
    found = read_bundle(written)
    assert found.values["identity"] == IDENTITY
    assert set(found.formats) == {*FORMATS, "aot-inductor-cuda"}
    assert set(found.values["files"]) >= {
        "run.py",
        "runner/main.py",
        "reference.npz",
        "formats/tensorrt/model.onnx",
        "formats/tensorrt/job.json",
        "formats/tensorrt-bf16/model.onnx",
        "formats/aot-inductor-cuda/model.pt2",
    }
    assert found.formats["tensorrt"]["readable_by"] == ["8.6", "10.15"]
    assert found.formats["tensorrt-bf16"]["readable_by"] == ["10.15"]
    assert found.formats["tensorrt"]["graph_on_cpu"]["relative_difference"] < 1e-5
    assert 25 < found.formats["tensorrt-bf16"]["graph_on_cpu"]["sqnr_db"] < 80
    assert found.values["batch_sizes"] == [1, 2, 8]


def test_the_trained_model_s_answers_lie_in_it(written: Path, reference: Reference) -> None:
    arrays = read_bundle(written).reference()
    assert len(arrays["logits"]) == len(reference.held_out.images) <= len(arrays["pixels"])
    assert arrays["request_sizes"].sum() == len(arrays["request_images"]) > len(arrays["logits"])
    np.testing.assert_array_equal(arrays["pixels"][arrays["subset"]], reference.pixels)
    np.testing.assert_allclose(arrays["logits"][arrays["subset"]], reference.logits, rtol=1e-4, atol=1e-4)
    assert list(arrays["labels"]) == [image.label for image in reference.held_out.images]


def test_a_folder_with_something_in_it_is_refused(
    tmp_path: Path, spec: ModelSpec, reference: Reference, plan_options: ExportOptions
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputUnwritable, match="not empty"):
        write_bundle(spec, reference, IDENTITY, plan_options, tmp_path)


def test_it_stands_alone() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "torch", "onnxruntime", "tensorrt"}
    for path in Path(runner.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names} <= allowed, path.name


def test_without_a_gpu_it_says_exactly_what_is_missing(bundle: Path) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has an NVIDIA device, so less is missing")
    run = call(bundle)
    assert run.returncode == 6, run.stdout + run.stderr
    assert "libcuda.so.1" in run.stdout
    assert "no TensorRT builder: the Python package tensorrt is not installed" in run.stdout
    assert "Traceback" not in run.stderr
    assert not (bundle / "report.json").exists()


def test_wrong_usage_and_damage_have_their_exit_codes(bundle: Path) -> None:
    assert call(bundle, "--only", "tensorrt-fp8").returncode == 2
    assert call(bundle, "--engine", "pencil").returncode == 2
    assert call(bundle, "--help").returncode == 0
    graph = bundle / "formats" / "tensorrt" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(content)
    (bundle / "reference.npz").unlink()
    run = call(bundle, "--engine", "onnxruntime")
    assert run.returncode == 3
    assert "tensorrt/model.onnx has changed" in run.stdout
    assert "reference.npz is missing" in run.stdout


def test_a_real_run_measures_records_and_times(ran: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, run = ran
    assert run.returncode == 0, run.stdout + run.stderr
    entry = report(folder)["runs"]["cpu"]
    assert (entry["engine"], set(entry["results"])) == ("onnxruntime", set(RUN))
    for result in entry["results"].values():
        assert (result["passed"], result["failures"]) == (True, [])
        assert result["measured"]["agreement"] > 0.97
        assert result["measured"]["accuracy"] > 0.8
        assert set(result["batch_sizes"]) == {"1", "2", "8"}
        assert set(result["times"]) == {"1", "8"}
        assert all(row["low"] <= row["ms_per_image"] <= row["high"] for row in result["times"].values())
        assert {row["runs"] for row in result["times"].values()} == {6}
        assert entry["files"][result["recorded"]] == sha256(folder / result["recorded"])
    noise = {name: entry["results"][name]["measured"]["sqnr_db"] for name in RUN}
    assert noise["tensorrt"] > 100 > noise["tensorrt-fp16"] > noise["tensorrt-int8"] > 10


def test_formats_that_are_not_asked_for_may_stay_behind(bundle: Path) -> None:
    for name in ("tensorrt-int8", "aot-inductor-cuda"):
        shutil.rmtree(bundle / "formats" / name)
    asked = ("--engine", "onnxruntime", "--only", "tensorrt-fp16", "--rounds", "0")
    assert call(bundle, *asked).returncode == 0
    run = call(bundle, *asked, "--only", "tensorrt-int8")
    assert run.returncode == 3
    assert "formats/tensorrt-int8/model.onnx is missing" in run.stdout
    assert "aot-inductor" not in run.stdout


def test_what_an_engine_cannot_do_at_all_is_no_failure_of_the_format(bundle: Path) -> None:
    run = call(bundle, "--engine", "onnxruntime", "--only", "tensorrt-bf16", "--only", "tensorrt", "--rounds", "0")
    assert run.returncode == 6, run.stdout + run.stderr
    results = report(bundle)["runs"]["cpu"]["results"]
    assert "Conv(22)" in results["tensorrt-bf16"]["missing"]
    assert results["tensorrt"]["passed"]


def test_a_graph_that_cannot_be_opened_is_a_failure_with_the_engine_s_words(bundle: Path) -> None:
    path = bundle / "formats" / "tensorrt" / "model.onnx"
    path.write_bytes(b"no graph")
    _rewrite(bundle, lambda values: values["files"].update({"formats/tensorrt/model.onnx": sha256(path)}))
    run = call(bundle, "--engine", "onnxruntime", "--only", "tensorrt")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "cannot open model.onnx" in report(bundle)["runs"]["cpu"]["results"]["tensorrt"]["failures"][0]


def test_a_network_that_is_worse_fails_on_the_machine_that_runs_it(bundle: Path) -> None:
    """The graph with other weights under a bundle.json that was written for it: only the numbers can tell."""
    import onnx
    from onnx import numpy_helper

    path = bundle / "formats" / "tensorrt" / "model.onnx"
    model = onnx.load(str(path))
    for item in model.graph.initializer:
        if item.name.endswith("head.weight"):
            item.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(item), item.name))
    onnx.save(model, str(path))
    _rewrite(bundle, lambda values: values["files"].update({"formats/tensorrt/model.onnx": sha256(path)}))
    run = call(bundle, "--engine", "onnxruntime", "--only", "tensorrt", "--rounds", "0")
    assert run.returncode == 1
    failures = report(bundle)["runs"]["cpu"]["results"]["tensorrt"]["failures"]
    assert any("relative difference" in line for line in failures)
    assert any(line.startswith("batch 2: ") for line in failures)


def test_a_run_by_onnxruntime_is_never_published(
    ran: tuple[Path, subprocess.CompletedProcess], reference: Reference, tmp_path: Path
) -> None:
    with pytest.raises(PublishRefused, match="not run by TensorRT on a GPU"):
        import_plans(ran[0], reference, IDENTITY, tmp_path / "plans")


def test_a_bundle_that_was_not_run_has_nothing_to_import(bundle: Path, reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(PublishRefused, match="not run yet"):
        import_plans(bundle, reference, IDENTITY, tmp_path / "plans")


@pytest.fixture
def from_gpus(ran: tuple[Path, subprocess.CompletedProcess], tmp_path: Path) -> Path:
    """The real run's answers as two GPUs would have reported them; see the module's text."""
    folder = Path(shutil.copytree(ran[0], tmp_path / "gpus"))
    values = report(folder)
    runs = {}
    for capability, device in (("8.0", "NVIDIA A100"), ("9.0", "NVIDIA H200")):
        entry = json.loads(json.dumps(values["runs"]["cpu"]))
        for name, row in entry["results"].items():
            plan = folder / "formats" / name / "built" / "plan" / f"model_{capability.replace('.', '')}.plan"
            plan.parent.mkdir(parents=True, exist_ok=True)
            plan.write_bytes(f"these bytes are no plan, of {name} for {device}".encode())
            row["built"] = {
                "engine": "tensorrt",
                "tensorrt": "10.16.1.11",
                "compute_capability": capability,
                "device": device,
                "driver": "13.0",
                "seconds": 3.5,
                "bytes": plan.stat().st_size,
            }
            row["file"] = plan.relative_to(folder).as_posix()
            entry["files"][row["file"]] = sha256(plan)
        runs[capability] = {**entry, "engine": "tensorrt"}
    (folder / "report.json").write_text(json.dumps({**values, "runs": runs}))
    return folder


def test_plans_come_back_by_gpu_and_pass_the_gates_here(
    from_gpus: Path, reference: Reference, base: Path, tmp_path: Path
) -> None:
    found: ImportedPlans = import_plans(from_gpus, reference, IDENTITY, tmp_path / "plans", lambda: base)
    assert [artifact.format for artifact in found.artifacts] == RUN
    for artifact in found.artifacts:
        assert artifact.path == tmp_path / "plans" / artifact.format / "plans.json"
        assert [path.name for path in artifact.companions] == ["model_80.plan", "model_90.plan"]
        assert artifact.details["plans"]["9.0"]["device"] == "NVIDIA H200"
        assert artifact.seconds == 7.0
    assert all(result.passed for result in found.results), [r.reason for r in found.results if not r.passed]
    assert {result.measured["compute_capability"] for result in found.results} == {"8.0", "9.0"}
    judged = {(result.format, result.name) for result in found.results}
    assert {(name, gate) for name in RUN for gate in ("executes", "parity")} <= judged


def test_answers_that_fail_the_gates_fail_here_whatever_the_report_says(
    from_gpus: Path, reference: Reference, base: Path, tmp_path: Path
) -> None:
    values = report(from_gpus)
    row = values["runs"]["9.0"]["results"]["tensorrt"]
    path = from_gpus / row["recorded"]
    with np.load(path, allow_pickle=False) as arrays:
        spoiled = {name: arrays[name][:, ::-1].copy() for name in arrays.files}
    np.savez_compressed(path, **spoiled)
    for entry in values["runs"].values():
        entry["files"][row["recorded"]] = sha256(path)
    (from_gpus / "report.json").write_text(json.dumps(values))
    with pytest.raises(PublishRefused, match="do not follow from the answers"):
        import_plans(from_gpus, reference, IDENTITY, tmp_path / "plans")
    arrays = read_bundle(from_gpus).reference()
    from export.tensorrt.runner.measure import compare

    for entry in values["runs"].values():
        assert entry["results"]["tensorrt"]["passed"]
        claimed = compare(spoiled["answers"], arrays["logits"], arrays["labels"], 2.0**-20)
        entry["results"]["tensorrt"]["measured"] = claimed
    (from_gpus / "report.json").write_text(json.dumps(values))
    found = import_plans(from_gpus, reference, IDENTITY, tmp_path / "again", lambda: base)
    assert {result.format for result in found.results if not result.passed} == {"tensorrt"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("plan", r"model_90\.plan has changed"),
        ("recording", r"tensorrt-cpu\.npz has changed"),
        ("graph", r"model\.onnx has changed"),
        ("outside", "outside the bundle"),
        ("report", "report is of another bundle"),
    ],
)
def test_what_has_changed_is_refused_by_name(
    change: str, reason: str, from_gpus: Path, reference: Reference, tmp_path: Path
) -> None:
    values = report(from_gpus)
    files = {
        "plan": "formats/tensorrt/built/plan/model_90.plan",
        "recording": "recorded/tensorrt-cpu.npz",
        "graph": "formats/tensorrt/model.onnx",
    }
    if change in files:
        with (from_gpus / files[change]).open("ab") as stream:
            stream.write(b"!")
    elif change == "outside":
        values["runs"]["9.0"]["files"]["../ran"] = "0" * 64
    else:
        values["bundle"] = "0" * 64
    (from_gpus / "report.json").write_text(json.dumps(values))
    with pytest.raises(PublishRefused, match=reason):
        import_plans(from_gpus, reference, IDENTITY, tmp_path / "plans")


def test_another_export_s_bundle_is_refused_with_what_differs(
    from_gpus: Path, reference: Reference, tmp_path: Path
) -> None:
    other = {**IDENTITY, "digest": "e" * 64, "weights": "other"}
    with pytest.raises(PublishRefused, match="these differ: weights"):
        import_plans(from_gpus, reference, other, tmp_path / "plans")
    with pytest.raises(PublishRefused, match="these differ: weights"):
        check_bundle(from_gpus, other)
    check_bundle(from_gpus, IDENTITY)


def test_a_second_machine_adds_to_the_report(ran: tuple[Path, subprocess.CompletedProcess], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ran[0], tmp_path / "again"))
    values = report(folder)
    values["runs"]["9.0"] = {"engine": "tensorrt", "results": {}, "files": {}}
    (folder / "report.json").write_text(json.dumps(values))
    assert call(folder, "--engine", "onnxruntime", "--only", "tensorrt", "--rounds", "0").returncode == 0
    assert set(report(folder)["runs"]) == {"cpu", "9.0"}


@pytest.mark.slow
def test_the_aot_inductor_check_runs_for_real_on_the_cpu(bundle: Path) -> None:
    run = call(bundle, "--only", "aot-inductor-cuda", "--device", "cpu", "--rounds", "1", "--runs", "2")
    assert run.returncode == 0, run.stdout + run.stderr
    result = report(bundle)["runs"]["cpu"]["results"]["aot-inductor-cuda"]
    assert result["measured"]["relative_difference"] < 1e-4
    assert result["built"]["device"] == "cpu"


def _rewrite(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "bundle.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")
