"""The builder's process and the probe, as far as a machine without a GPU goes: what is missing, and deaths."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.formats.base import Artifact, ExportOptions
from export.formats.registry import all_formats, find_format
from export.gates.base import Reference
from export.tensorrt.availability import machine, unavailable
from export.tensorrt.profiles import make_job
from export.tensorrt.runner.build import build_apart, main, monitor_class
from export.tensorrt.runner.cuda import Driver
from export.tensorrt.runner.errors import BuildFailed, EngineMissing
from export.tensorrt.runner.measure import compare, failures
from export.tensorrt.runner.probe import missing, probe_apart
from export.tensorrt.typed import PRECISIONS, check_here, typed_graph
from slipway.errors import ExportFailed, FormatUnavailable
from slipway.spec.tensorrt import TensorrtSpec

WITH_GPU = Path("/dev/nvidia0").exists()
no_gpu = pytest.mark.skipif(WITH_GPU, reason="this machine has an NVIDIA device, so nothing is missing")


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    job = make_job("tensorrt", "fp32", TensorrtSpec(), 8, (32, 32), "timing.cache")
    (tmp_path / "job.json").write_text(job.to_json())
    return tmp_path / "job.json"


@no_gpu
def test_a_build_without_a_driver_ends_in_its_own_process_with_a_log(job_file: Path) -> None:
    with pytest.raises(BuildFailed, match="the builder ended with code 6") as caught:
        build_apart(job_file)
    assert "libcuda.so.1 is missing" in caught.value.log
    assert "libcuda.so.1" in (job_file.parent / "plan" / "build.log").read_text()


def test_a_builder_that_dies_is_a_failure_with_its_signal_and_last_words(
    job_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real SIGSEGV in the builder's process, before it could do anything else."""
    (tmp_path / "early").mkdir()
    death = "import os, signal, sys\nif 'build' in ' '.join(sys.orig_argv):\n"
    death += "    os.write(2, b'last words\\n')\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    (tmp_path / "early" / "sitecustomize.py").write_text(death)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "early"))
    with pytest.raises(BuildFailed, match="was ended by SIGSEGV") as caught:
        build_apart(job_file)
    assert caught.value.log == "last words"


def test_a_plan_of_an_earlier_build_is_not_taken_for_this_one_s(job_file: Path) -> None:
    (job_file.parent / "plan").mkdir()
    (job_file.parent / "plan" / "plan.json").write_text('{"plan": "plan/model_90.plan"}')
    if not WITH_GPU:
        with pytest.raises(BuildFailed):
            build_apart(job_file)
    assert not (job_file.parent / "plan" / "plan.json").exists()


def test_the_builder_wants_one_job() -> None:
    assert main([]) == 2


def test_progress_is_told_by_outermost_phases(capsys: pytest.CaptureFixture[str]) -> None:
    monitor = monitor_class(object)()
    monitor.phase_start("build", None, 4)
    monitor.phase_start("inner", "build", 100)
    assert monitor.step_complete("inner", 50) is True
    assert monitor.step_complete("build", 0) is True
    monitor.phase_finish("inner")
    monitor.phase_finish("build")
    assert capsys.readouterr().out.splitlines() == [
        '{"phase": "build", "done": 0.25}',
        '{"phase": "build", "done": 1.0}',
    ]


@no_gpu
def test_the_driver_is_said_to_be_missing() -> None:
    with pytest.raises(EngineMissing, match=r"libcuda\.so\.1 is missing"):
        Driver()


@no_gpu
def test_everything_that_is_missing_is_said_at_once() -> None:
    found = probe_apart()
    assert (found["driver"], found["devices"], found["tensorrt"]) == (None, [], None)
    driver, builder = missing(found)
    assert "libcuda.so.1" in driver
    assert "no TensorRT builder: the Python package tensorrt is not installed" in builder
    assert "{}.{}".format(*sys.version_info[:2]) in builder or sys.version_info < (3, 11)
    assert "--plan-bundle" in str(unavailable("fp32"))


#: What a probe finds on other machines.
GPU = {"name": "NVIDIA H200", "compute_capability": "9.0", "memory": 1}
READY: dict[str, Any] = {
    "python": "3.10",
    "driver": "13.0",
    "driver_problem": None,
    "devices": [GPU],
    "tensorrt": "8.6.0",
    "tensorrt_problem": None,
    "lean": None,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"devices": []}, ["the driver (CUDA 13.0) shows no GPU"]),
        ({"tensorrt": None, "tensorrt_problem": "x"}, ["no TensorRT builder: x", "pip install tensorrt==8.6.0"]),
        ({"tensorrt": None, "tensorrt_problem": "x", "python": "3.12"}, ["for Python 3.10 at most, and this is 3.12"]),
        (
            {"tensorrt": None, "tensorrt_problem": "x", "lean": "11.4.0"},
            ["lean runtime (11.4.0) is here"],
        ),
    ],
)
def test_what_other_machines_lack_is_named(change: dict[str, Any], words: list[str]) -> None:
    (said,) = missing({**READY, **change})
    assert all(word in said for word in words)


def test_nothing_is_missing_where_all_is_there() -> None:
    assert missing(READY) == []


@pytest.mark.parametrize(("precision", "reason"), [("fp16", None), ("bf16", "TensorRT 8.6.0 has no bf16")])
def test_bf16_needs_a_newer_builder(precision: str, reason: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.tensorrt.availability.machine", lambda: READY)
    assert unavailable(precision) is None if reason is None else reason in str(unavailable(precision))


def test_a_machine_is_asked_once() -> None:
    assert machine() is machine()


def test_looking_for_tensorrt_imports_nothing_of_it() -> None:
    machine()
    assert not {
        name for name in sys.modules if name.split(".")[0] in ("tensorrt", "tensorrt_bindings", "tensorrt_lean")
    }


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_format_is_known_and_says_what_it_is(name: str) -> None:
    (kind,) = [item for item in all_formats() if item.name == name]
    assert (kind.file_name, kind.precision) == ("plans.json", PRECISIONS[name])
    assert "TensorRT" in kind.summary


@no_gpu
def test_an_export_without_a_gpu_is_refused_before_anything_is_made() -> None:
    with pytest.raises(FormatUnavailable, match=r"libcuda\.so\.1"):
        find_format("tensorrt-fp16")


@no_gpu
def test_a_session_without_a_gpu_is_refused(tmp_path: Path) -> None:
    (kind,) = [item for item in all_formats() if item.name == "tensorrt"]
    with pytest.raises(ExportFailed, match=r"libcuda\.so\.1"):
        kind.session(Artifact("tensorrt", tmp_path / "plans.json", 0.0))


@no_gpu
def test_a_failed_build_is_an_export_that_failed_and_keeps_its_log(
    tmp_path: Path, reference: Reference, example: torch.Tensor, plan_options: ExportOptions
) -> None:
    (kind,) = [item for item in all_formats() if item.name == "tensorrt"]
    with pytest.raises(ExportFailed, match="the builder ended with code 6"):
        kind.export(reference.module, example, tmp_path, plan_options)
    assert "libcuda.so.1" in (plan_options.log_dir / "build-tensorrt.log").read_text()


@pytest.mark.gpu
@pytest.mark.parametrize("name", PRECISIONS)
def test_plans_are_built_and_answer_as_the_trained_model(
    name: str, tmp_path: Path, reference: Reference, example: torch.Tensor, plan_options: ExportOptions
) -> None:
    (kind,) = [item for item in all_formats() if item.name == name]
    if (reason := kind.available()) is not None:
        pytest.skip(f"GPU: {reason}")
    artifact = kind.export(reference.module, example, tmp_path, plan_options)
    answer = kind.session(artifact)(reference.pixels[:8])
    assert (answer.argmax(1) == reference.logits[:8].argmax(1)).mean() > 0.9


LIMITS = {"fp32": {"max_relative_difference": 1e-4}, "bf16": {"min_sqnr_db": 25.0, "min_agreement": 0.98}}
LIMITS |= {"fp16": {"min_sqnr_db": 40.0, "min_agreement": 0.99}, "int8": {"min_sqnr_db": 9.0, "min_agreement": 0.97}}


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_typed_graph_is_clean_and_agrees_here(
    name: str, reference: Reference, example: torch.Tensor, plan_options: ExportOptions
) -> None:
    precision = PRECISIONS[name]
    found = check_here(typed_graph(name, reference.module, example, plan_options), precision, reference)
    assert failures(found, LIMITS[precision]) == []
    if precision != "fp32":
        assert found["relative_difference"] > 1e-5, "its precision is in the graph"


def test_an_operator_that_the_parser_lacks_is_named(
    reference: Reference, example: torch.Tensor, tmp_path: Path
) -> None:
    class Unknown(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            planes = pixels.permute(0, 3, 1, 2).to(torch.float32).mean((2, 3))
            return torch.nn.functional.pad(torch.bitwise_and(planes.to(torch.int32), 7).to(torch.float32), (0, 3))

    (tmp_path / "shared").mkdir()
    options = ExportOptions(8, tmp_path / "logs", shared_dir=tmp_path / "shared")
    with pytest.raises(ExportFailed, match=r"TensorRT 10\.15: BitwiseAnd"):
        typed_graph("tensorrt", Unknown().eval(), example, options)


NONE = np.array([-1, -1])


def test_measures_of_equal_answers_fail_nothing() -> None:
    wanted = np.array([[1.0, 2.0], [3.0, 1.0]], dtype=np.float32)
    found = compare(wanted.copy(), wanted, np.array([1, 0]))
    assert (found["relative_difference"], found["sqnr_db"], found["agreement"]) == (0.0, None, 1.0)
    assert (found["accuracy"], found["drop"]) == (1.0, 0.0)
    assert failures(found, {**LIMITS["fp32"], **LIMITS["fp16"], "max_drop": 0.0, "min_accuracy": 1.0}) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([[np.nan, 0.0], [1.0, 2.0]], "1 values are not finite"),
        ([[2.0, 1.0], [3.0, 1.0]], "agreement of best classes 0.5"),
        ([[1.0, 2.1], [3.0, 1.0]], "SQNR in dB"),
        ([[1.0, 2.0]], "shape"),
    ],
)
def test_measures_that_fail_say_which(answer: list[list[float]], reason: str) -> None:
    wanted = np.array([[1.0, 2.0], [3.0, 1.0]], dtype=np.float32)
    found = compare(np.array(answer, dtype=np.float32), wanted, NONE)
    assert any(reason in line for line in failures(found, LIMITS["fp16"]))


def test_outputs_near_zero_never_pass_for_lack_of_a_scale() -> None:
    nothing = np.zeros((2, 2), dtype=np.float32)
    assert "nothing can be compared" in failures(compare(nothing, nothing, NONE), LIMITS["fp32"])[0]


def test_outputs_that_do_not_depend_on_the_image_never_pass() -> None:
    same = np.ones((2, 2), dtype=np.float32)
    found = compare(same * np.float32(1.001), same, NONE)
    assert any("do not depend on the image" in line for line in failures(found, LIMITS["fp16"]))


def test_ties_within_a_step_are_no_disagreement() -> None:
    wanted = np.array([[1.0, 1.001], [3.0, 1.0]], dtype=np.float32)
    swapped = wanted[:, [1, 0]] * [[1, 1], [0, 0]] + wanted * [[0, 0], [1, 1]]
    assert compare(swapped.astype(np.float32), wanted, NONE, step=2.0**-8)["agreement"] == 1.0
    assert compare(swapped.astype(np.float32), wanted, NONE)["agreement"] == 0.5
