"""Profiles, jobs, plans.json and what the specification says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import triton_config
from export.tensorrt.plans import choose_plan, describe_plans, write_plans
from export.tensorrt.profiles import make_job, profile_shapes
from export.tensorrt.runner.builder import branch
from export.tensorrt.runner.errors import BuildFailed, BundleDamaged
from export.tensorrt.runner.job import Job, plan_name
from slipway.errors import ExportFailed, SpecInvalid
from slipway.spec import NETWORK_FILES, ModelSpec
from slipway.spec.tensorrt import TensorrtSpec
from tests.export.conftest import SPEC


def tensorrt(**values: object) -> TensorrtSpec:
    return TensorrtSpec.model_validate(values)


def job(**values: object) -> Job:
    return make_job("tensorrt-fp16", "fp16", tensorrt(**values), 8, (32, 48), "../timing.cache")


def test_the_profile_covers_what_is_served() -> None:
    assert profile_shapes(tensorrt(), 8, 32, 48) == ((1, 32, 48, 3), (8, 32, 48, 3), (8, 32, 48, 3))
    asked = tensorrt(profile={"min": 2, "opt": 4, "max": 16})
    assert profile_shapes(asked, 8, 1, 1) == ((2, 1, 1, 3), (4, 1, 1, 3), (16, 1, 1, 3))


def test_a_profile_below_the_served_batch_is_refused() -> None:
    with pytest.raises(SpecInvalid, match=r"at least serving\.max_batch_size, 8"):
        profile_shapes(tensorrt(profile={"max": 4}), 8, 32, 32)


def test_a_profile_must_ascend() -> None:
    with pytest.raises(ValueError, match="min <= opt <= max"):
        tensorrt(profile={"min": 4, "opt": 2})
    with pytest.raises(SpecInvalid, match="min <= opt <= max"):
        profile_shapes(tensorrt(profile={"min": 16}), 8, 32, 32)


def test_a_job_comes_back_from_its_file(tmp_path: Path) -> None:
    made = job(workspace_mb=64, tf32=True, version_compatible=True, hardware_compatible=True, optimization_level=5)
    (tmp_path / "job.json").write_text(made.to_json())
    assert Job.read(tmp_path / "job.json") == made
    assert (made.workspace_bytes, made.optimization_level, made.hardware_compatible) == (64 << 20, 5, True)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 2, "shapes": [[1], [1], [1]]}'])
def test_what_is_no_job_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(BundleDamaged):
        Job.read(tmp_path / "job.json")


def test_a_future_schema_is_refused(tmp_path: Path) -> None:
    values = {**json.loads(job().to_json()), "schema": 9}
    (tmp_path / "job.json").write_text(json.dumps(values))
    with pytest.raises(BundleDamaged, match="schema 9"):
        Job.read(tmp_path / "job.json")


BRANCHES = {"8.6.0": "api8", "9.3.0": "api10", "10.16.1.11": "api10", "11.4.0.106": "api11", "12.0": "api11"}


@pytest.mark.parametrize(("version", "file"), BRANCHES.items())
def test_every_version_has_its_branch(version: str, file: str) -> None:
    assert branch(version).__name__.endswith(file)


def test_versions_before_8_6_are_refused() -> None:
    with pytest.raises(BuildFailed, match="too old"):
        branch("8.5.3")


def config(name: str, **values: object) -> Any:
    spec = ModelSpec.model_validate({**SPEC, "tensorrt": values})
    text = triton_config.network_config(spec, spec.contract(Path()), name)
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("name", [name for name in NETWORK_FILES if name.startswith("tensorrt")])
def test_plans_are_served_on_gpus_by_compute_capability(name: str) -> None:
    found = config(name)
    assert (found.platform, found.backend, found.name) == ("tensorrt_plan", "tensorrt", f"small.{name}")
    kinds = model_config_pb2.ModelInstanceGroup.Kind
    assert [group.kind for group in found.instance_group] == [kinds.KIND_GPU]
    assert found.cc_model_filenames["9.0"] == plan_name("9.0") == "model_90.plan"
    assert found.cc_model_filenames["12.1"] == "model_121.plan"
    assert len(set(found.cc_model_filenames.values())) == len(triton_config.COMPUTE_CAPABILITIES)
    assert found.input[0].data_type == model_config_pb2.DataType.Value("TYPE_UINT8")
    assert list(found.output[0].dims) == [-1]


def test_a_hardware_compatible_plan_is_one_file_for_all() -> None:
    found = config("tensorrt-fp16", hardware_compatible=True)
    assert not found.cc_model_filenames
    assert found.default_model_filename == "model.plan"


def built(capability: str, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "tensorrt": "10.16.1",
        "compute_capability": capability,
        "device": "GPU",
        "driver": "13.0",
        "seconds": 1.0,
        "bytes": 4,
    }


def plans(folder: Path, **values: object) -> Path:
    made = job(**values)
    files = {"9.0": "model_90.plan", "8.0": "model_80.plan"}
    if made.hardware_compatible:
        files = {"8.0": "model.plan"}
    for capability, file in files.items():
        (folder / file).write_text(capability)
    entries = {capability: built(capability, file) for capability, file in files.items()}
    write_plans(folder / "plans.json", describe_plans("tensorrt-fp16", "fp16", made, entries, folder))
    return folder / "plans.json"


def test_the_plan_of_a_gpu_is_chosen_and_its_content_compared(tmp_path: Path) -> None:
    path = plans(tmp_path)
    assert choose_plan(path, "9.0").name == "model_90.plan"
    with pytest.raises(ExportFailed, match=r"no plan for this GPU.*8.9"):
        choose_plan(path, "8.9")
    (tmp_path / "model_90.plan").write_text("another")
    with pytest.raises(ExportFailed, match="has changed"):
        choose_plan(path, "9.0")


def test_a_hardware_compatible_plan_fits_ampere_and_newer(tmp_path: Path) -> None:
    path = plans(tmp_path, hardware_compatible=True)
    assert choose_plan(path, "12.0").name == "model.plan"
    with pytest.raises(ExportFailed, match="no plan for this GPU"):
        choose_plan(path, "7.5")


def test_a_plan_outside_its_folder_is_refused(tmp_path: Path) -> None:
    path = plans(tmp_path)
    values = json.loads(path.read_text())
    values["plans"]["9.0"]["file"] = "../model_90.plan"
    path.write_text(json.dumps(values))
    with pytest.raises(ExportFailed, match="missing or has changed"):
        choose_plan(path, "9.0")
