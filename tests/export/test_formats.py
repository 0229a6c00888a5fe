"""Every exporter on a real network: agreement, dynamic batch, one file, no noise, true causes of failure."""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from export.formats.base import Artifact, ExportOptions
from export.formats.onnx import assert_dynamic_batch, assert_opset
from export.formats.registry import all_formats, find_format
from export.formats.torch_export import refuse_pickles
from export.gates.base import Reference
from slipway.errors import ExportFailed, FormatUnavailable

NAMES = ("onnx", "torchscript", "torch-export")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_an_export_agrees_at_every_batch_size(
    artifacts: dict[str, Artifact], reference: Reference, name: str, size: int
) -> None:
    run = find_format(name).session(artifacts[name])
    pixels = np.resize(reference.pixels, (size, *reference.pixels.shape[1:]))
    expected = reference.run(pixels)
    assert np.max(np.abs(run(pixels) - expected)) <= 1e-5 * np.max(np.abs(expected))


def test_the_onnx_file_is_one_checked_file_of_the_opset_asked_for(artifacts: dict[str, Artifact]) -> None:
    path = artifacts["onnx"].path
    model = onnx.load(str(path))
    assert [entry.version for entry in model.opset_import if not entry.domain] == [18]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["pixels", "logits"]
    assert not list(path.parent.glob("*.data"))
    assert str(Path.cwd()).encode() not in path.read_bytes(), "paths of this machine must not travel"


def test_the_class_axis_stays_open_for_native_triton(artifacts: dict[str, Artifact]) -> None:
    """Triton's onnxruntime backend reads these dimensions and compares them exactly with config.pbtxt's -1."""
    session = onnxruntime.InferenceSession(str(artifacts["onnx"].path))
    assert all(isinstance(dim, str) for dim in session.get_outputs()[0].shape)
    assert session.get_inputs()[0].shape[1:] == [32, 32, 3]
    assert session.get_inputs()[0].type == "tensor(uint8)"


def test_another_opset_than_asked_is_refused(artifacts: dict[str, Artifact]) -> None:
    with pytest.raises(ExportFailed, match=r"opset 18.*expected opset 17"):
        assert_opset(onnx.load(str(artifacts["onnx"].path)), 17)


def test_an_opset_that_the_exporter_changes_silently_fails_the_export(
    reference: Reference, example: torch.Tensor, tmp_path: Path
) -> None:
    options = ExportOptions(max_batch_size=8, log_dir=tmp_path, opset=13)
    with pytest.raises(ExportFailed, match="expected opset 13"):
        find_format("onnx").export(reference.module, example, tmp_path, options)


def test_a_fixed_batch_axis_in_onnx_is_refused(artifacts: dict[str, Artifact]) -> None:
    model = onnx.load(str(artifacts["onnx"].path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(ExportFailed, match="batch axis of pixels is baked in"):
        assert_dynamic_batch(model)


class BakedBatch(nn.Module):
    """Remembers the batch size that it was traced with."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.inner(pixels).reshape(2, 6)


@pytest.mark.parametrize("name", NAMES)
def test_a_baked_batch_fails_the_export_by_name(
    reference: Reference, example: torch.Tensor, tmp_path: Path, name: str
) -> None:
    options = ExportOptions(max_batch_size=8, log_dir=tmp_path)
    with pytest.raises(ExportFailed, match="batch") as caught:
        find_format(name).export(BakedBatch(reference.module), example, tmp_path, options)
    assert "Traceback" not in str(caught.value)


class DataDependent(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.float().mean() > 100:
            return pixels.float().flatten(1)[:, :6]
        return pixels.float().flatten(1)[:, 6:12]


@pytest.mark.parametrize("name", ["onnx", "torch-export"])
def test_what_cannot_be_exported_names_the_true_cause_and_the_log(
    example: torch.Tensor, tmp_path: Path, name: str
) -> None:
    options = ExportOptions(max_batch_size=8, log_dir=tmp_path / "logs")
    with pytest.raises(ExportFailed, match="data-dependent") as caught:
        find_format(name).export(DataDependent(), example, tmp_path, options)
    assert f"export-{name}.log" in str(caught.value)
    assert (tmp_path / "logs" / f"export-{name}.log").is_file()


def test_exporters_say_nothing_on_the_terminal(
    reference: Reference, example: torch.Tensor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger().handlers[:]
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        for name in NAMES:
            options = ExportOptions(max_batch_size=8, log_dir=tmp_path)
            find_format(name).export(reference.module, example, tmp_path, options)
    captured = capfd.readouterr()
    assert (captured.out, captured.err, [str(item.message) for item in leaked]) == ("", "", [])
    assert "DeprecationWarning" in (tmp_path / "export-torchscript.log").read_text()
    assert logging.getLogger().handlers == before


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_is_refused_when_opened(artifacts: dict[str, Artifact], tmp_path: Path, name: str) -> None:
    whole = artifacts[name].path
    broken = tmp_path / whole.name
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(ExportFailed) as caught:
        find_format(name).session(Artifact(name, broken, 0.0))
    assert caught.value.code == "EXPORT_FAILED"


def test_a_pt2_with_a_pickled_entry_is_refused_before_anything_is_unpickled(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    refuse_pickles(artifacts["torch-export"].path)
    marked = tmp_path / "model.pt2"
    _rewrite(artifacts["torch-export"].path, marked, "model_weights_config.json", _mark_first_entry)
    with pytest.raises(ExportFailed, match="unpickling runs code"):
        find_format("torch-export").session(Artifact("torch-export", marked, 0.0))


def test_a_pickled_entry_of_another_model_in_the_archive_is_refused(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    crafted = tmp_path / "model.pt2"
    crafted.write_bytes(artifacts["torch-export"].path.read_bytes())
    with zipfile.ZipFile(crafted, "a") as archive:
        archive.writestr("model/data/weights/other_weights_config.json", '{"config": {"w": {"use_pickle": true}}}')
    with pytest.raises(ExportFailed, match="unpickling runs code"):
        refuse_pickles(crafted)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (Path("bomb-went-off"),))  # type: ignore[return-value]


def test_a_pt2_whose_sample_inputs_run_code_is_refused(
    artifacts: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO()
    torch.save(Bomb(), stream)
    crafted = tmp_path / "model.pt2"
    _rewrite(artifacts["torch-export"].path, crafted, "sample_inputs/model.pt", lambda _: stream.getvalue())
    with pytest.raises(ExportFailed, match="plain tensors"):
        find_format("torch-export").session(Artifact("torch-export", crafted, 0.0))
    assert not (tmp_path / "bomb-went-off").exists()


def test_an_unknown_format_names_those_that_exist() -> None:
    with pytest.raises(FormatUnavailable, match="torchscript, torch-export, aot-inductor, onnx, onnx-fp16, onnx-int8"):
        find_format("tensorflow")


def test_every_format_can_say_whether_it_is_available() -> None:
    reasons = {item.name: item.available() for item in all_formats()}
    assert {name for name, reason in reasons.items() if reason is None} >= {*NAMES, "onnx-fp16", "onnx-int8"}
    assert all(reason is None or len(reason) > 20 for reason in reasons.values())


def _mark_first_entry(text: bytes) -> bytes:
    config = json.loads(text)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config).encode()


def _rewrite(source: Path, target: Path, ending: str, change: object) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith(ending) else content)  # type: ignore[operator]
